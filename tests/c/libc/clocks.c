/* Clocks and sleeping. */
#include "say.h"

#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>

static long long now(clockid_t clock) {
    struct timespec time;
    MUST(clock_gettime(clock, &time) == 0);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(void) {
    HOLDS(now(CLOCK_REALTIME) > 1600000000000000000LL);
    HOLDS(now(CLOCK_REALTIME) / 1000000000 - time(NULL) <= 1);
    struct timeval tv;
    SAY(gettimeofday(&tv, NULL));
    HOLDS(llabs(now(CLOCK_REALTIME) / 1000000000 - (long long)tv.tv_sec) <= 1);
    long long before = now(CLOCK_MONOTONIC);
    SAY(nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL));
    HOLDS(now(CLOCK_MONOTONIC) - before >= 20000000);
    before = now(CLOCK_MONOTONIC);
    SAY(usleep(10000));
    HOLDS(now(CLOCK_MONOTONIC) - before >= 10000000);
    SAY(sleep(0));
    struct timespec until = {.tv_sec = before / 1000000000 + 0, .tv_nsec = before % 1000000000};
    SAY(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL));
    SAY(nanosleep(&(struct timespec){.tv_nsec = 1000000000}, NULL));
    SAY(nanosleep(&(struct timespec){.tv_sec = -1}, NULL));
    SAY(clock_nanosleep(99, 0, &until, NULL));
    struct timespec resolution;
    SAY(clock_getres(CLOCK_MONOTONIC, &resolution));
    HOLDS(resolution.tv_sec == 0 && resolution.tv_nsec >= 1);
    SAY(clock_gettime(12345, &resolution));
    HOLDS(now(CLOCK_MONOTONIC_RAW) > 0);
    HOLDS(now(CLOCK_MONOTONIC_COARSE) > 0);
    HOLDS(now(CLOCK_REALTIME_COARSE) > 0);
    HOLDS(now(CLOCK_BOOTTIME) > 0);
    volatile unsigned work = 0;
    clock_t started = clock();
    while (clock() - started < CLOCKS_PER_SEC / 50) work++;
    HOLDS(now(CLOCK_PROCESS_CPUTIME_ID) > 10000000);
    struct rusage usage;
    SAY(getrusage(RUSAGE_SELF, &usage));
    HOLDS(usage.ru_utime.tv_sec * 1000000LL + usage.ru_utime.tv_usec +
              usage.ru_stime.tv_sec * 1000000LL + usage.ru_stime.tv_usec > 0);
    HOLDS(usage.ru_maxrss > 0);
    struct tms times_;
    HOLDS(times(&times_) != (clock_t)-1);
    SAY(sysconf(_SC_CLK_TCK));
    SAY(CLOCKS_PER_SEC);
    struct timespec base;
    SAY(timespec_get(&base, TIME_UTC));
    return 0;
}
