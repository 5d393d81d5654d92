/* What libc++'s sources want of the Linux kernel's header, which is not there; for building it only. */
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129
