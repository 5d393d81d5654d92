/* In place of musl's file: preview 1's clocks, which cost least; its first four have Linux's numbers. */
#include <time.h>
#include <errno.h>
#include "syscall.h"

hidden int __wasi_clock(clockid_t clk)
{
	switch (clk) {
	case CLOCK_REALTIME: case CLOCK_MONOTONIC: case CLOCK_PROCESS_CPUTIME_ID: case CLOCK_THREAD_CPUTIME_ID:
		return clk;
	case CLOCK_MONOTONIC_RAW: case CLOCK_MONOTONIC_COARSE: case CLOCK_BOOTTIME:
		return CLOCK_MONOTONIC;
	case CLOCK_REALTIME_COARSE:
		return CLOCK_REALTIME;
	}
	return -1;
}

int __clock_gettime(clockid_t clk, struct timespec *ts)
{
	unsigned long long now;
	int clock = __wasi_clock(clk);
	if (clock < 0 || wasi_clock_time_get(clock, 1, &now)) return __syscall_ret(-EINVAL);
	ts->tv_sec = now / 1000000000;
	ts->tv_nsec = now % 1000000000;
	return 0;
}

weak_alias(__clock_gettime, clock_gettime);
