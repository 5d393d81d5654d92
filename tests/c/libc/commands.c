/* popen, system: they need /bin/sh. */
#include "say.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    HOLDS(system(NULL) != 0);
    SAY(system("exit 3") >> 8);
    SAY(system("echo from the shell; true"));
    SAY(WTERMSIG(system("kill -TERM $$")));
    SAY(WEXITSTATUS(system("no-such-command 2>/dev/null")));
    char line[64];
    FILE *from = popen("echo one; echo two; exit 4", "r");
    MUST(from);
    while (fgets(line, sizeof line, from)) printf("got %s", line);
    SAY(WEXITSTATUS(pclose(from)));
    FILE *to = popen("cat; echo done", "w");
    MUST(to);
    fprintf(to, "written\n");
    SAY(pclose(to));
    REFUSED(popen("true", "q") == NULL);
    FILE *first = popen("cat", "w"), *second = popen("cat", "w");
    fputs("second\n", second);
    SAY(pclose(second));
    fputs("first\n", first);
    SAY(pclose(first));
    setenv("GIVEN", "value", 1);
    SAY(system("echo $GIVEN"));
    SAY(system("for i in 1 2 3; do echo $i; done | tail -n 1"));
    from = popen("sleep 0; exit 0", "re");
    SAY(pclose(from));
    return 0;
}
