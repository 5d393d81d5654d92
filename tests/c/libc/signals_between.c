/* Signals between processes: delivery, inheritance, groups, busy loops. */
#include "say.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t caught;

static void note(int signo) { caught = signo; }

static int child(const char *what) {
    sigset_t mask;
    if (strcmp(what, "busy") == 0) {
        write(1, "r", 1);
        for (volatile unsigned i = 0;; i++) {}
    }
    if (strcmp(what, "busy caught") == 0) {
        signal(SIGUSR1, note);
        write(1, "r", 1);
        while (!caught) {}
        return caught;
    }
    if (strcmp(what, "inherited") == 0) {
        struct sigaction action;
        sigprocmask(SIG_SETMASK, NULL, &mask);
        sigaction(SIGUSR1, NULL, &action);
        int ignored = action.sa_handler == SIG_IGN;
        sigaction(SIGUSR2, NULL, &action);
        return sigismember(&mask, SIGTERM) + 2 * ignored + 4 * (action.sa_handler == SIG_DFL);
    }
    if (strcmp(what, "pending") == 0) {
        sigpending(&mask);
        return sigismember(&mask, SIGTERM);
    }
    if (strcmp(what, "group") == 0) {
        setpgid(0, 0);
        write(1, "r", 1);
        pause();
    }
    if (strcmp(what, "to parent") == 0) kill(getppid(), SIGUSR2);
    return 0;
}

/* Starts this program again and waits for its first byte. */
static pid_t start(const char *what, int waits) {
    int ends[2];
    pipe(ends);
    fflush(stdout);
    pid_t pid = vfork();
    if (pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execl("./program", "program", what, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    char byte;
    if (waits) read(ends[0], &byte, 1);
    close(ends[0]);
    return pid;
}

static void show(const char *what, pid_t pid) {
    int status = -1;
    while (waitpid(pid, &status, 0) == -1 && errno == EINTR) {}
    if (WIFEXITED(status)) printf("%s: exited %d\n", what, WEXITSTATUS(status));
    else printf("%s: signal %d\n", what, WTERMSIG(status));
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc > 1) return child(argv[1]);
    pid_t pid = start("busy", 1);
    SAY(kill(pid, SIGTERM));
    show("busy", pid);
    pid = start("busy caught", 1);
    SAY(kill(pid, SIGUSR1));
    show("busy caught", pid);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, note);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    show("inherited", start("inherited", 0));
    show("pending", start("pending", 0));
    sigprocmask(SIG_UNBLOCK, &mask, NULL);
    signal(SIGUSR1, SIG_DFL);
    show("inherited", start("inherited", 0));
    show("to parent", start("to parent", 0));
    SAY(caught);
    pid = start("group", 1);
    SAY(getpgid(pid) == pid);
    SAY(killpg(pid, SIGHUP));
    show("group", pid);
    pid = start("group", 1);
    SAY(kill(-pid, SIGKILL));
    show("group", pid);
    return 0;
}
