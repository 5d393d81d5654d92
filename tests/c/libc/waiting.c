/* waitpid and its kin; SIGCHLD; identities; stop and go on. */
#include "say.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t ended;

static void on_child(int signo) { ended++; }

static pid_t start(const char *what, const char *argument) {
    fflush(stdout);
    pid_t pid = vfork();
    if (pid == 0) {
        execl("./program", "program", what, argument, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static int child(char **argv) {
    if (strcmp(argv[1], "exit") == 0) return atoi(argv[2]);
    if (strcmp(argv[1], "wait") == 0) pause();
    if (strcmp(argv[1], "parent") == 0)
        printf("parent %d group %d session %d\n", getppid() == atoi(argv[2]),
               getpgrp() == getpgid(getppid()), getsid(0) == getsid(getppid()));
    if (strcmp(argv[1], "stop") == 0) {
        raise(SIGSTOP);
        pause();
    }
    return 0;
}

static void variants(void) {
    int status = 0;
    SAY(waitpid(-1, &status, 0));
    SAY(waitpid(99999, &status, 0));
    SAY(wait(NULL));
    pid_t blocked = start("wait", NULL);
    SAY(waitpid(blocked, &status, WNOHANG));
    SAY(waitpid(-1, &status, WNOHANG));
    SAY(waitpid(0, &status, WNOHANG));
    pid_t quick = start("exit", "3");
    SAY(waitpid(-1, &status, 0) == quick);
    SAY(WEXITSTATUS(status));
    SAY(kill(blocked, 0));
    SAY(kill(blocked, SIGTERM));
    SAY(wait(&status) == blocked);
    SAY(WIFSIGNALED(status));
    SAY(WTERMSIG(status));
    SAY(kill(blocked, SIGTERM));
    pid_t first = start("exit", "1"), second = start("exit", "2");
    SAY(waitpid(second, &status, 0) == second);
    SAY(WEXITSTATUS(status));
    struct rusage usage;
    SAY(wait4(first, &status, 0, &usage) == first);
    SAY(WEXITSTATUS(status));
    HOLDS(usage.ru_utime.tv_sec < 100);
    pid_t third = start("exit", "4");
    siginfo_t info = {0};
    SAY(waitid(P_PID, third, &info, WEXITED));
    SAY(info.si_pid == third);
    SAY(info.si_status);
    SAY(info.si_code == CLD_EXITED);
    SAY(info.si_signo == SIGCHLD);
    third = start("wait", NULL);
    kill(third, SIGKILL);
    SAY(waitid(P_ALL, 0, &info, WEXITED));
    SAY(info.si_status);
    SAY(info.si_code == CLD_KILLED);
    SAY(waitpid(-1, &status, 0x40000000 | 0x100));
}

static void stopping(void) {
    int status = 0;
    pid_t pid = start("stop", NULL);
    SAY(waitpid(pid, &status, WUNTRACED) == pid);
    SAY(WIFSTOPPED(status));
    SAY(WSTOPSIG(status));
    SAY(waitpid(pid, &status, WNOHANG));
    SAY(kill(pid, SIGCONT));
    SAY(waitpid(pid, &status, WCONTINUED) == pid);
    HOLDS(WIFCONTINUED(status));
    SAY(kill(pid, SIGTERM));
    SAY(waitpid(pid, &status, 0) == pid);
    SAY(WTERMSIG(status));
}

static void notices(void) {
    struct sigaction action = {.sa_handler = on_child};
    SAY(sigaction(SIGCHLD, &action, NULL));
    pid_t pid = start("exit", "0");
    struct timespec left = {.tv_sec = 5};
    while (!ended && nanosleep(&left, &left) == 0 && left.tv_sec > 0) {}
    SAY(ended);
    SAY(waitpid(pid, NULL, 0) == pid);
    signal(SIGCHLD, SIG_IGN);
    pid = start("exit", "0");
    SAY(waitpid(pid, NULL, 0));
    signal(SIGCHLD, SIG_DFL);
    pid = start("exit", "6");
    int status;
    SAY(waitpid(pid, &status, 0) == pid);
}

static void identities(void) {
    char number[16];
    sprintf(number, "%d", (int)getpid());
    SAY(waitpid(start("parent", number), NULL, 0) > 0);
    HOLDS(getpid() > 0 && getppid() >= 0);
    SAY(getpgid(0) == getpgrp());
    SAY(getpgid(99999));
    SAY(getsid(99999));
    pid_t pid = start("wait", NULL);
    SAY(setpgid(pid, pid) == 0 || errno == EACCES);
    SAY(killpg(99999, SIGTERM));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    SAY(setpgid(99999, 0));
    SAY(setpgid(0, -1));
    SAY(getpriority(PRIO_PROCESS, 0));
    SAY(kill(99999, 0));
    SAY(kill(getpid(), 200));
    SAY(kill(getpid(), 0));
}

int main(int argc, char **argv) {
    if (argc > 1) return child(argv);
    variants();
    stopping();
    notices();
    identities();
    return 0;
}
