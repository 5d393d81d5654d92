/* ioctl: the terminal's requests are functions of the door; what is left goes to its ioctl. */
#define _GNU_SOURCE
#include <sys/ioctl.h>
#include <termios.h>
#include <errno.h>
#include "syscall.h"

static long terminal(int fd)
{
	struct winsize size;
	return door_tcgetwinsize(fd, &size);
}

/* An answer of 0 or more that Linux writes to memory. */
static long stored(int r, long argument)
{
	if (r < 0) return r;
	*(int *)argument = r;
	return 0;
}

long __door_ioctl(int fd, unsigned request, long argument)
{
	switch (request) {
	case TCGETS: return door_tcgetattr(fd, (void *)argument);
	case TCSETS: case TCSETSW: case TCSETSF: return door_tcsetattr(fd, request - TCSETS, (void *)argument);
	case TCFLSH: return door_tcflush(fd, argument);
	case TCSBRK: return terminal(fd); /* a pseudo-terminal drains by itself and has no line to break */
	case TCXONC: return argument < 0 || argument > 3 ? -EINVAL : terminal(fd) < 0 ? -ENOTTY : -ENOSYS;
	case TIOCGWINSZ: return door_tcgetwinsize(fd, (void *)argument);
	case TIOCSWINSZ: return door_tcsetwinsize(fd, (void *)argument);
	case TIOCGPGRP: return stored(door_tcgetpgrp(fd), argument);
	case TIOCSPGRP: return door_tcsetpgrp(fd, *(int *)argument);
	case TIOCGSID: return stored(door_tcgetsid(fd), argument);
	case TIOCSCTTY: return door_tcsetctty(fd);
	}
	return door_ioctl(fd, request, argument);
}
