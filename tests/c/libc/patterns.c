/* regex, fnmatch, glob. */
#include "say.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <glob.h>
#include <regex.h>
#include <sys/stat.h>
#include <unistd.h>

static void match(const char *pattern, int flags, const char *text) {
    regex_t regex;
    int error = regcomp(&regex, pattern, flags);
    printf("/%s/ %d %s:", pattern, flags, text);
    if (error) {
        printf(" refused %d\n", error);
        return;
    }
    regmatch_t found[4];
    error = regexec(&regex, text, 4, found, 0);
    if (error) printf(" %s", error == REG_NOMATCH ? "no" : "error");
    for (size_t i = 0; !error && i <= regex.re_nsub && i < 4; i++)
        printf(" %d-%d", (int)found[i].rm_so, (int)found[i].rm_eo);
    puts("");
    regfree(&regex);
}

static void regexes(void) {
    match("abc", 0, "xxabcxx");
    match("a*b", REG_EXTENDED, "aaab");
    match("(a|b)+(c?)", REG_EXTENDED, "xabac");
    match("\\(a*\\)\\1", 0, "aaaa");
    match("^[[:alpha:]_][[:alnum:]_]*$", REG_EXTENDED, "name_1");
    match("^[[:digit:]]{2,3}$", REG_EXTENDED, "1234");
    match("HELLO", REG_ICASE, "say hello");
    match("a.c", REG_NEWLINE, "a\nc");
    match("^b", REG_NEWLINE, "a\nb");
    match("[^]a]", 0, "]ab");
    match("(", REG_EXTENDED, "");
    match("[a", REG_EXTENDED, "");
    match("a{2,1}", REG_EXTENDED, "");
    match("x*", 0, "");
    match("\\.", REG_EXTENDED, "a.b");
    match("(foo|x)(bar)?", REG_EXTENDED, "foobar");
    regex_t regex;
    regcomp(&regex, "a", 0);
    SAY(regexec(&regex, "a", 0, NULL, REG_NOTBOL));
    SAY(regexec(&regex, "b", 0, NULL, 0));
    char message[64];
    HOLDS(regerror(REG_NOMATCH, &regex, message, sizeof message) > 1);
    regfree(&regex);
}

static void names(void) {
    SAY(fnmatch("*.c", "main.c", 0));
    SAY(fnmatch("*.c", "main.h", 0));
    SAY(fnmatch("*", ".hidden", FNM_PERIOD));
    SAY(fnmatch("*", "a/b", FNM_PATHNAME));
    SAY(fnmatch("*/b", "a/b", FNM_PATHNAME));
    SAY(fnmatch("[a-c]x", "bx", 0));
    SAY(fnmatch("[!a-c]x", "bx", 0));
    SAY(fnmatch("[]x]", "]", 0));
    SAY(fnmatch("[\\]]", "]", 0));
    SAY(fnmatch("[a\\-z]", "m", 0));
    SAY(fnmatch("[a\\-z]", "-", 0));
    SAY(fnmatch("[\\\\]", "\\", 0));
    SAY(fnmatch("\\*", "*", 0));
    SAY(fnmatch("\\*", "\\x", FNM_NOESCAPE));
    SAY(fnmatch("A*", "abc", FNM_CASEFOLD));
    SAY(fnmatch("a", "a/b", FNM_LEADING_DIR));
    SAY(fnmatch("[[:digit:]]?", "5x", 0));
    SAY(fnmatch("a?c*e", "abcde", 0));
    SAY(fnmatch("[", "[", 0));
}

static void touch(const char *path) { close(open(path, O_CREAT | O_WRONLY, 0644)); }

static int complain(const char *path, int error) {
    printf("%.4s: errno %d\n", path, error);
    return 0;
}

static void list(const char *pattern, int flags) {
    glob_t found = {0};
    int error = glob(pattern, flags, complain, &found);
    printf("glob %s: %d", pattern, error);
    for (size_t i = 0; !error && i < found.gl_pathc; i++) printf(" %s", found.gl_pathv[i]);
    puts("");
    if (!error) globfree(&found);
}

static void globs(void) {
    mkdir("g", 0755);
    mkdir("g/sub", 0755);
    touch("g/a.c");
    touch("g/b.c");
    touch("g/c.h");
    touch("g/.hidden");
    touch("g/sub/d.c");
    touch("g/[x]");
    list("g/*.c", 0);
    list("g/*", GLOB_MARK);
    list("g/*/*.c", 0);
    list("g/[ab].c", 0);
    list("g/\\[x\\]", 0);
    list("g/.h*", GLOB_NOSORT);
    list("g/none*", 0);
    list("g/none*", GLOB_NOCHECK);
    list("none/*", 0);
    glob_t found = {.gl_offs = 2};
    SAY(glob("g/*.c", GLOB_DOOFFS, NULL, &found));
    SAY(glob("g/*.h", GLOB_DOOFFS | GLOB_APPEND, NULL, &found));
    SAY(found.gl_pathc);
    HOLDS(found.gl_pathv[0] == NULL);
    TEXT(found.gl_pathv[4]);
    globfree(&found);
    setenv("HOME", "/somewhere", 1);
    SAY(glob("~/x", GLOB_TILDE | GLOB_NOCHECK, NULL, &found));
    globfree(&found);
}

int main(void) {
    regexes();
    names();
    globs();
    return 0;
}
