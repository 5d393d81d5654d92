/* posix_spawn: file actions, attributes, the search in PATH. */
#include "say.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int child(int argc, char **argv) {
    if (strcmp(argv[1], "exit") == 0) return atoi(argv[2]);
    if (strcmp(argv[1], "say") == 0) puts(argv[2]);
    if (strcmp(argv[1], "copy") == 0)
        for (int c; (c = getchar()) != EOF;) putchar(c);
    if (strcmp(argv[1], "where") == 0) {
        char path[200];
        puts(strrchr(getcwd(path, sizeof path), '/'));
    }
    if (strcmp(argv[1], "signals") == 0) {
        sigset_t mask;
        sigprocmask(SIG_SETMASK, NULL, &mask);
        struct sigaction action;
        sigaction(SIGUSR1, NULL, &action);
        printf("blocked %d ignored %d leader %d own group %d\n", sigismember(&mask, SIGUSR2),
               action.sa_handler == SIG_IGN, getsid(0) == getpid(), getpgrp() == getpid());
    }
    return 0;
}

static void show(pid_t pid) {
    int status = -1;
    SAY(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status)) printf("exited %d\n", WEXITSTATUS(status));
    else printf("status %x\n", status);
    fflush(stdout);
}

static void start(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes,
                  const char *what, const char *argument) {
    char *argv[] = {"program", (char *)what, (char *)argument, NULL};
    fflush(stdout);
    pid_t pid;
    int error = posix_spawn(&pid, "./program", actions, attributes, argv, environ);
    if (error) printf("%s: not spawned: %d\n", what, error);
    else show(pid);
}

static void actions(void) {
    start(NULL, NULL, "exit", "5");
    posix_spawn_file_actions_t actions;
    SAY(posix_spawn_file_actions_init(&actions));
    SAY(posix_spawn_file_actions_addopen(&actions, 1, "out", O_WRONLY | O_CREAT | O_TRUNC, 0600));
    start(&actions, NULL, "say", "to the file");
    struct stat stat_;
    SAY(stat("out", &stat_));
    printf("%o %lld\n", stat_.st_mode & 0777, (long long)stat_.st_size);
    posix_spawn_file_actions_destroy(&actions);

    int ends[2];
    SAY(pipe(ends));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    start(&actions, NULL, "say", "through a pipe");
    close(ends[1]);
    char data[32] = "";
    SAY(read(ends[0], data, sizeof data - 1));
    TEXT(data);
    SAY(read(ends[0], data, sizeof data - 1));
    close(ends[0]);
    posix_spawn_file_actions_destroy(&actions);

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "out", O_RDONLY, 0);
    start(&actions, NULL, "copy", NULL);
    posix_spawn_file_actions_destroy(&actions);

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "none", O_RDONLY, 0);
    start(&actions, NULL, "copy", NULL);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawn_file_actions_init(&actions);
    SAY(posix_spawn_file_actions_addclose(&actions, -1));
    SAY(posix_spawn_file_actions_adddup2(&actions, 99, 1));
    start(&actions, NULL, "copy", NULL);
    posix_spawn_file_actions_destroy(&actions);

    mkdir("folder", 0755);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, "folder");
    char *argv[] = {"program", "where", NULL};
    pid_t pid;
    fflush(stdout);
    MUST(posix_spawn(&pid, "../program", &actions, NULL, argv, environ) == 0);
    show(pid);
    posix_spawn_file_actions_destroy(&actions);
}

static void attributes(void) {
    posix_spawnattr_t attributes;
    sigset_t set;
    signal(SIGUSR1, SIG_IGN);
    start(NULL, NULL, "signals", NULL);
    SAY(posix_spawnattr_init(&attributes));
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    SAY(posix_spawnattr_setsigdefault(&attributes, &set));
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    SAY(posix_spawnattr_setsigmask(&attributes, &set));
    SAY(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK));
    start(NULL, &attributes, "signals", NULL);
    SAY(posix_spawnattr_setpgroup(&attributes, 0));
    SAY(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP));
    start(NULL, &attributes, "signals", NULL);
    SAY(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID));
    start(NULL, &attributes, "signals", NULL);
    short flags = 0;
    SAY(posix_spawnattr_getflags(&attributes, &flags));
    SAY(flags == POSIX_SPAWN_SETSID);
    posix_spawnattr_destroy(&attributes);
}

static void search(void) {
    pid_t pid = 0;
    char *argv[] = {"program", "exit", "6", NULL};
    SAY(posix_spawn(&pid, "./none", NULL, NULL, argv, environ));
    SAY(posix_spawnp(&pid, "no-such-program", NULL, NULL, argv, environ));
    setenv("PATH", "/none:.:/usr/bin", 1);
    SAY(posix_spawnp(&pid, "program", NULL, NULL, argv, environ));
    show(pid);
    pid = vfork();
    if (pid == 0) {
        execvp("program", argv);
        _exit(127);
    }
    show(pid);
    pid = vfork();
    if (pid == 0) {
        execlp("no-such-program", "x", (char *)NULL);
        _exit(errno);
    }
    show(pid);
    pid = vfork();
    if (pid == 0) {
        execvp("", argv);
        _exit(errno);
    }
    show(pid);
    unsetenv("PATH");
    pid = vfork();
    if (pid == 0) {
        execvp("./program", argv);
        _exit(errno);
    }
    show(pid);
}

int main(int argc, char **argv) {
    if (argc > 1) return child(argc, argv);
    umask(022);
    actions();
    attributes();
    search();
    return 0;
}
