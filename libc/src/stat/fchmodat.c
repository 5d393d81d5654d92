/* In place of musl's file: the door takes flags. */
#include <sys/stat.h>
#include "syscall.h"

int fchmodat(int fd, const char *path, mode_t mode, int flag)
{
	return __syscall_ret(door_fchmodat(fd, path, strlen(path), mode, flag));
}
