/* In place of musl's file: all threads are this one. */
#include "pthread_impl.h"

void __synccall(void (*func)(void *), void *context)
{
	func(context);
}
