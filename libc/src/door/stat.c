/* stat with all its flags, and statfs from the door's form to the C library's. */
#define _GNU_SOURCE
#include <sys/stat.h>
#include <sys/statfs.h>
#include <fcntl.h>
#include "syscall.h"

_Static_assert(sizeof(struct stat) == 112, "struct stat is the door's");

long __door_fstatat(int dirfd, const char *path, void *result, int flags)
{
	if (flags & AT_EMPTY_PATH && !*path && dirfd != AT_FDCWD) return door_fstat(dirfd, result);
	flags &= ~(AT_NO_AUTOMOUNT | AT_EMPTY_PATH);
	return door_fstatat(dirfd, path, strlen(path), flags, result);
}

static long filled(int r, const unsigned long long *door, struct statfs *result)
{
	if (r < 0) return r;
	*result = (struct statfs){
		.f_bsize = door[0], .f_frsize = door[0], .f_blocks = door[1], .f_bfree = door[2], .f_bavail = door[3],
		.f_files = door[4], .f_ffree = door[5], .f_namelen = door[6],
		.f_flags = door[7] ? 1 : 0, /* ST_RDONLY */
	};
	return 0;
}

long __door_statfs(const char *path, void *result)
{
	unsigned long long door[8];
	return filled(door_statfs(path, strlen(path), door), door, result);
}

long __door_fstatfs(int fd, void *result)
{
	unsigned long long door[8];
	return filled(door_fstatfs(fd, door), door, result);
}
