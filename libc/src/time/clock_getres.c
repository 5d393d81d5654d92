/* In place of musl's file. */
#include <time.h>
#include <errno.h>
#include "syscall.h"

hidden int __wasi_clock(clockid_t clk);

int clock_getres(clockid_t clk, struct timespec *ts)
{
	unsigned long long resolution;
	int clock = __wasi_clock(clk);
	if (clock < 0 || wasi_clock_res_get(clock, &resolution)) return __syscall_ret(-EINVAL);
	if (ts) *ts = (struct timespec){ resolution / 1000000000, resolution % 1000000000 };
	return 0;
}
