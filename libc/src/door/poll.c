/* select is poll here: at most three entries' worth of bits become one list. */
#include <sys/select.h>
#include <poll.h>
#include <stdlib.h>
#include "syscall.h"

enum { FEW = 64 };

static int listed(struct pollfd *list, int n, const fd_set *reading, const fd_set *writing, const fd_set *other)
{
	int count = 0;
	for (int fd = 0; fd < n; fd++) {
		int events = 0;
		if (reading && FD_ISSET(fd, reading)) events |= POLLIN;
		if (writing && FD_ISSET(fd, writing)) events |= POLLOUT;
		if (other && FD_ISSET(fd, other)) events |= POLLPRI;
		if (!events) continue;
		if (list) list[count] = (struct pollfd){ .fd = fd, .events = events };
		count++;
	}
	return count;
}

static int marked(const struct pollfd *entry, fd_set *set, int asked, int answers)
{
	if (!set || !(entry->events & asked)) return 0;
	if (entry->revents & answers) return 1;
	FD_CLR(entry->fd, set);
	return 0;
}

long __door_pselect(int n, void *reading, void *writing, void *other, const void *timeout, const void *data)
{
	const void *mask = data ? (const void *)(unsigned long)((const syscall_arg_t *)data)[0] : 0;
	struct pollfd few[FEW], *list = few;
	if (n < 0 || n > FD_SETSIZE) return -EINVAL;
	int count = listed(0, n, reading, writing, other);
	if (count > FEW && !(list = malloc(count * sizeof *list))) return -ENOMEM;
	listed(list, n, reading, writing, other);
	int r = door_ppoll(list, count, timeout, mask), found = 0;
	for (int i = 0; r >= 0 && i < count; i++)
		if (list[i].revents & POLLNVAL) r = -EBADF;
	for (int i = 0; r >= 0 && i < count; i++) {
		found += marked(&list[i], reading, POLLIN, POLLIN|POLLHUP|POLLERR);
		found += marked(&list[i], writing, POLLOUT, POLLOUT|POLLERR);
		found += marked(&list[i], other, POLLPRI, POLLPRI);
	}
	if (list != few) free(list);
	return r < 0 ? r : found;
}
