/* In place of musl's file: there is one thread. A second one cannot be made; the first can end. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include "pthread_impl.h"

static void nothing(void)
{
}
weak_alias(nothing, __pthread_tsd_run_dtors);

hidden void __tl_lock(void)
{
}

hidden void __tl_unlock(void)
{
}

hidden void __tl_sync(pthread_t thread)
{
}

void __do_cleanup_push(struct __ptcb *cb)
{
	cb->__next = __pthread_self()->cancelbuf;
	__pthread_self()->cancelbuf = cb;
}

void __do_cleanup_pop(struct __ptcb *cb)
{
	__pthread_self()->cancelbuf = cb->__next;
}

/* The last thread: the process ends as by exit(0). */
_Noreturn void __pthread_exit(void *result)
{
	pthread_t self = __pthread_self();
	self->canceldisable = 1;
	self->cancelasync = 0;
	self->result = result;
	while (self->cancelbuf) {
		struct __ptcb *cb = self->cancelbuf;
		self->cancelbuf = cb->__next;
		cb->__f(cb->__x);
	}
	__pthread_tsd_run_dtors();
	exit(0);
}

int __pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attr, void *(*entry)(void *),
	void *restrict arg)
{
	return EAGAIN;
}

weak_alias(__pthread_exit, pthread_exit);
weak_alias(__pthread_create, pthread_create);
