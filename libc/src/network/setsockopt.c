/* In place of musl's file: no other forms of times to fall back to. */
#include <sys/socket.h>
#include "syscall.h"

int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
	return __syscall_ret(door_setsockopt(fd, level, name, value, length));
}
