/* In place of musl's file: an instance of a module cannot be copied. See vfork and posix_spawn. */
#include <unistd.h>
#include <errno.h>
#include "syscall.h"

pid_t fork(void)
{
	return __syscall_ret(-ENOSYS);
}

pid_t _Fork(void)
{
	return __syscall_ret(-ENOSYS);
}
