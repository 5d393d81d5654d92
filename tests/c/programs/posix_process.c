/* Processes through the POSIX door; the program runs itself as /test.wasm. */
#include <door.h>

static char *const no_variables[] = {NULL};

static int child(const char *what, const char *argument) {
    char *argv[] = {"test", (char *)what, (char *)argument, NULL};
    int pid = vfork();
    if (pid == 0) {
        execve("/test.wasm", argv, environ);
        _exit(127);
    }
    return pid;
}

static int status_of(int pid) {
    int status = -1;
    SAME(waitpid(pid, &status, 0), pid);
    return status;
}

static void exit_status(void) {
    int pid = vfork();
    if (pid == 0) _exit(7);
    CHECK(pid > 1);
    int status = status_of(pid);
    CHECK(WIFEXITED(status));
    SAME(WEXITSTATUS(status), 7);
    SAME(waitpid(-1, &status, 0), -ECHILD);
}

static void run_another(void) {
    SAME(WEXITSTATUS(status_of(child("exit", "42"))), 42);
    int pid = vfork();
    if (pid == 0) {
        char *argv[] = {"nothing", NULL};
        int result = execve("/nothing", argv, no_variables);
        _exit(-result);
    }
    SAME(WEXITSTATUS(status_of(pid)), ENOENT);
}

static void variables_are_kept(void) {
    volatile int before = 5;
    int pids[3];
    for (volatile int i = 0; i < 3; i++) {
        int pid = vfork();
        if (pid == 0) _exit(before + i);
        pids[i] = pid;
    }
    for (int i = 0; i < 3; i++) SAME(WEXITSTATUS(status_of(pids[i])), 5 + i);
}

static void nested(void) {
    volatile int inner = 0;
    int outer = vfork();
    if (outer == 0) {
        int pid = vfork();
        if (pid == 0) _exit(3);
        inner = pid;
        int status = -1;
        if (waitpid(pid, &status, 0) != pid) _exit(100);
        _exit(WEXITSTATUS(status) + 1);
    }
    SAME(WEXITSTATUS(status_of(outer)), 4);
    CHECK(inner > 0 && inner != outer);
    SAME(WEXITSTATUS(status_of(child("nest", "3"))), 30);
}

static void arguments(void) {
    char *envp[] = {"A=1", "B=two words", NULL};
    int pid = vfork();
    if (pid == 0) {
        execve("/test.wasm", (char *[]){"name", "show", "", "three", NULL}, envp);
        _exit(127);
    }
    SAME(WEXITSTATUS(status_of(pid)), 0);
}

static void fds_are_copied(void) {
    int ends[2];
    SAME(sys_pipe2(0, ends), 0);
    SAME(ends[0], 3);
    int pid = vfork();
    if (pid == 0) {
        sys_close(ends[0]);
        sys_dup2(ends[1], 9);
        sys_write(9, "x", 1);
        _exit(0);
    }
    status_of(pid);
    char byte = 0;
    SAME(sys_read(ends[0], &byte, 1), 1); /* the parent's is still open */
    SAME(byte, 'x');
    SAME(sys_write(9, "x", 1), -EBADF);
}

