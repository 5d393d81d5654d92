/* Pipes, non-blocking descriptors, SIGPIPE, FIFOs, poll and select. */
#include "say.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t broken;

static void on_pipe(int signo) { broken++; }

static void streams(void) {
    int ends[2];
    char data[16] = "";
    SAY(pipe(ends));
    SAY(write(ends[1], "hello", 5));
    int waiting = 0;
    SAY(ioctl(ends[0], FIONREAD, &waiting));
    SAY(waiting);
    SAY(read(ends[0], data, 3));
    SAY(read(ends[0], data, 16));
    SAY(read(ends[1], data, 1));
    SAY(write(ends[0], data, 1));
    SAY(lseek(ends[0], 0, SEEK_SET));
    SAY(fcntl(ends[0], F_SETFL, O_NONBLOCK));
    SAY(fcntl(ends[0], F_GETFL) == (O_RDONLY | O_NONBLOCK));
    SAY(read(ends[0], data, 1));
    SAY(fcntl(ends[1], F_SETFL, O_NONBLOCK));
    static char block[4096];
    int blocks = 0;
    while (write(ends[1], block, sizeof block) == sizeof block) blocks++;
    HOLDS(errno == EAGAIN);
    HOLDS(blocks == 16);
    SAY(close(ends[1]));
    long total = 0;
    for (ssize_t n; (n = read(ends[0], block, sizeof block)) > 0;) total += n;
    HOLDS(total == blocks * 4096L);
    SAY(read(ends[0], data, 1));
    close(ends[0]);
    SAY(pipe2(ends, O_CLOEXEC | O_NONBLOCK));
    SAY(fcntl(ends[0], F_GETFD));
    SAY(read(ends[0], data, 1));
    signal(SIGPIPE, on_pipe);
    close(ends[0]);
    SAY(write(ends[1], "x", 1));
    SAY(broken);
    signal(SIGPIPE, SIG_IGN);
    SAY(write(ends[1], "x", 1));
    close(ends[1]);
    signal(SIGPIPE, SIG_DFL);
    SAY(pipe2(ends, 0x7));
    struct stat stat;
    pipe(ends);
    SAY(fstat(ends[0], &stat));
    SAY(S_ISFIFO(stat.st_mode));
    close(ends[0]);
    close(ends[1]);
}

static void polling(void) {
    int ends[2];
    pipe(ends);
    struct pollfd fds[3] = {{.fd = ends[0], .events = POLLIN},
                            {.fd = ends[1], .events = POLLOUT},
                            {.fd = -1, .events = POLLIN}};
    SAY(poll(fds, 1, 0));
    SAY(poll(fds, 1, 10));
    SAY(poll(fds, 3, -1));
    printf("%x %x %x\n", fds[0].revents, fds[1].revents, fds[2].revents);
    write(ends[1], "x", 1);
    SAY(poll(fds, 3, 1000));
    printf("%x %x %x\n", fds[0].revents, fds[1].revents, fds[2].revents);
    read(ends[0], &(char){0}, 1);
    close(ends[1]);
    SAY(poll(fds, 2, 1000));
    printf("%x %x\n", fds[0].revents, fds[1].revents);
    close(ends[0]);
    SAY(poll(NULL, 0, 5));
    pipe(ends);
    close(ends[0]);
    fds[0] = (struct pollfd){.fd = ends[1], .events = POLLOUT};
    SAY(poll(fds, 1, 0));
    printf("%x\n", fds[0].revents & POLLERR);
    close(ends[1]);
    int file = open("file", O_RDWR | O_CREAT, 0644);
    fds[0] = (struct pollfd){.fd = file, .events = POLLIN | POLLOUT};
    SAY(poll(fds, 1, 0));
    printf("%x\n", fds[0].revents);
    sigset_t mask;
    sigemptyset(&mask);
    SAY(ppoll(fds, 1, &(struct timespec){.tv_sec = 1}, &mask));
    SAY(ppoll(NULL, 0, &(struct timespec){.tv_nsec = 1000000}, NULL));
    close(file);
}

static void selecting(void) {
    int ends[2];
    pipe(ends);
    fd_set reading, writing;
    FD_ZERO(&reading);
    FD_ZERO(&writing);
    FD_SET(ends[0], &reading);
    FD_SET(ends[1], &writing);
    struct timeval time = {.tv_usec = 10000};
    SAY(select(ends[1] + 1, &reading, &writing, NULL, &time));
    SAY(FD_ISSET(ends[0], &reading) != 0);
    SAY(FD_ISSET(ends[1], &writing) != 0);
    FD_SET(ends[0], &reading);
    time = (struct timeval){.tv_usec = 10000};
    SAY(select(ends[0] + 1, &reading, NULL, NULL, &time));
    SAY(FD_ISSET(ends[0], &reading) != 0);
    write(ends[1], "x", 1);
    FD_SET(ends[0], &reading);
    SAY(select(ends[0] + 1, &reading, NULL, NULL, NULL));
    SAY(select(0, NULL, NULL, NULL, &(struct timeval){.tv_usec = 1000}));
    SAY(pselect(ends[0] + 1, &reading, NULL, NULL, &(struct timespec){0}, NULL));
    close(ends[0]);
    FD_ZERO(&reading);
    FD_SET(ends[0], &reading);
    SAY(select(ends[0] + 1, &reading, NULL, NULL, &(struct timeval){0}));
    close(ends[1]);
}

static int child(void) {
    int fd = open("fifo", O_WRONLY);
    write(fd, "through a fifo\n", 15);
    return 0;
}

static void fifos(void) {
    SAY(mkfifo("fifo", 0600));
    SAY(mkfifo("fifo", 0600));
    SAY(open("fifo", O_WRONLY | O_NONBLOCK));
    int fd = open("fifo", O_RDONLY | O_NONBLOCK);
    SAY(fd >= 0);
    char data[32] = "";
    SAY(read(fd, data, sizeof data));
    close(fd);
    pid_t pid = vfork();
    if (pid == 0) {
        execl("./program", "program", "write", (char *)NULL);
        _exit(127);
    }
    fd = open("fifo", O_RDONLY);
    SAY(read(fd, data, sizeof data));
    TEXT(data);
    SAY(read(fd, data, sizeof data));
    close(fd);
    SAY(waitpid(pid, NULL, 0) == pid);
}

int main(int argc, char **argv) {
    if (argc > 1) return child();
    streams();
    polling();
    selecting();
    fifos();
    return 0;
}
