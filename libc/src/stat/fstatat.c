/* In place of musl's file. */
#include <sys/stat.h>
#include "syscall.h"

int __fstatat(int fd, const char *restrict path, struct stat *restrict st, int flag)
{
	return syscall(SYS_fstatat, fd, path, st, flag);
}

weak_alias(__fstatat, fstatat);
weak_alias(__fstatat, fstatat64);
