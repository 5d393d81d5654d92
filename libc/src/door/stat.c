/* stat and statfs from the door's form to the C library's. */
#define _GNU_SOURCE
#include <sys/stat.h>
#include <sys/statfs.h>
#include <fcntl.h>
#include "syscall.h"

struct door_time {
	long long seconds, nanoseconds;
};

struct door_stat {
	unsigned long long dev, ino;
	unsigned mode, nlink, uid, gid;
	unsigned long long rdev;
	long long size, blksize, blocks;
	struct door_time atime, mtime, ctime;
};

static struct timespec time_of(struct door_time time)
{
	return (struct timespec){ .tv_sec = time.seconds, .tv_nsec = time.nanoseconds };
}

static long converted(int r, const struct door_stat *door, struct stat *st)
{
	if (r < 0) return r;
	*st = (struct stat){
		.st_dev = door->dev, .st_ino = door->ino, .st_nlink = door->nlink,
		.st_mode = door->mode, .st_uid = door->uid, .st_gid = door->gid, .st_rdev = door->rdev,
		.st_size = door->size, .st_blksize = door->blksize, .st_blocks = door->blocks,
		.st_atim = time_of(door->atime), .st_mtim = time_of(door->mtime), .st_ctim = time_of(door->ctime),
	};
	return 0;
}

long __door_fstat(int fd, void *result)
{
	struct door_stat door;
	return converted(door_fstat(fd, &door), &door, result);
}

long __door_fstatat(int dirfd, const char *path, void *result, int flags)
{
	struct door_stat door;
	if (flags & AT_EMPTY_PATH && !*path && dirfd != AT_FDCWD) return __door_fstat(dirfd, result);
	flags &= ~(AT_NO_AUTOMOUNT | AT_EMPTY_PATH);
	return converted(door_fstatat(dirfd, path, strlen(path), flags, &door), &door, result);
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
