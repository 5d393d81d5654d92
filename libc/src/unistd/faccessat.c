/* In place of musl's file. */
#include <unistd.h>
#include "syscall.h"

int faccessat(int fd, const char *filename, int amode, int flag)
{
	return syscall(SYS_faccessat2, fd, filename, amode, flag);
}
