/* A terminal and job control through the POSIX door: fd 0 is the controlling terminal. */
#include <door.h>

static volatile int seen[65];
static void note(int signo) { seen[signo]++; }

static void settings(void) {
    struct door_termios termios = {0}, before;
    unsigned short size[4] = {0};
    SAME(sys_isatty(0), 1);
    SAME(sys_tcgetattr(0, &termios), 0);
    CHECK(termios.local & ICANON && termios.local & ECHO);
    SAME(termios.characters[0], 3); /* VINTR: Ctrl-C */
    before = termios;
    termios.local &= ~(ICANON | ECHO);
    termios.characters[6] = 2, termios.characters[5] = 1; /* VMIN, VTIME */
    SAME(sys_tcsetattr(0, 2, &termios), 0);
    struct door_termios now = {0};
    SAME(sys_tcgetattr(0, &now), 0);
    SAME(now.local, termios.local);
    SAME(now.characters[6], 2);
    SAME(now.characters[5], 1);
    SAME(sys_tcsetattr(0, 0, &before), 0);
    SAME(sys_tcsetattr(0, 3, &before), -EINVAL);
    sigaction(SIGWINCH, note, 0, 0);
    SAME(sys_tcgetwinsize(0, size), 0);
    size[0] = 33, size[1] = 101;
    SAME(sys_tcsetwinsize(0, size), 0);
    size[0] = 0;
    SAME(sys_tcgetwinsize(0, size), 0);
    SAME(size[0], 33);
    SAME(size[1], 101);
    while (!seen[SIGWINCH]) sleep_ms(1000);
    SAME(sys_tcflush(0, 2), 0);
    int ends[2];
    sys_pipe2(0, ends);
    SAME(sys_isatty(ends[0]), -ENOTTY);
    SAME(sys_tcgetattr(ends[0], &now), -ENOTTY);
    SAME(sys_tcsetctty(0), -EPERM);
}

static void job_control(void) {
    int own = sys_getpgid(0), status = 0;
    SAME(sys_tcgetpgrp(0), own);
    SAME(sys_tcgetsid(0), sys_getsid(0));
    SAME(sys_tcsetpgrp(0, 99999), -EPERM);
    int pid = vfork();
    if (pid == 0) {
        sys_setpgid(0, 0);
        execve("/test.wasm", (char *[]){"test", "read", NULL}, environ);
        _exit(127);
    }
    /* In the background, its reading stops it. */
    SAME(waitpid(pid, &status, WUNTRACED), pid);
    SAME(status, SIGTTIN << 8 | 0x7f);
    SAME(sys_tcsetpgrp(0, pid), 0);
    SAME(sys_tcgetpgrp(0), pid);
    SAME(sys_kill(-pid, SIGCONT), 0);
    puts("type");
    fflush(stdout);
    SAME(waitpid(pid, &status, 0), pid);
    SAME(WEXITSTATUS(status), 'x');
    /* Now we are in the background ourselves; who ignores SIGTTOU may come back. */
    sigaction(SIGTTOU, SIG_IGN, 0, 0);
    SAME(sys_tcsetpgrp(0, own), 0);
    SAME(sys_tcgetpgrp(0), own);
}

static void interrupt(void) {
    uint64_t held = BIT(SIGINT), none = 0;
    struct door_pollfd poll = {0, POLLIN, 0};
    sigaction(SIGINT, note, 0, 0);
    sys_sigprocmask(SIG_BLOCK, &held, NULL);
    puts("type");
    fflush(stdout);
    SAME(sys_ppoll(&poll, 1, NULL, &none), -EINTR);
    SAME(seen[SIGINT], 1);
}

static const struct door_test tests[] = {
    {"settings", settings},
    {"job_control", job_control},
    {"interrupt", interrupt},
    {0},
};

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "read") == 0) {
        char line[16] = "";
        return sys_read(0, line, sizeof line) > 0 ? line[0] : 1;
    }
    return door_main(tests, argc, argv);
}
