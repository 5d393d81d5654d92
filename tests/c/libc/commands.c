/* popen, system, wordexp: they need /bin/sh. */
#include "say.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wordexp.h>

static void words(const char *text, int flags) {
    wordexp_t found = {0};
    int error = wordexp(text, &found, flags);
    printf("%s: %d", text, error);
    for (size_t i = 0; !error && i < found.we_wordc; i++) printf(" [%s]", found.we_wordv[i]);
    puts("");
    if (!error) wordfree(&found);
}

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
    setenv("NAME", "two words", 1);
    words("one $NAME \"$NAME\" prog*m", 0);
    words("$(echo from a command)", 0);
    words("$(echo no)", WRDE_NOCMD);
    from = popen("sleep 0; exit 0", "re");
    SAY(pclose(from));
    return 0;
}
