/* What a process may use, and how it is scheduled. */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/times.h>
#include <sys/prctl.h>
#include <fcntl.h>
#include <string.h>
#include <stdlib.h>
#include <errno.h>
#include <time.h>
#include "libc.h"
#include "syscall.h"

/* Limits are the container's: setting what holds already succeeds, everything else is not allowed. */
long __door_prlimit(int pid, int resource, const void *new, void *old)
{
	struct rlimit now;
	const struct rlimit *wanted = new;
	if (pid && pid != door_getpid()) return -EPERM;
	int r = door_getrlimit(resource, &now);
	if (r < 0) return r;
	if (wanted && wanted->rlim_cur > wanted->rlim_max) return -EINVAL;
	if (wanted && (wanted->rlim_cur != now.rlim_cur || wanted->rlim_max != now.rlim_max)) return -EPERM;
	if (old) *(struct rlimit *)old = now;
	return 0;
}

/* Nice values are kept for the process that sets them and have no effect: the host schedules. */
long __door_priority(int set, int which, int who, int value)
{
	static int nice;
	if (which < PRIO_PROCESS || which > PRIO_USER) return -EINVAL;
	if (which == PRIO_PROCESS && who && who != door_getpid()) return door_kill(who, 0) < 0 ? -ESRCH : set ? -EPERM : 20;
	if (!set) return 20 - nice;
	nice = value < -20 ? -20 : value > 19 ? 19 : value;
	return 0;
}

long __door_prctl(int option, long argument)
{
	static char name[16];
	switch (option) {
	case PR_SET_NAME:
		strncpy(name, (const char *)argument, sizeof name - 1);
		return 0;
	case PR_GET_NAME:
		strncpy((char *)argument, *name || !__progname ? name : __progname, sizeof name - 1);
		((char *)argument)[sizeof name - 1] = 0;
		return 0;
	}
	return -EINVAL;
}

long __door_times(void *result)
{
	long long used[18];
	struct tms *tms = result;
	struct timespec now;
	for (int children = 0; tms && children < 2; children++) {
		int r = door_getrusage(children ? RUSAGE_CHILDREN : RUSAGE_SELF, used);
		if (r < 0) return r;
		clock_t user = used[0] * 100 + used[1] / 10000, system = used[2] * 100 + used[3] / 10000;
		if (children) tms->tms_cutime = user, tms->tms_cstime = system;
		else tms->tms_utime = user, tms->tms_stime = system;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	/* A long has 32 bits: as on Linux the value wraps, and only differences mean something. */
	return (now.tv_sec * 100 + now.tv_nsec / 10000000) & 0x7fffffff;
}

/* The processors of the host: a list such as 0-3,8 in one line. */
long __door_getaffinity(unsigned long size, unsigned long *set)
{
	char text[256], *at = text;
	const char *path = "/sys/devices/system/cpu/online";
	int fd = door_openat(AT_FDCWD, path, strlen(path), O_RDONLY|O_CLOEXEC, 0), length = 0;
	if (fd >= 0) {
		length = door_read(fd, text, sizeof text - 1);
		door_close(fd);
	}
	if (size < sizeof *set || size % sizeof *set) return -EINVAL;
	memset(set, 0, size);
	text[length > 0 ? length : 0] = 0;
	do {
		unsigned long first = strtoul(at, &at, 10), last = first;
		if (*at == '-') last = strtoul(at + 1, &at, 10);
		for (; first <= last && first < 8 * size; first++)
			set[first / 32] |= 1UL << first % 32;
	} while (*at++ == ',');
	return size;
}
