/* In place of musl's file: no other forms of times to fall back to. */
#include <sys/socket.h>
#include "syscall.h"

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict length)
{
	return __syscall_ret(door_getsockopt(fd, level, name, value, length));
}
