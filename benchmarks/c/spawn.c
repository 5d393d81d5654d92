/* spawn COUNT PROGRAM ARGUMENT...: start a program COUNT times with posix_spawn, one after the other, and wait
 * for each with waitpid. Prints "median MICROSECONDS total MICROSECONDS", as tests/c/programs/spawn.c does in a guest.
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

static long microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000L + now.tv_nsec / 1000;
}

static int compare(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    extern char **environ;
    int count = argc > 2 ? atoi(argv[1]) : 0;
    if (count < 1)
        return 2;
    long *each = calloc((size_t)count, sizeof *each), began = microseconds();
    for (int i = 0; i < count; i++) {
        pid_t pid;
        int status;
        long start = microseconds();
        if (posix_spawn(&pid, argv[2], NULL, NULL, argv + 2, environ) || waitpid(pid, &status, 0) != pid || status) {
            perror(argv[2]);
            return 1;
        }
        each[i] = microseconds() - start;
    }
    long total = microseconds() - began;
    qsort(each, (size_t)count, sizeof *each, compare);
    printf("median %ld total %ld\n", each[count / 2], total);
    return 0;
}
