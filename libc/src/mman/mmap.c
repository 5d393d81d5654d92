/* In place of musl's file. A mapping of a file is a copy of it, so shared ones that may be written are refused:
   what is written would reach nobody. Pages can always be read and written; nothing of them can be executed. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/stat.h>
#include <errno.h>
#include <stdint.h>
#include "syscall.h"
#include "pages.h"

static int unfit(size_t len, int prot, int flags, off_t off)
{
	int kind = flags & MAP_TYPE;
	if (!len || off & (PAGE - 1) || off < 0) return EINVAL;
	if (kind != MAP_PRIVATE && kind != MAP_SHARED && kind != MAP_SHARED_VALIDATE) return EINVAL;
	if (len >= PTRDIFF_MAX) return ENOMEM;
	if (prot & PROT_EXEC) return EPERM;
	/* Nobody shares an anonymous mapping: children have memories of their own. */
	if (!(flags & MAP_ANON) && kind != MAP_PRIVATE && prot & PROT_WRITE) return ENODEV;
	return 0;
}

static int filled(char *start, size_t len, int fd, off_t off)
{
	while (len) {
		int r = door_pread(fd, start, len, off);
		if (r < 0) return r == -EBADF ? EACCES : r == -EISDIR || r == -ESPIPE ? ENODEV : -r;
		if (!r) break;
		start += r;
		len -= r;
		off += r;
	}
	return 0;
}

void *__mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	size_t size = (len + PAGE - 1) & -PAGE;
	int fixed = flags & (MAP_FIXED|MAP_FIXED_NOREPLACE), problem = unfit(len, prot, flags, off);
	char *start = at;
	if (!problem && !(flags & MAP_ANON) && door_fcntl(fd, 1 /* F_GETFD */, 0) < 0) problem = EBADF;
	if (!problem && fixed) {
		if ((uintptr_t)start & (PAGE - 1)) problem = EINVAL;
		else if (!__pages_used(start, size)) problem = ENOMEM; /* only in what is mapped already */
		else if (!(flags & MAP_FIXED)) problem = EEXIST;
		else __builtin_memset(start, 0, size);
	} else if (!problem && !(start = __pages_take(size))) {
		problem = ENOMEM;
	}
	if (!problem && !(flags & MAP_ANON) && (problem = filled(start, len, fd, off)) && !fixed)
		__pages_give(start, size);
	if (!problem) return start;
	errno = problem;
	return MAP_FAILED;
}

weak_alias(__mmap, mmap);
#undef mmap64
weak_alias(__mmap, mmap64);
