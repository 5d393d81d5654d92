/* Signals through the POSIX door. */
#include <door.h>

static volatile int seen[65], last, order[16], count;

static void note(int signo) {
    seen[signo]++;
    last = signo;
    if (count < 16) order[count++] = signo;
}

static void handler_runs_before_kill_returns(void) {
    SAME(sigaction(SIGUSR1, note, 0, 0), 0);
    SAME(sys_kill(sys_getpid(), SIGUSR1), 0);
    SAME(seen[SIGUSR1], 1);
    SAME(sigaction(SIGKILL, note, 0, 0), -EINVAL);
    SAME(sys_kill(sys_getpid(), 65), -EINVAL);
    struct door_sigaction old;
    SAME(sys_sigaction(SIGUSR1, 0, &old), 0);
    SAME(old.kind, 2);
}

static void alarm_in_a_busy_loop(void) {
    sigaction(SIGALRM, note, 0, 0);
    SAME(alarm_ms(20, 0), 0);
    volatile unsigned long long turns = 0;
    while (!seen[SIGALRM]) turns++;
    CHECK(turns > 0);
    SAME(last, SIGALRM);
}

static void default_action_ends(void) {
    alarm_ms(10, 0);
    for (;;) sleep_ms(100000);
}

static void busy_loop_is_ended(void) {
    alarm_ms(10, 0);
    for (volatile int i = 0;; i++) continue;
}

static void sleep_is_interrupted(void) {
    sigaction(SIGALRM, note, SA_RESTART, 0);
    alarm_ms(20, 20); /* again and again: the first may come before the call */
    struct door_time time = {1000, 0}, left = {0};
    SAME(sys_clock_nanosleep(1, 0, &time, &left), -EINTR);
    CHECK(left.seconds > 900 && left.seconds < 1000);
    CHECK(seen[SIGALRM] > 0);
}

static int ends[2];

static void read_is_interrupted(void) {
    char byte;
    sys_pipe2(0, ends);
    sigaction(SIGALRM, note, 0, 0);
    alarm_ms(20, 20);
    SAME(sys_read(ends[0], &byte, 1), -EINTR);
    CHECK(seen[SIGALRM] > 0);
}

static void feed(int signo) {
    note(signo);
    sys_write(ends[1], "y", 1);
}

static void read_is_restarted(void) {
    char byte = 0;
    sys_pipe2(0, ends);
    sigaction(SIGALRM, feed, SA_RESTART, 0);
    alarm_ms(20, 0);
    SAME(sys_read(ends[0], &byte, 1), 1);
    SAME(byte, 'y');
    SAME(seen[SIGALRM], 1);
}

static void poll_is_never_restarted(void) {
    sys_pipe2(0, ends);
    struct door_pollfd poll = {ends[0], POLLIN, 0};
    sigaction(SIGALRM, note, SA_RESTART, 0);
    alarm_ms(20, 20);
    SAME(sys_ppoll(&poll, 1, 0, 0), -EINTR);
    CHECK(seen[SIGALRM] > 0);
}

static void mask_holds_back(void) {
    uint64_t both = BIT(SIGUSR1) | BIT(SIGUSR2), old = 7, pending = 0, none = 0;
    sigaction(SIGUSR1, note, 0, 0);
    sigaction(SIGUSR2, note, 0, 0);
    SAME(sys_sigprocmask(SIG_BLOCK, &both, &old), 0);
    SAME(old, 0);
    sys_kill(sys_getpid(), SIGUSR2);
    sys_kill(sys_getpid(), SIGUSR1);
    sys_kill(sys_getpid(), SIGUSR1);
    SAME(count, 0);
    SAME(sys_sigpending(&pending), 0);
    SAME(pending, both);
    uint64_t one = BIT(SIGUSR1);
    SAME(sys_sigprocmask(SIG_UNBLOCK, &one, NULL), 0);
    SAME(count, 1); /* twice the same is once */
    SAME(order[0], SIGUSR1);
    SAME(sys_sigprocmask(SIG_SETMASK, &none, &old), 0);
    SAME(old, BIT(SIGUSR2));
    SAME(count, 2);
    SAME(sys_sigprocmask(9, &none, NULL), -EINVAL);
}

