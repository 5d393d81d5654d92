/* In place of musl's file: one message after the other. As on Linux, time is only looked at between messages. */
#define _GNU_SOURCE
#include <sys/socket.h>
#include <limits.h>
#include <time.h>

static int over(struct timespec end)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, unsigned flags, struct timespec *timeout)
{
	unsigned done;
	struct timespec end;
	int one = flags & MSG_WAITFORONE;
	flags &= ~MSG_WAITFORONE;
	if (count > IOV_MAX) count = IOV_MAX;
	if (timeout) {
		clock_gettime(CLOCK_MONOTONIC, &end);
		end.tv_sec += timeout->tv_sec;
		if ((end.tv_nsec += timeout->tv_nsec) >= 1000000000) end.tv_sec++, end.tv_nsec -= 1000000000;
	}
	for (done = 0; done < count; done++) {
		ssize_t r = recvmsg(fd, &messages[done].msg_hdr, flags);
		if (r < 0) return done ? done : -1;
		messages[done].msg_len = r;
		if (one) flags |= MSG_DONTWAIT;
		if (timeout && over(end)) return done + 1;
	}
	return done;
}
