/* In place of musl's file: one message after the other. */
#define _GNU_SOURCE
#include <sys/socket.h>
#include <limits.h>

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, unsigned flags)
{
	unsigned done;
	if (count > IOV_MAX) count = IOV_MAX;
	for (done = 0; done < count; done++) {
		ssize_t r = sendmsg(fd, &messages[done].msg_hdr, flags);
		if (r < 0) return done ? done : -1;
		messages[done].msg_len = r;
	}
	return done;
}