static void nested_kill(int signo) {
    int depth = count;
    note(signo);
    if (signo == SIGUSR1 && depth == 0) {
        sys_kill(sys_getpid(), SIGUSR1); /* held back: it runs already */
        sys_kill(sys_getpid(), SIGUSR2); /* held back by the mask */
        SAME(count, 1);
        sys_kill(sys_getpid(), SIGHUP);
        SAME(count, 2);
        SAME(order[1], SIGHUP);
    }
}

static void mask_of_a_handler(void) {
    sigaction(SIGUSR1, nested_kill, 0, BIT(SIGUSR2));
    sigaction(SIGUSR2, nested_kill, 0, 0);
    sigaction(SIGHUP, nested_kill, 0, 0);
    sys_kill(sys_getpid(), SIGUSR1);
    SAME(count, 4);
    SAME(order[2] + order[3], SIGUSR1 + SIGUSR2);
    uint64_t mask;
    sys_sigprocmask(0, NULL, &mask);
    SAME(mask, 0);
}

static void suspend(void) {
    uint64_t block = BIT(SIGALRM);
    sys_sigprocmask(SIG_BLOCK, &block, NULL);
    sigaction(SIGALRM, note, SA_RESTART, 0);
    alarm_ms(20, 0);
    sleep_ms(60);
    SAME(count, 0);
    SAME(sys_sigsuspend(0), -EINTR);
    SAME(count, 1);
    uint64_t mask;
    sys_sigprocmask(0, NULL, &mask);
    SAME(mask, block);
}

static void timed_wait(void) {
    uint64_t block = BIT(SIGALRM) | BIT(SIGUSR1);
    sys_sigprocmask(SIG_BLOCK, &block, NULL);
    struct door_time moment = {0, 10000000}, minute = {60, 0};
    SAME(sys_sigtimedwait(block, &moment), -EAGAIN);
    alarm_ms(20, 0);
    SAME(sys_sigtimedwait(block, &minute), SIGALRM);
    sys_kill(sys_getpid(), SIGUSR1);
    SAME(sys_sigtimedwait(block, NULL), SIGUSR1);
    uint64_t pending;
    sys_sigpending(&pending);
    SAME(pending, 0);
}

static void poll_with_a_mask(void) {
    uint64_t block = BIT(SIGALRM), none = 0, mask;
    sys_sigprocmask(SIG_BLOCK, &block, NULL);
    sigaction(SIGALRM, note, 0, 0);
    struct door_time minute = {60, 0}, moment = {0, 60000000};
    alarm_ms(20, 0);
    SAME(sys_ppoll(NULL, 0, &moment, NULL), 0);
    SAME(count, 0);
    SAME(sys_ppoll(NULL, 0, &minute, &none), -EINTR);
    SAME(count, 1);
    sys_sigprocmask(0, NULL, &mask);
    SAME(mask, block);
    SAME(sys_ppoll(NULL, 0, &moment, &none), 0);
    sys_sigprocmask(0, NULL, &mask);
    SAME(mask, block);
}

static void interval_timer(void) {
    struct door_timer left;
    sigaction(SIGALRM, note, 0, 0);
    SAME(alarm_ms(5, 5), 0);
    while (seen[SIGALRM] < 4) sleep_ms(1000);
    SAME(sys_getitimer(0, &left), 0);
    SAME(left.interval.fraction, 5000);
    struct door_timer off = {0};
    SAME(sys_setitimer(0, &off, &left), 0);
    CHECK(left.value.fraction > 0 && left.value.fraction <= 5000);
    SAME(sys_getitimer(0, &left), 0);
    SAME(left.value.fraction + left.value.seconds, 0);
    SAME(sys_setitimer(1, &off, NULL), -EINVAL);
}

