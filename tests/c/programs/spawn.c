/* Starts programs through the files in /proc (docs/guest-files.md), with nothing but open, read, write and readlink.

   spawn COUNT PROGRAM ARGUMENT...   starts it COUNT times, one after the other, and waits; prints how long each took:
                                     "median MICROSECONDS total MICROSECONDS", and leaves with the last one's status
   spawn pipe PROGRAM ARGUMENT...    starts it with its output in a pipe, and prints how many bytes came through it */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char request[65536];
static size_t length;

_Noreturn static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(2);
}

static void field(const char *key, const char *value) {
    length += 1 + (size_t)snprintf(request + length, sizeof request - length, "%s=%s", key, value);
}

static int start(int spawn) {
    char answer[32] = "";
    if (write(spawn, request, length) != (ssize_t)length || read(spawn, answer, sizeof answer - 1) < 0)
        fail("/proc/spawn");
    return atoi(answer);
}

static int wait_for(int pid) {
    char path[64], answer[64] = "";
    int found = 0, status = 0;
    snprintf(path, sizeof path, "/proc/control/wait %d ", pid);
    if (readlink(path, answer, sizeof answer - 1) < 0 || sscanf(answer, "%d %d", &found, &status) != 2 || found != pid)
        fail("wait");
    return status;
}

static long microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000L + now.tv_nsec / 1000;
}

static int compare(const void *a, const void *b) {
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

static int many(int spawn, int count) {
    long *each = calloc((size_t)count, sizeof *each), total = microseconds();
    int status = 0;
    for (int i = 0; i < count; i++) {
        long began = microseconds();
        status = wait_for(start(spawn));
        each[i] = microseconds() - began;
    }
    total = microseconds() - total;
    qsort(each, (size_t)count, sizeof *each, compare);
    printf("median %ld total %ld\n", each[count / 2], total);
    return status >> 8;
}

/* The kernel's number of an fd: they are the same here, but need not be in every program. */
static const char *number(int fd) {
    static char answer[16];
    struct stat status;
    if (fstat(fd, &status) < 0)
        fail("fstat");
    ssize_t size = readlink("/proc/control/fd", answer, sizeof answer - 1);
    if (size < 0)
        fail("fd");
    answer[size] = 0;
    return answer;
}

static int piped(int spawn) {
    char path[64], buffer[65536], fds[32];
    struct stat status;
    int reading = open("/proc/pipe/new", O_RDONLY);
    if (reading < 0 || fstat(reading, &status) < 0)
        fail("/proc/pipe/new");
    snprintf(path, sizeof path, "/proc/pipe/%llu/peer", (unsigned long long)status.st_ino);
    int writing = open(path, O_WRONLY);
    if (writing < 0)
        fail(path);
    field("fd", "0:0");
    field("fd", "2:2");
    snprintf(fds, sizeof fds, "1:%s", number(writing));
    field("fd", fds);
    int pid = start(spawn);
    close(writing);
    long total = 0;
    for (ssize_t size; (size = read(reading, buffer, sizeof buffer)) != 0; total += size)
        if (size < 0)
            fail("read");
    printf("%ld bytes, status %d\n", total, wait_for(pid));
    return 0;
}

int main(int argc, char **argv) {
    int spawn = open("/proc/spawn", O_RDWR);
    if (argc < 3 || spawn < 0)
        fail("/proc/spawn");
    for (int i = 2; i < argc; i++)
        field("arg", argv[i]);
    return strcmp(argv[1], "pipe") ? many(spawn, atoi(argv[1])) : piped(spawn);
}
