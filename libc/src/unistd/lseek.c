/* In place of musl's file: the offset has more bits than an answer. */
#include <unistd.h>
#include "syscall.h"

off_t __lseek(int fd, off_t offset, int whence)
{
	long long result;
	int r = door_lseek(fd, offset, whence, &result);
	return r < 0 ? __syscall_ret(r) : result;
}

weak_alias(__lseek, lseek);
weak_alias(__lseek, lseek64);
