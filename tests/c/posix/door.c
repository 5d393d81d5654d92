/* See door.h. */
#include <door.h>

enum { VFORK_DEPTH = 8 };
static jmp_buf places[VFORK_DEPTH];
static int depth, ended_child;
static door_handler handlers[65];

__attribute__((constructor(101))) static void attach(void) {
    if (sys_attach(1) < 0) __builtin_trap();
}

jmp_buf *door_vfork_place(void) {
    if (depth == VFORK_DEPTH) abort();
    return &places[depth];
}

int door_vfork(void) {
    int pid = sys_vfork();
    if (pid < 0) return pid;
    depth++;
    return 0;
}

int door_vfork_child(void) { return ended_child; }

static _Noreturn void resume_parent(int pid) {
    ended_child = pid;
    longjmp(places[--depth], 1);
}

int execve(const char *path, char *const argv[], char *const envp[]) {
    int result = sys_execve(PATH(path), argv, envp);
    if (result > 0) resume_parent(result);
    return result;
}

_Noreturn void _Exit(int code) { resume_parent(sys_exit(code)); }

_Noreturn void _exit(int code) { _Exit(code); }

__attribute__((export_name("__balenawasm_signal"))) void deliver(int signo) { handlers[signo](signo); }

int sigaction(int signo, door_handler handler, unsigned flags, uint64_t mask) {
    struct door_sigaction action = {handler == SIG_DFL ? 0 : handler == SIG_IGN ? 1 : 2, flags, mask};
    if (signo < 1 || signo > 64) return -EINVAL;
    door_handler before = handlers[signo];
    if (action.kind == 2) handlers[signo] = handler;
    int result = sys_sigaction(signo, &action, 0);
    if (result < 0) handlers[signo] = before;
    return result;
}

int sleep_ms(int milliseconds) {
    struct door_time time = {milliseconds / 1000, milliseconds % 1000 * 1000000LL};
    return sys_clock_nanosleep(1, 0, &time, 0);
}

int alarm_ms(int milliseconds, int interval) {
    struct door_timer timer = {{interval / 1000, interval % 1000 * 1000LL}, {milliseconds / 1000, milliseconds % 1000 * 1000LL}};
    return sys_setitimer(0, &timer, 0);
}

int door_main(const struct door_test *tests, int argc, char **argv) {
    for (; tests->name; tests++) {
        if (argc < 2) {
            puts(tests->name);
        } else if (strcmp(tests->name, argv[1]) == 0) {
            tests->run();
            puts("ok");
            return 0;
        }
    }
    return argc < 2 ? 0 : 2;
}
