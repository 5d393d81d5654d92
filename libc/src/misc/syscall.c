/* In place of musl's file: arguments have the size of a long. So those that are an off_t cannot be passed here. */
#define _BSD_SOURCE
#include <unistd.h>
#include <stdarg.h>
#include "syscall.h"

#undef syscall

long syscall(long n, ...)
{
	va_list arguments;
	va_start(arguments, n);
	long a = va_arg(arguments, long), b = va_arg(arguments, long), c = va_arg(arguments, long);
	long d = va_arg(arguments, long), e = va_arg(arguments, long), f = va_arg(arguments, long);
	va_end(arguments);
	switch (n) {
	case SYS_ftruncate: case SYS_truncate: case SYS_fallocate: case SYS_pread64: case SYS_pwrite64:
	case SYS_preadv: case SYS_pwritev: case SYS_mknodat:
		return __syscall_ret(-ENOSYS);
	}
	return __syscall_ret(__syscall(n, a, b, c, d, e, f));
}
