/* Ends of programs: handlers, buffers, statuses. */
#include "say.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void one(void) { puts("registered first, runs last"); }
static void two(void) {
    puts("registered second");
    atexit(one);
}

__attribute__((constructor)) static void before(void) {
    puts("constructor");
    fflush(stdout);
}
__attribute__((destructor)) static void after(void) { puts("destructor"); }

static void run(const char *what) {
    fflush(stdout);
    pid_t pid = vfork();
    if (pid == 0) {
        execl("./program", "program", what, (char *)NULL);
        _exit(127);
    }
    int status;
    waitpid(pid, &status, 0);
    if (WIFEXITED(status)) printf("%s: exited %d\n", what, WEXITSTATUS(status));
    else printf("%s: signal %d\n", what, WTERMSIG(status));
}

int main(int argc, char **argv) {
    if (argc == 1) {
        const char *ways[] = {"exit", "return", "quick", "_exit", "abort", "abort ignored", "kill"};
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) run(ways[i]);
        return 0;
    }
    const char *way = argv[1];
    atexit(two);
    at_quick_exit(one);
    printf("buffered, ");
    if (strcmp(way, "exit") == 0) exit(256 + 4);
    if (strcmp(way, "quick") == 0) fflush(stdout), quick_exit(5);
    if (strcmp(way, "_exit") == 0) _exit(6);
    fflush(stdout);
    if (strcmp(way, "abort") == 0) abort();
    if (strcmp(way, "abort ignored") == 0) signal(SIGABRT, SIG_IGN), abort();
    if (strcmp(way, "kill") == 0) kill(getpid(), SIGKILL);
    return 7;
}
