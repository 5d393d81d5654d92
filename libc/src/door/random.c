/* getrandom: the same source for all flags; it never waits. */
#include <errno.h>
#include "syscall.h"

long __door_getrandom(void *buffer, unsigned long length, unsigned flags)
{
	if (flags & ~7U) return -EINVAL;
	if (length > 0x7fffffff) length = 0x7fffffff;
	return wasi_random_get(buffer, length) ? -EFAULT : (long)length;
}
