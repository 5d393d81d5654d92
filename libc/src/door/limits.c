/* What a process may use, and how it is scheduled. */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/times.h>
#include <sys/prctl.h>
#include <fcntl.h>
#include <string.h>
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
	switch (option) {
	case PR_SET_NAME:
		return door_setcomm((const char *)argument, strlen((const char *)argument));
	case PR_GET_NAME:
		return door_getcomm((char *)argument);
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

/* The processors of the host, as many as /proc/cpuinfo has lines that begin so. */
static int processors(void)
{
	static const char path[] = "/proc/cpuinfo", word[] = "processor";
	char text[1024];
	int count = 0, place = 0, length, fd = door_openat(AT_FDCWD, path, sizeof path - 1, O_RDONLY|O_CLOEXEC, 0);
	if (fd < 0) return 1;
	while ((length = door_read(fd, text, sizeof text)) > 0) {
		for (int i = 0; i < length; i++) {
			/* `place` is how much of the word the line has so far, -1 when it is another. */
			if (text[i] == '\n') place = 0;
			else if (place >= 0) place = text[i] == word[place] ? place + 1 : -1;
			if (place == sizeof word - 1) count++, place = -1;
		}
	}
	door_close(fd);
	return count ? count : 1;
}

long __door_getaffinity(unsigned long size, unsigned long *set)
{
	if (size < sizeof *set || size % sizeof *set) return -EINVAL;
	memset(set, 0, size);
	for (unsigned long i = processors(); i--;)
		if (i < 8 * size) set[i / 32] |= 1UL << i % 32;
	return size;
}
