/* In place of musl's file. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include "pages.h"

void *__mremap(void *old, size_t old_len, size_t new_len, int flags, ...)
{
	size_t before = (old_len + PAGE - 1) & -PAGE, after = (new_len + PAGE - 1) & -PAGE;
	char *start = old, *moved;
	if ((uintptr_t)old & (PAGE - 1) || !new_len || !old_len || flags & ~MREMAP_MAYMOVE) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	if (new_len < PTRDIFF_MAX && __pages_used(start, before)) {
		if (after < before) __pages_give(start + after, before - after);
		if (after <= before || __pages_extend(start + before, after - before)) return old;
		if (flags & MREMAP_MAYMOVE && (moved = __pages_take(after))) {
			memcpy(moved, old, before);
			__pages_give(start, before);
			return moved;
		}
	}
	errno = ENOMEM;
	return MAP_FAILED;
}

weak_alias(__mremap, mremap);
