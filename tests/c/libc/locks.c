/* flock and record locks, against a second process: this program again. */
#include "say.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

static int set(int fd, int command, int type, off_t start, off_t length) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, command, &lock);
}

/* What another process finds. */
static int attempt(const char *what, const char *from) {
    fflush(stdout);
    pid_t pid = vfork();
    if (pid == 0) {
        execl("./program", "program", what, from, (char *)NULL);
        _exit(127);
    }
    int status;
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

static int second(const char *what, const char *from) {
    int fd = open("file", O_RDWR);
    int result;
    if (strcmp(what, "flock") == 0) result = flock(fd, atoi(from) | LOCK_NB);
    else if (strcmp(what, "get") == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_start = atoi(from), .l_len = 1};
        if (fcntl(fd, F_GETLK, &lock) != 0) return 100;
        if (lock.l_type == F_UNLCK) return 0;
        printf("held by its parent %d, %d-%d\n", lock.l_pid == getppid(), (int)lock.l_start,
               (int)lock.l_len);
        return 1;
    } else result = set(fd, F_SETLK, strcmp(what, "read") ? F_WRLCK : F_RDLCK, atoi(from), 1);
    return result == 0 ? 0 : errno;
}

int main(int argc, char **argv) {
    if (argc == 3) return second(argv[1], argv[2]);
    int fd = open("file", O_RDWR | O_CREAT, 0644);
    SAY(flock(fd, LOCK_EX));
    SAY(attempt("flock", "2") == EWOULDBLOCK);
    SAY(attempt("flock", "1") == EWOULDBLOCK);
    SAY(flock(fd, LOCK_SH));
    SAY(attempt("flock", "1"));
    SAY(attempt("flock", "2") == EWOULDBLOCK);
    int again = open("file", O_RDWR);
    SAY(flock(again, LOCK_EX | LOCK_NB));
    SAY(flock(fd, LOCK_UN));
    SAY(flock(again, LOCK_EX | LOCK_NB));
    close(again);
    SAY(attempt("flock", "2"));
    SAY(flock(99, LOCK_EX));
    SAY(flock(fd, 77));

    SAY(set(fd, F_SETLK, F_WRLCK, 10, 10));
    SAY(attempt("write", "10") == EAGAIN);
    SAY(attempt("read", "19") == EAGAIN);
    SAY(attempt("write", "20"));
    SAY(attempt("get", "15"));
    SAY(attempt("get", "5"));
    SAY(set(fd, F_SETLK, F_UNLCK, 12, 2));
    SAY(attempt("write", "12"));
    SAY(attempt("get", "14"));
    SAY(set(fd, F_SETLKW, F_RDLCK, 0, 0));
    SAY(attempt("read", "1000"));
    SAY(attempt("write", "1000") == EAGAIN);
    SAY(set(fd, F_SETLK, F_UNLCK, 0, 0));
    SAY(attempt("write", "1000"));
    SAY(set(fd, F_SETLK, 77, 0, 0));
    int reader = open("file", O_RDONLY);
    SAY(set(reader, F_SETLK, F_WRLCK, 0, 0));
    SAY(lockf(fd, F_TLOCK, 5));
    SAY(attempt("write", "4") == EAGAIN);
    SAY(close(reader));
    SAY(attempt("write", "4"));
    return 0;
}