static void child_ended(void) {
    sigaction(SIGCHLD, note, SA_RESTART, 0);
    int pid = vfork();
    if (pid == 0) _exit(0);
    while (!seen[SIGCHLD]) sleep_ms(1000);
    SAME(waitpid(pid, NULL, 0), pid);
    sigaction(SIGCHLD, SIG_IGN, 0, 0);
    pid = vfork();
    if (pid == 0) _exit(0);
    SAME(waitpid(pid, NULL, 0), -ECHILD);
}

static void reset_after_one(void) {
    sigaction(SIGUSR1, note, SA_RESETHAND, 0);
    sys_kill(sys_getpid(), SIGUSR1);
    SAME(count, 1);
    sys_kill(sys_getpid(), SIGUSR1);
    CHECK(!"still here");
}

static jmp_buf out;

static void leave(int signo) {
    note(signo);
    longjmp(out, signo);
}

static void jump_out_of_a_handler(void) {
    char byte;
    sys_pipe2(0, ends);
    sigaction(SIGALRM, leave, SA_NODEFER, 0);
    for (volatile int i = 0; i < 3; i++) {
        int signo = setjmp(out);
        if (signo == 0) {
            alarm_ms(10, 0);
            sys_read(ends[0], &byte, 1);
            CHECK(!"read came back");
        }
        SAME(signo, SIGALRM);
    }
    SAME(seen[SIGALRM], 3);
}

static void words(void) {
    static volatile unsigned flag, other;
    unsigned pairs[4] = {(unsigned)(uintptr_t)&other, 6, (unsigned)(uintptr_t)&flag, 5}; /* in this order */
    SAME(sys_sigwords(SIGALRM, 0, pairs, 2), 0);
    alarm_ms(20, 0);
    while (flag != 5) continue;
    SAME(other, 6);
    SAME(sleep_ms(1), -EINTR); /* once: nothing was under way when it came */
    SAME(sleep_ms(1), 0);
    pairs[0] = 0xfffffff0;
    SAME(sys_sigwords(SIGALRM, 0, pairs, 2), -EFAULT);
    SAME(sys_sigwords(SIGALRM, 0, pairs, 9), -EINVAL);
}

static void a_child_has_no_handlers(void) {
    sigaction(SIGUSR1, note, 0, 0);
    sigaction(SIGUSR2, SIG_IGN, 0, 0);
    volatile int me = sys_getpid();
    int pid = vfork();
    if (pid == 0) {
        sys_kill(me, SIGUSR1); /* waits until the parent goes on */
        _exit(count);
    }
    SAME(count, 1);
    int status;
    SAME(waitpid(pid, &status, 0), pid);
    SAME(WEXITSTATUS(status), 0);
}

static const struct door_test tests[] = {
    {"handler_runs_before_kill_returns", handler_runs_before_kill_returns},
    {"alarm_in_a_busy_loop", alarm_in_a_busy_loop},
    {"sleep_is_interrupted", sleep_is_interrupted},
    {"read_is_interrupted", read_is_interrupted},
    {"read_is_restarted", read_is_restarted},
    {"poll_is_never_restarted", poll_is_never_restarted},
    {"mask_holds_back", mask_holds_back},
    {"mask_of_a_handler", mask_of_a_handler},
    {"suspend", suspend},
    {"timed_wait", timed_wait},
    {"poll_with_a_mask", poll_with_a_mask},
    {"interval_timer", interval_timer},
    {"child_ended", child_ended},
    {"jump_out_of_a_handler", jump_out_of_a_handler},
    {"words", words},
    {"a_child_has_no_handlers", a_child_has_no_handlers},
    /* These end by a signal: 142, 142, 138. */
    {"default_action_ends", default_action_ends},
    {"busy_loop_is_ended", busy_loop_is_ended},
    {"reset_after_one", reset_after_one},
    {0},
};

int main(int argc, char **argv) { return door_main(tests, argc, argv); }
