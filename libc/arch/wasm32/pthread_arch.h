/* The one thread's record is a variable: src/env/__init_tls.c. */
struct __pthread;
extern __attribute__((__visibility__("hidden"))) struct __pthread __wasm_thread;

static inline uintptr_t __get_tp(void)
{
	return (uintptr_t)&__wasm_thread;
}

#define MC_PC __pc
