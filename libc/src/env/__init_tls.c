/* In place of musl's file: the record of the one thread, complete from the beginning. Thread-local variables are
   ordinary ones. The number is only compared with locks' owners; gettid gives the process's. */
#include "pthread_impl.h"
#include "libc.h"

volatile int __thread_list_lock;

struct __pthread __wasm_thread = {
	.self = &__wasm_thread,
	.prev = &__wasm_thread,
	.next = &__wasm_thread,
	.tid = 1,
	.detach_state = DT_JOINABLE,
	.robust_list = { .head = &__wasm_thread.robust_list.head },
	.locale = &libc.global_locale,
};
