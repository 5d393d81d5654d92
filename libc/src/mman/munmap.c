/* In place of musl's file. */
#include <sys/mman.h>
#include <errno.h>
#include <stdint.h>
#include "syscall.h"
#include "pages.h"

int __munmap(void *start, size_t len)
{
	if ((uintptr_t)start & (PAGE - 1) || !len) return __syscall_ret(-EINVAL);
	__pages_give(start, (len + PAGE - 1) & -PAGE);
	return 0;
}

weak_alias(__munmap, munmap);
