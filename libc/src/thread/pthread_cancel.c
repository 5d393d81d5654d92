/* In place of musl's file: a thread can only cancel itself, and no call is a point of cancellation but
   pthread_testcancel. */
#include <errno.h>
#include "pthread_impl.h"

hidden void __testcancel(void)
{
	pthread_t self = __pthread_self();
	if (self->cancel && !self->canceldisable) pthread_exit(PTHREAD_CANCELED);
}

int pthread_cancel(pthread_t thread)
{
	if (thread != __pthread_self()) return ESRCH;
	thread->cancel = 1;
	if (thread->cancelasync) __testcancel();
	return 0;
}
