/* Advice about memory, and its protection. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <string.h>
#include <stdint.h>
#include "syscall.h"
#include "../mman/pages.h"

long __door_madvise(char *start, unsigned long length, int advice)
{
	length = (length + PAGE - 1) & -PAGE;
	if ((uintptr_t)start & (PAGE - 1)) return -EINVAL;
	if (!length || advice == MADV_FREE) return 0;
	if (!__pages_used(start, length)) return -ENOMEM;
	if (advice == MADV_DONTNEED) memset(start, 0, length); /* as anonymous memory is afterwards */
	return 0;
}

/* Pages are readable and writable, and that cannot change. */
long __door_mprotect(int protection)
{
	if (protection & PROT_EXEC) return -EACCES;
	return protection == (PROT_READ|PROT_WRITE) ? 0 : -ENOSYS;
}
