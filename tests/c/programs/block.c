/* Blocks for ever in the call that argv[1] names, for the soak: kill latency and leaks.
   A byte on standard error says that everything before that call is done. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DOOR(name) __attribute__((import_module("balenawasm_posix"), import_name(#name)))
DOOR(sigsuspend) int door_sigsuspend(unsigned long long mask);
DOOR(sigtimedwait) int door_sigtimedwait(unsigned long long signals, const void *timeout);
DOOR(flock) int door_flock(int fd, int operation);
DOOR(wait4) int door_wait4(int pid, int *status, int options, void *usage);

static char buffer[65536];

static void ready(void) { write(2, "!", 1); }

static int opened(const char *path, int flags) {
    int fd = open(path, flags);
    if (fd < 0) {
        fprintf(stderr, "open %s: %s\n", path, strerror(errno));
        exit(2);
    }
    return fd;
}

static void command(int fd, const char *text) {
    struct stat status;
    char path[256], answer[4096];
    fstat(fd, &status);
    snprintf(path, sizeof path, "/net/sock/%llu/%s", (unsigned long long)status.st_ino, text);
    if (readlink(path, answer, sizeof answer) < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(2);
    }
}

static void wait_for(short events, int fd) {
    struct pollfd one = {.fd = fd, .events = events};
    ready();
    poll(&one, 1, -1);
}

int main(int count, char **arguments) {
    const char *kind = count > 1 ? arguments[1] : "";
    if (strcmp(kind, "sleep") == 0) {
        struct timespec day = {.tv_sec = 86400};
        ready();
        nanosleep(&day, NULL);
    } else if (strcmp(kind, "read") == 0) {
        ready();
        read(0, buffer, 1);
    } else if (strcmp(kind, "poll") == 0) {
        wait_for(POLLIN, 0);
    } else if (strcmp(kind, "write") == 0) {
        ready();
        for (;;)
            if (write(1, buffer, sizeof buffer) < 0) return 3;
    } else if (strcmp(kind, "accept") == 0) {
        int fd = opened("/net/tcp/listen/*!8080", O_RDWR);
        ready();
        accept(fd, NULL, NULL);
    } else if (strcmp(kind, "recv") == 0) {
        int fd = opened("/net/pair/new", O_RDWR);
        ready();
        recv(fd, buffer, sizeof buffer, 0);
    } else if (strcmp(kind, "send") == 0) {
        int fd = opened("/net/pair/new", O_RDWR);
        ready();
        for (;;)
            if (send(fd, buffer, sizeof buffer, 0) < 0) return 3;
    } else if (strcmp(kind, "datagram") == 0) {
        int fd = opened("/net/udp/new", O_RDWR);
        command(fd, "bind 127.0.0.1!9");
        ready();
        recv(fd, buffer, sizeof buffer, 0);
    } else if (strcmp(kind, "lookup") == 0) {
        ready();
        for (;;)
            open("/net/dns/slow.example", O_RDONLY);
    } else if (strcmp(kind, "local") == 0) {
        int fd = opened("/net/unix/stream/new", O_RDWR);
        command(fd, "bind 0061");
        command(fd, "listen 1");
        ready();
        accept(fd, NULL, NULL);
    } else if (strcmp(kind, "fifo") == 0) {
        int maker = opened("/proc/mkfifo", O_WRONLY);
        write(maker, "600 /fifo", 9);
        ready();
        open("/fifo", O_RDONLY);
    } else if (strcmp(kind, "suspend") == 0) {
        ready();
        door_sigsuspend(0);
    } else if (strcmp(kind, "signal") == 0) {
        ready();
        door_sigtimedwait(~0ULL, NULL);
    } else if (strcmp(kind, "lock") == 0) {
        int first = open("/lock", O_RDWR | O_CREAT, 0600), second = opened("/lock", O_RDWR);
        door_flock(first, 2);
        ready();
        door_flock(second, 2);
    } else if (strcmp(kind, "wait") == 0) {
        static const char request[] = "arg=/block\0arg=sleep\0fd=2:2";
        int spawn = opened("/proc/spawn", O_RDWR), status;
        char answer[16];
        if (write(spawn, request, sizeof request) < 0 || read(spawn, answer, sizeof answer) <= 0) {
            fprintf(stderr, "spawn: %s\n", strerror(errno));
            return 2;
        }
        door_wait4(-1, &status, 0, NULL);
    } else if (strcmp(kind, "spin") == 0) {
        ready();
        for (volatile unsigned turn = 0;; turn++) {
        }
    } else {
        return 4;
    }
    return 1;
}
