/* vfork with exec and _exit, nested, and failing. */
#include "say.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void show(pid_t pid) {
    int status = -1;
    if (waitpid(pid, &status, 0) != pid) printf("wait: errno %d\n", errno);
    else if (WIFEXITED(status)) printf("exited %d\n", WEXITSTATUS(status));
    else if (WIFSIGNALED(status)) printf("signal %d\n", WTERMSIG(status));
    else printf("status %x\n", status);
    fflush(stdout);
}

static pid_t run(char *const argv[]) {
    pid_t pid = vfork();
    if (pid == 0) {
        execv("./program", argv);
        _exit(127);
    }
    return pid;
}

static void exits(void) {
    pid_t pid = vfork();
    if (pid == 0) _exit(7);
    show(pid);
    pid = vfork();
    if (pid == 0) _exit(300);
    show(pid);
    for (volatile int i = 0; i < 5; i++) {
        pid = vfork();
        if (pid == 0) _exit(i);
        show(pid);
    }
    /* The child shares the parent's variables. */
    volatile int shared = 1;
    pid = vfork();
    if (pid == 0) {
        shared = 2;
        _exit(0);
    }
    show(pid);
    SAY(shared);
}

static void programs(void) {
    show(run((char *[]){"program", "exit", "42", NULL}));
    pid_t pid = vfork();
    if (pid == 0) {
        execl("./none", "none", (char *)NULL);
        _exit(errno == ENOENT ? 44 : 45);
    }
    show(pid);
    pid = vfork();
    if (pid == 0) {
        execl(".", "dot", (char *)NULL);
        _exit(errno == EACCES ? 44 : 45);
    }
    show(pid);
    close(open("text", O_CREAT | O_WRONLY, 0755));
    pid = vfork();
    if (pid == 0) {
        execl("./text", "text", (char *)NULL);
        _exit(errno == ENOEXEC ? 44 : 45);
    }
    show(pid);
    char *variables[] = {"ONE=1", "TWO=second word", NULL};
    pid = vfork();
    if (pid == 0) {
        execle("./program", "named", "show", "", "last argument", (char *)NULL, variables);
        _exit(127);
    }
    show(pid);
    show(run((char *[]){"program", "raise", "9", NULL}));
    show(run((char *[]){"program", "raise", "15", NULL}));
    show(run((char *[]){"program", "abort", NULL}));
}

/* Descriptors, directory and mask that the child sets are its own; the parent's stay. */
static void own_things(void) {
    fflush(stdout);
    pid_t pid = vfork();
    if (pid == 0) {
        int fd = open("out", O_CREAT | O_WRONLY | O_TRUNC, 0644);
        dup2(fd, 1);
        close(fd);
        chdir("/");
        umask(077);
        close(0);
        fchdir(open("/", O_RDONLY));
        _exit(0);
    }
    show(pid);
    SAY(fcntl(0, F_GETFD));
    SAY(access("out", F_OK));
    printf("%o\n", umask(022));
    fflush(stdout);
    pid = vfork();
    if (pid == 0) {
        int fd = open("out", O_CREAT | O_WRONLY | O_TRUNC, 0644);
        dup2(fd, 1);
        execl("./program", "program", "say", "into a file", (char *)NULL);
        _exit(127);
    }
    show(pid);
    char data[32] = "";
    int fd = open("out", O_RDONLY | O_CLOEXEC);
    SAY(read(fd, data, sizeof data - 1));
    TEXT(data);
    int kept = open("out", O_RDONLY);
    char number[12], closed[12];
    sprintf(number, "%d", kept);
    sprintf(closed, "%d", fd);
    show(run((char *[]){"program", "is-open", number, NULL}));
    show(run((char *[]){"program", "is-open", closed, NULL}));
}

static void nested(void) {
    volatile pid_t inner = 0;
    pid_t outer = vfork();
    if (outer == 0) {
        inner = vfork();
        if (inner == 0) _exit(3);
        int status;
        if (waitpid(inner, &status, 0) != inner) _exit(100);
        _exit(WEXITSTATUS(status) + 1);
    }
    show(outer);
    outer = vfork();
    if (outer == 0) {
        inner = vfork();
        if (inner == 0) {
            execl("./program", "program", "exit", "9", (char *)NULL);
            _exit(100);
        }
        int status;
        waitpid(inner, &status, 0);
        if (WEXITSTATUS(status) == 9) execl("./program", "program", "exit", "10", (char *)NULL);
        _exit(101);
    }
    show(outer);
    SAY(waitpid(-1, NULL, 0));
}

static int deep(int level) {
    volatile char frame[200];
    frame[level] = (char)level;
    if (level > 0) return deep(level - 1) + (frame[level] == level);
    pid_t pid = vfork();
    if (pid == 0) _exit(1);
    return waitpid(pid, NULL, 0) == pid;
}

int main(int argc, char **argv) {
    if (argc > 1) {
        if (strcmp(argv[1], "exit") == 0) return atoi(argv[2]);
        if (strcmp(argv[1], "raise") == 0) raise(atoi(argv[2]));
        if (strcmp(argv[1], "abort") == 0) abort();
        if (strcmp(argv[1], "say") == 0) puts(argv[2]);
        if (strcmp(argv[1], "is-open") == 0) return fcntl(atoi(argv[2]), F_GETFD) == 0;
        for (int i = 0; strcmp(argv[1], "show") == 0 && i < argc; i++) printf("[%s]\n", argv[i]);
        for (char **p = environ; strcmp(argv[1], "show") == 0 && *p; p++) puts(*p);
        return 0;
    }
    umask(022);
    exits();
    programs();
    own_things();
    nested();
    SAY(deep(50));
    return 0;
}
