/* A futex that nobody else can change, as there is one thread: a wait ends by a signal or by time. */
#include "futex.h"
#include "syscall.h"

long __door_futex(volatile int *word, int operation, int value, const void *timeout)
{
	switch (operation & ~(FUTEX_PRIVATE|FUTEX_CLOCK_REALTIME)) {
	case FUTEX_WAIT:
		if (*word != value) return -EAGAIN;
		int r = door_ppoll(0, 0, timeout, 0);
		return r == 0 ? -ETIMEDOUT : r;
	case FUTEX_WAKE:
	case FUTEX_REQUEUE:
		return 0;
	}
	return -ENOSYS;
}
