/* <string.h>, <strings.h>, <ctype.h>, and numbers out of text. */
#include "say.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <strings.h>

#define SIGN(call) printf("%s: %d\n", #call, ((call) > 0) - ((call) < 0))

static int by_number(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static void copying(void) {
    char out[32];
    TEXT(strcpy(out, "abc"));
    TEXT(strcat(out, "def"));
    TEXT(strncpy(out, "xy", 5));
    SAY(out[4]);
    TEXT(strncat(out, "12345", 2));
    SAY(stpcpy(out, "four") - out);
    SAY(stpncpy(out, "four", 9) - out);
    memmove(memcpy(out, "0123456789", 11) + 0, out + 2, 8);
    TEXT(out);
    HOLDS(memccpy(out, "ab:cd", ':', 6) == out + 3);
    HOLDS(mempcpy(out, "abc", 4) == out + 4);
    char *copy = strdup("copied");
    TEXT(copy);
    free(copy);
    copy = strndup("copied", 3);
    TEXT(copy);
    free(copy);
    explicit_bzero(out, sizeof out);
    SAY(out[0]);
    char swapped[4];
    memset(swapped, 'z', 4);
    SAY(memcmp(swapped, "zzzz", 4));
}

static void searching(void) {
    const char *text = "the quick brown fox";
    TEXT(strchr(text, 'q'));
    TEXT(strchr(text, 'z'));
    TEXT(strrchr(text, 'o'));
    TEXT(strstr(text, "brown"));
    TEXT(strstr(text, ""));
    TEXT(strcasestr(text, "BROWN"));
    TEXT(strpbrk(text, "xkz"));
    SAY(strspn(text, "eht"));
    SAY(strcspn(text, " "));
    SAY(strchrnul(text, 'Z') - text);
    SAY((char *)memchr(text, 'b', 19) - text);
    SAY((char *)memrchr(text, ' ', 19) - text);
    SAY((char *)memmem(text, 19, "fox", 3) - text);
    SAY(strnlen(text, 5));
    char list[] = "a,b;;c", *save = NULL;
    for (char *p = strtok_r(list, ",;", &save); p; p = strtok_r(NULL, ",;", &save)) puts(p);
    char empty[] = "a::b", *rest = empty;
    for (char *p; (p = strsep(&rest, ":"));) printf("[%s]\n", p);
}

static void comparing(void) {
    SIGN(strcmp("a", "b"));
    SIGN(strcmp("b", "a"));
    SAY(strcmp("a", "a"));
    SIGN(strcmp("a", "\xff"));
    SIGN(strncmp("abc", "abd", 2));
    SIGN(strcasecmp("HeLLo", "hello"));
    SIGN(strncasecmp("HELp", "hello", 3));
    SIGN(strverscmp("file9", "file10"));
    SIGN(strcoll("a", "B"));
    SIGN(memcmp("\x01", "\xff", 1));
    int values[] = {5, 3, 9, -1, 7, 3, 0};
    qsort(values, 7, sizeof *values, by_number);
    for (int i = 0; i < 7; i++) printf("%d ", values[i]);
    puts("");
    int wanted = 7;
    SAY((int *)bsearch(&wanted, values, 7, sizeof wanted, by_number) - values);
    SAY(ffs(0x50));
    SAY(ffsll(1LL << 40));
    char out[8];
    SAY(strxfrm(out, "abc", 8));
}

static void numbers(void) {
    char *end;
    SAY(strtol("  -42abc", &end, 10));
    TEXT(end);
    SAY(strtol("0x1F", NULL, 0));
    SAY(strtol("z", NULL, 36));
    SAY(strtol("777", NULL, 8));
    REFUSED(strtoll("9223372036854775808", NULL, 10) == LLONG_MAX);
    SAY(strtoull("18446744073709551615", NULL, 10) == ULLONG_MAX);
    SAY(strtoul("-1", NULL, 10) == ULONG_MAX);
    SAY(atoi("17x"));
    SAY(atoll("-5000000000"));
    printf("%g %g %g\n", strtod("1e3", NULL), strtod("0x1p-2", NULL), strtod("-inf", NULL));
    REFUSED(strtod("1e999", NULL) == HUGE_VAL);
    printf("%.17g\n", strtod("2.2250738585072011e-308", NULL));
    printf("%g\n", atof("2.5kg"));
    TEXT(strtod("nan(1)x", &end) != 0 ? end : "");
    SAY(abs(-3));
    SAY(llabs(-3000000000LL));
    div_t d = div(-7, 2);
    printf("%d %d\n", d.quot, d.rem);
}

static void characters(void) {
    for (int c = -1; c < 256; c++) {
        const int kind[] = {isalpha(c), isdigit(c),  isspace(c), isupper(c), ispunct(c),
                            iscntrl(c), isxdigit(c), isblank(c), isprint(c), isgraph(c)};
        int kinds = 0;
        for (int i = 0; i < 10; i++) kinds |= (kind[i] != 0) << i;
        if (kinds) printf("%d:%d%c", c, kinds, c % 8 == 7 ? '\n' : ' ');
    }
    SAY(toupper('a'));
    SAY(tolower('A'));
    SAY(toupper('1'));
    SAY(isascii(128));
}

static void random_numbers(void) {
    srand(1);
    int a = rand();
    srand(1);
    HOLDS(a == rand());
    srandom(7);
    long b = random();
    srandom(7);
    HOLDS(b == random() && b >= 0);
    unsigned short seed[3] = {1, 2, 3};
    printf("%.10f\n", erand48(seed));
    srand48(42);
    SAY(lrand48());
    char name[] = "a";
    TEXT(l64a(a64l("zz")));
    SAY(a64l(name));
}

int main(void) {
    copying();
    searching();
    comparing();
    numbers();
    characters();
    random_numbers();
    return 0;
}
