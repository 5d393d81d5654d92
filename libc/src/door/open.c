/* Calls on paths that are several calls of the door. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include "syscall.h"

long __door_openat(int dirfd, const char *path, int flags, int mode)
{
	/* The answer of file systems that have none. */
	if ((flags & O_TMPFILE) == O_TMPFILE) return -EOPNOTSUPP;
	return door_openat(dirfd, path, strlen(path), flags & ~O_LARGEFILE, mode);
}

long __door_truncate(const char *path, long long size)
{
	int fd = door_openat(AT_FDCWD, path, strlen(path), O_WRONLY|O_CLOEXEC, 0);
	if (fd < 0) return fd;
	int r = door_ftruncate(fd, size);
	door_close(fd);
	return r;
}
