/* In place of musl's file: a terminal is /dev/tty to its own programs, which is no device of the same number. */
#include <unistd.h>
#include <errno.h>
#include "syscall.h"

int ttyname_r(int fd, char *name, size_t size)
{
	char link[sizeof "/proc/self/fd/" + 3*sizeof(int)];
	if (!isatty(fd)) return errno;
	__procfdname(link, fd);
	ssize_t length = readlink(link, name, size);
	if (length < 0) return errno;
	if ((size_t)length == size) return ERANGE;
	name[length] = 0;
	return 0;
}
