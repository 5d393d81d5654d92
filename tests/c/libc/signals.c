/* Handlers, masks, waiting for signals, interrupted calls. */
#include "say.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t caught[65], order, last;

static void count(int signo) {
    caught[signo]++;
    last = order = order * 10 + (signo == SIGUSR1 ? 1 : 2);
}

static void install(int signo, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    MUST(sigaction(signo, &action, NULL) == 0);
}

static void later(int milliseconds) {
    struct itimerval timer = {.it_value = {.tv_usec = milliseconds * 1000}};
    MUST(setitimer(ITIMER_REAL, &timer, NULL) == 0);
}

static void sets(void) {
    sigset_t set;
    SAY(sigemptyset(&set));
    SAY(sigaddset(&set, SIGINT));
    SAY(sigaddset(&set, 64));
    SAY(sigismember(&set, SIGINT));
    SAY(sigismember(&set, SIGTERM));
    SAY(sigismember(&set, 64));
    SAY(sigdelset(&set, SIGINT));
    SAY(sigismember(&set, SIGINT));
    SAY(sigfillset(&set));
    SAY(sigismember(&set, SIGKILL));
    SAY(sigaddset(&set, 65));
    SAY(sigaddset(&set, 0));
    TEXT(strsignal(SIGTERM));
    TEXT(strsignal(SIGINT));
    SAY(SIGRTMAX);
    SAY(NSIG >= 65);
    SAY(SIGUSR1);
    SAY(SIGCHLD);
    SAY(SIGSTOP);
    SAY(SIGWINCH);
}

static void handlers(void) {
    install(SIGUSR1, count, 0);
    SAY(raise(SIGUSR1));
    SAY(caught[SIGUSR1]);
    SAY(kill(getpid(), SIGUSR1));
    SAY(caught[SIGUSR1]);
    HOLDS(signal(SIGUSR1, SIG_IGN) == count);
    SAY(raise(SIGUSR1));
    SAY(caught[SIGUSR1]);
    HOLDS(signal(SIGUSR1, count) == SIG_IGN);
    HOLDS(signal(SIGWINCH, SIG_DFL) == SIG_DFL);
    SAY(raise(SIGWINCH));
    REFUSED(signal(SIGKILL, count) == SIG_ERR);
    REFUSED(signal(200, count) == SIG_ERR);
    SAY(sigaction(SIGSTOP, &(struct sigaction){.sa_handler = SIG_IGN}, NULL));
    install(SIGUSR2, count, SA_RESETHAND);
    raise(SIGUSR2);
    struct sigaction now;
    SAY(sigaction(SIGUSR2, NULL, &now));
    HOLDS(now.sa_handler == SIG_DFL);
    SAY(caught[SIGUSR2]);
}

static void masks(void) {
    sigset_t set, old, waiting;
    install(SIGUSR1, count, 0);
    install(SIGUSR2, count, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    SAY(sigprocmask(SIG_BLOCK, &set, &old));
    caught[SIGUSR1] = 0;
    raise(SIGUSR1);
    raise(SIGUSR1);
    SAY(caught[SIGUSR1]);
    SAY(sigpending(&waiting));
    SAY(sigismember(&waiting, SIGUSR1));
    SAY(sigprocmask(SIG_SETMASK, &old, NULL));
    SAY(caught[SIGUSR1]);
    SAY(sigprocmask(77, &set, NULL));
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    SAY(sigsuspend(&old));
    SAY(caught[SIGUSR1]);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR2);
    int signo = 0;
    SAY(sigwait(&set, &signo));
    SAY(signo);
    SAY(caught[SIGUSR2]);
    SAY(sigtimedwait(&set, NULL, &(struct timespec){.tv_nsec = 1000000}));
    raise(SIGUSR1);
    siginfo_t info;
    SAY(sigwaitinfo(&set, &info));
    SAY(info.si_signo);
    order = 0;
    raise(SIGUSR2);
    raise(SIGUSR1);
    SAY(order);
    sigprocmask(SIG_SETMASK, &old, NULL);
    SAY(caught[SIGUSR1]);
    SAY(caught[SIGUSR2]);
}

static void block_within(int signo) {
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    caught[0] = sigismember(&now, SIGUSR1) * 10 + sigismember(&now, SIGUSR2);
}

static void interrupted(void) {
    struct sigaction action = {.sa_handler = block_within};
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    SAY(caught[0]);
    action.sa_flags = SA_NODEFER;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    SAY(caught[0]);

    int ends[2];
    pipe(ends);
    char byte;
    install(SIGALRM, count, 0);
    later(20);
    SAY(read(ends[0], &byte, 1));
    later(20);
    SAY(pause());
    later(20);
    struct timespec left;
    SAY(nanosleep(&(struct timespec){.tv_sec = 50}, &left));
    HOLDS(left.tv_sec == 49);
    later(20);
    SAY(sleep(30) >= 29);
    SAY(alarm(100));
    SAY(alarm(0));
    SAY(alarm(0));
    SAY(caught[SIGALRM]);
    struct itimerval timer = {.it_value = {.tv_usec = 5000}, .it_interval = {.tv_usec = 5000}};
    setitimer(ITIMER_REAL, &timer, NULL);
    while (caught[SIGALRM] < 8) {}
    setitimer(ITIMER_REAL, &(struct itimerval){0}, &timer);
    HOLDS(timer.it_interval.tv_usec == 5000);
    SAY(getitimer(ITIMER_REAL, &timer));
    SAY(timer.it_value.tv_usec);
}

static int ends_of_feeding[2];

static void feed(int signo) { write(ends_of_feeding[1], "fed", 3); }

static void restarted(void) {
    pipe(ends_of_feeding);
    install(SIGALRM, feed, SA_RESTART);
    later(20);
    char data[4] = "";
    SAY(read(ends_of_feeding[0], data, 3));
    TEXT(data);
    install(SIGALRM, feed, 0);
    later(20);
    SAY(read(ends_of_feeding[0], data, 3));
    SAY(read(ends_of_feeding[0], data, 3));
}

static sigjmp_buf place;

static void leave(int signo) { siglongjmp(place, signo); }

static void jumping(void) {
    install(SIGUSR1, leave, 0);
    volatile int jumped = sigsetjmp(place, 1);
    if (jumped == 0) raise(SIGUSR1);
    SAY(jumped);
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    SAY(sigismember(&mask, SIGUSR1));
    install(SIGALRM, leave, 0);
    jumped = sigsetjmp(place, 1);
    if (jumped == 0) {
        later(20);
        pause();
    }
    SAY(jumped);
}

static void info(int signo, siginfo_t *info, void *context) {
    caught[0] = info->si_signo;
}

static void with_information(void) {
    struct sigaction action = {.sa_sigaction = info, .sa_flags = SA_SIGINFO};
    SAY(sigaction(SIGUSR1, &action, NULL));
    raise(SIGUSR1);
    SAY(caught[0]);
    struct sigaction now;
    SAY(sigaction(SIGUSR1, NULL, &now));
    HOLDS(now.sa_sigaction == info && (now.sa_flags & SA_SIGINFO));
}

int main(int argc, char **argv) {
    sets();
    handlers();
    masks();
    interrupted();
    restarted();
    jumping();
    with_information();
    return 0;
}