static void close_on_exec(void) {
    int kept = open("/kept", O_CREAT | O_RDWR, 0644), gone = open("/gone", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    SAME(sys_fcntl(kept, F_GETFD, 0), 0);
    SAME(sys_fcntl(gone, F_GETFD, 0), 1);
    char text[16];
    snprintf(text, sizeof text, "%d,%d", kept, gone);
    SAME(WEXITSTATUS(status_of(child("fds", text))), 1);
}

static void pipeline(void) {
    int first[2], second[2], pids[2];
    SAME(sys_pipe2(O_CLOEXEC, first), 0);
    SAME(sys_pipe2(O_CLOEXEC, second), 0);
    for (volatile int i = 0; i < 2; i++) {
        int pid = vfork();
        if (pid == 0) {
            if (i == 0) {
                sys_dup2(first[1], 1);
            } else {
                sys_dup2(first[0], 0);
                sys_dup2(second[1], 1);
            }
            execve("/test.wasm", (char *[]){"test", i ? "filter" : "numbers", NULL}, environ);
            _exit(127);
        }
        pids[i] = pid;
    }
    sys_close(first[0]), sys_close(first[1]), sys_close(second[1]);
    long total = 0, count;
    char buffer[4096];
    while ((count = sys_read(second[0], buffer, sizeof buffer)) > 0) total += count;
    SAME(count, 0);
    SAME(WEXITSTATUS(status_of(pids[0])), 0);
    SAME(WEXITSTATUS(status_of(pids[1])), 0);
    SAME(total, 200000);
}

static void broken_pipe(void) {
    int ends[2];
    SAME(sys_pipe2(0, ends), 0);
    sys_close(ends[0]);
    sigaction(SIGPIPE, SIG_IGN, 0, 0);
    SAME(sys_write(ends[1], "x", 1), -EPIPE);
    sigaction(SIGPIPE, SIG_DFL, 0, 0);
    char text[16];
    snprintf(text, sizeof text, "%d", ends[1]);
    int status = status_of(child("write", text));
    SAME(WTERMSIG(status), SIGPIPE);
}

static void groups(void) {
    int own = sys_getpgid(0), pid = child("sleep", "100000");
    SAME(sys_getpgid(pid), own);
    SAME(sys_setpgid(pid, 0), -EACCES); /* it has called execve */
    int leader = vfork();
    if (leader == 0) {
        sys_setpgid(0, 0);
        execve("/test.wasm", (char *[]){"test", "sleep", "100000", NULL}, environ);
        _exit(127);
    }
    SAME(sys_getpgid(leader), leader);
    SAME(waitpid(-leader, NULL, WNOHANG), 0);
    SAME(sys_kill(-leader, SIGTERM), 0);
    int status;
    SAME(waitpid(-leader, &status, 0), leader);
    SAME(WTERMSIG(status), SIGTERM);
    SAME(waitpid(pid, &status, WNOHANG), 0);
    SAME(sys_kill(pid, SIGKILL), 0);
    SAME(WTERMSIG(status_of(pid)), SIGKILL);
    SAME(sys_kill(-leader, 0), -ESRCH);
    SAME(sys_kill(pid, 0), -ESRCH);
}

static void stop_and_continue(void) {
    int pid = child("sleep", "100000"), status = 0;
    SAME(sys_kill(pid, SIGSTOP), 0);
    SAME(waitpid(pid, &status, WUNTRACED), pid);
    SAME(status, SIGSTOP << 8 | 0x7f);
    SAME(sys_kill(pid, SIGCONT), 0);
    SAME(waitpid(pid, &status, WCONTINUED), pid);
    SAME(status, 0xffff);
    sys_kill(pid, SIGKILL);
    status_of(pid);
}

static void sessions(void) {
    SAME(sys_setsid(), -EPERM);
    SAME(sys_getsid(0), sys_getpid());
    int pid = vfork();
    if (pid == 0) {
        int sid = sys_setsid();
        _exit(sid == sys_getpid() && sys_getsid(0) == sid && sys_getpgid(0) == sid);
    }
    SAME(WEXITSTATUS(status_of(pid)), 1);
}

static void parents(void) {
    volatile int me = sys_getpid();
    int pid = vfork();
    if (pid == 0) _exit(sys_getppid() == me && sys_getpid() != me);
    SAME(WEXITSTATUS(status_of(pid)), 1);
    SAME(sys_getpid(), me);
}

static void exec_in_place(void) {
    execve("/test.wasm", (char *[]){"test", "last", NULL}, environ);
    CHECK(!"execve came back");
}

static void timers_survive_exec(void) {
    int pid = vfork();
    if (pid == 0) {
        execve("/test.wasm", (char *[]){"test", "alarm_and_exec", NULL}, environ);
        _exit(127);
    }
    SAME(WTERMSIG(status_of(pid)), SIGALRM);
}

static void spawn_with_actions(void) {
    int ends[2];
    SAME(sys_pipe2(O_CLOEXEC, ends), 0);
    SAME(sys_mkdirat(AT_FDCWD, PATH("/place"), 0755), 0);
    struct door_action actions[] = {
        {ACTION_CHDIR, 0, (uint32_t) "/place", 6, 0, 0},
        {ACTION_OPEN, 5, (uint32_t) "made", 4, O_CREAT | O_WRONLY, 0600},
        {ACTION_DUP2, ends[1], 1, 0, 0, 0},
        {ACTION_CLOSE, 0, 0, 0, 0, 0},
    };
    struct door_attributes attributes = {2 | 8, 0, 0, BIT(SIGUSR1)};
    char *argv[] = {"test", "spawned", NULL};
    int pid = sys_spawn(PATH("/test.wasm"), argv, environ, actions, 4, &attributes);
    CHECK(pid > 0);
    SAME(sys_getpgid(pid), pid);
    sys_close(ends[1]);
    char text[64] = "";
    SAME(sys_read(ends[0], text, sizeof text), 10);
    CHECK(strcmp(text, "/place 512") == 0);
    SAME(WEXITSTATUS(status_of(pid)), 0);
    struct door_stat stat;
    SAME(sys_fstatat(AT_FDCWD, PATH("/place/made"), 0, &stat), 0);
    SAME(stat.mode, 0100600);
    SAME(sys_spawn(PATH("/nothing"), argv, environ, NULL, 0, NULL), -ENOENT);
    struct door_action wrong = {ACTION_DUP2, 77, 1, 0, 0, 0};
    SAME(sys_spawn(PATH("/test.wasm"), argv, environ, &wrong, 1, NULL), -EBADF);
    SAME(waitpid(-1, NULL, WNOHANG), -ECHILD);
    char cwd[64];
    SAME(sys_getcwd(cwd, sizeof cwd), 2); /* the child's chdir is not ours */
}

static void usage(void) {
    int pid = child("spin", ""), status;
    struct door_rusage rusage, all;
    SAME(sys_wait4(pid, &status, 0, &rusage), pid);
    SAME(WEXITSTATUS(status), 0);
    long long used = rusage.user.seconds * 1000000 + rusage.user.fraction;
    CHECK(used >= 20000);
    SAME(sys_getrusage(-1, &all), 0);
    SAME(all.user.seconds * 1000000 + all.user.fraction, used);
    SAME(sys_getrusage(0, &all), 0);
    CHECK(all.user.fraction > 0);
    uint64_t limit[2];
    SAME(sys_getrlimit(7, limit), 0);
    CHECK(limit[0] >= 256);
    char names[6][65];
    SAME(sys_uname(names), 0);
    CHECK(strcmp(names[0], "Linux") == 0 && strcmp(names[4], "wasm32") == 0);

    char name[16];
    SAME(sys_getcomm(name), 0);
    CHECK(strcmp(name, "test.wasm") == 0);
    SAME(sys_setcomm("a name of 20 letters", 20), 0);
    SAME(sys_getcomm(name), 0);
    CHECK(strcmp(name, "a name of 20 le") == 0);
}

static void scripts(void) {
    int fd = open("/script", O_CREAT | O_WRONLY, 0755);
    SAME(sys_write(fd, "#!/test.wasm script\n", 20), 20);
    sys_close(fd);
    int pid = vfork();
    if (pid == 0) {
        execve("/script", (char *[]){"ignored", "more", NULL}, environ);
        _exit(127);
    }
    SAME(WEXITSTATUS(status_of(pid)), 3);
}

static void umask_is_inherited(void) {
    SAME(sys_umask(0077), 022);
    SAME(WEXITSTATUS(status_of(child("umask", ""))), 077);
    int fd = open("/masked", O_CREAT | O_WRONLY, 0666);
    struct door_stat stat;
    SAME(sys_fstat(fd, &stat), 0);
    SAME(stat.mode & 0777, 0600);
}

/* What the children do. */
static int role(int argc, char **argv) {
    const char *what = argv[1], *more = argc > 2 ? argv[2] : "";
    if (strcmp(what, "exit") == 0) return atoi(more);
    if (strcmp(what, "nest") == 0) {
        int level = atoi(more);
        if (level == 0) return 0;
        char text[8];
        snprintf(text, sizeof text, "%d", level - 1);
        return WEXITSTATUS(status_of(child("nest", text))) + 10;
    }
    if (strcmp(what, "show") == 0)
        return !(argc == 4 && strcmp(argv[0], "name") == 0 && *more == 0 && strcmp(argv[3], "three") == 0 &&
                 strcmp(environ[0], "A=1") == 0 && strcmp(environ[1], "B=two words") == 0 && environ[2] == NULL);
    if (strcmp(what, "fds") == 0) {
        int kept = atoi(more), gone = atoi(strchr(more, ',') + 1);
        return sys_fcntl(kept, F_GETFD, 0) == 0 && sys_fcntl(gone, F_GETFD, 0) == -EBADF;
    }
    if (strcmp(what, "numbers") == 0) {
        for (int i = 0; i < 20000; i++)
            if (sys_write(1, "123456789\n", 10) != 10) return 1;
        return 0;
    }
    if (strcmp(what, "filter") == 0) {
        char buffer[1000];
        int count;
        while ((count = sys_read(0, buffer, sizeof buffer)) > 0) sys_write(1, buffer, count);
        return -count;
    }
    if (strcmp(what, "write") == 0) {
        sys_write(atoi(more), "x", 1);
        return 5;
    }
    if (strcmp(what, "alarm_and_exec") == 0) {
        alarm_ms(30, 0);
        execve("/test.wasm", (char *[]){"test", "sleep", "100000", NULL}, environ);
    }
    if (strcmp(what, "sleep") == 0) return sleep_ms(atoi(more));
    if (strcmp(what, "last") == 0) {
        puts("ok");
        return 0;
    }
    if (strcmp(what, "spawned") == 0) {
        char cwd[32];
        uint64_t mask;
        sys_getcwd(cwd, sizeof cwd);
        sys_sigprocmask(0, NULL, &mask);
        printf("%s %d", cwd, (int)mask);
        return !(sys_fcntl(5, F_GETFD, 0) == 0 && sys_fcntl(0, F_GETFD, 0) == -EBADF);
    }
    if (strcmp(what, "spin") == 0) {
        struct door_rusage rusage;
        do sys_getrusage(0, &rusage);
        while (rusage.user.seconds == 0 && rusage.user.fraction < 25000);
        return 0;
    }
    if (strcmp(what, "script") == 0) return argc == 4 && strcmp(argv[2], "/script") == 0 ? 3 : 4;
    if (strcmp(what, "umask") == 0) return sys_umask(0);
    return -1;
}

static const struct door_test tests[] = {
    {"exit_status", exit_status},
    {"run_another", run_another},
    {"variables_are_kept", variables_are_kept},
    {"nested", nested},
    {"arguments", arguments},
    {"fds_are_copied", fds_are_copied},
    {"close_on_exec", close_on_exec},
    {"pipeline", pipeline},
    {"broken_pipe", broken_pipe},
    {"groups", groups},
    {"stop_and_continue", stop_and_continue},
    {"sessions", sessions},
    {"parents", parents},
    {"exec_in_place", exec_in_place},
    {"timers_survive_exec", timers_survive_exec},
    {"spawn_with_actions", spawn_with_actions},
    {"usage", usage},
    {"scripts", scripts},
    {"umask_is_inherited", umask_is_inherited},
    {0},
};

int main(int argc, char **argv) {
    if (argc > 1) {
        int result = role(argc, argv);
        if (result != -1) return result;
    }
    return door_main(tests, argc, argv);
}
