/* The environment, options, configuration. */
#include "say.h"

#include <getopt.h>
#include <limits.h>
#include <sys/auxv.h>
#include <unistd.h>

static void variables(void) {
    HOLDS(getenv("PATH") != NULL);
    HOLDS(getenv("NOT_THERE") == NULL);
    SAY(setenv("A", "1", 0));
    SAY(setenv("A", "2", 0));
    TEXT(getenv("A"));
    SAY(setenv("A", "3", 1));
    TEXT(getenv("A"));
    SAY(setenv("", "x", 1));
    SAY(setenv("B=C", "x", 1));
    char own[] = "OWN=before";
    SAY(putenv(own));
    strcpy(own + 4, "after");
    TEXT(getenv("OWN"));
    SAY(unsetenv("A"));
    TEXT(getenv("A"));
    SAY(unsetenv("A"));
    SAY(setenv("EMPTY", "", 1));
    HOLDS(getenv("EMPTY") && !*getenv("EMPTY"));
    TEXT(secure_getenv("OWN"));
    for (int i = 0; i < 100; i++) {
        char name[16];
        sprintf(name, "N%d", i);
        setenv(name, name, 1);
    }
    int count = 0;
    for (char **p = environ; *p; p++) count += (*p)[0] == 'N';
    SAY(count);
    SAY(clearenv());
    HOLDS(environ == NULL || *environ == NULL);
    SAY(setenv("NEW", "life", 1));
    TEXT(environ[0]);
}

static void options(int argc, char **argv, const char *short_ones) {
    static int flag;
    const struct option long_ones[] = {{"verbose", no_argument, NULL, 'v'},
                                       {"output", required_argument, NULL, 'o'},
                                       {"colour", optional_argument, NULL, 'c'},
                                       {"flag", no_argument, &flag, 5},
                                       {0}};
    optind = 0;
    opterr = 0;
    flag = 0;
    for (int c; (c = getopt_long(argc, argv, short_ones, long_ones, NULL)) != -1;)
        printf("%c %s %c\n", c ? c : '0', optarg ? optarg : "-", c == '?' && optopt ? optopt : '.');
    printf("flag %d rest %d:", flag, optind);
    for (int i = optind; i < argc; i++) printf(" %s", argv[i]);
    puts("");
}

static void all_options(void) {
    options(7, (char *[]){"p", "-v", "-ofile", "word", "--output", "x", "last", NULL}, "vo:c::");
    options(5, (char *[]){"p", "--colour=red", "--colour", "--flag", "--verb", NULL}, "vo:c::");
    options(4, (char *[]){"p", "-v", "--", "-o", NULL}, "vo:c::");
    options(3, (char *[]){"p", "word", "-v", NULL}, "+vo:c::");
    options(2, (char *[]){"p", "-z", NULL}, ":vo:");
    options(3, (char *[]){"p", "-o", "x", NULL}, ":vo:");
    options(2, (char *[]){"p", "--nothing", NULL}, "vo:");
    optind = 1;
    char *argv[] = {"p", "-ab", "-c", "value", "rest", NULL};
    for (int c; (c = getopt(5, argv, "abc:")) != -1;) printf("%c %s\n", c, optarg ? optarg : "-");
    SAY(optind);
    char *value = NULL, suboptions[] = "ro,size=10,bad", *p = suboptions;
    char *tokens[] = {"ro", "size", NULL};
    while (*p) {
        int index = getsubopt(&p, tokens, &value);
        printf("%d %s\n", index, index >= 0 && value ? value : "-");
    }
}

int main(void) {
    variables();
    all_options();
    SAY(sysconf(_SC_OPEN_MAX) >= 64);
    HOLDS(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
    HOLDS(sysconf(_SC_PAGESIZE) >= 4096);
    SAY(getpagesize() == sysconf(_SC_PAGESIZE));
    SAY(sysconf(_SC_ARG_MAX) >= 131072);
    SAY(sysconf(12345));
    char path[64];
    HOLDS(confstr(_CS_PATH, path, sizeof path) > 0);
    HOLDS(gethostid() == gethostid());
    TEXT(program_invocation_short_name);
    SAY(getauxval(AT_SECURE));
    return 0;
}
