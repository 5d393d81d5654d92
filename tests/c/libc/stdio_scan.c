/* scanf and its family, and reading by lines and characters. */
#include "say.h"

#include <inttypes.h>
#include <unistd.h>
#include <wchar.h>

static void numbers(void) {
    int a = 0, b = 0, c = 0;
    unsigned u = 0;
    double d = 0;
    float f = 0;
    long long wide = 0;
    SAY(sscanf("12 -7 0x1f", "%d %d %i", &a, &b, &c));
    printf("%d %d %d\n", a, b, c);
    SAY(sscanf("077", "%i", &a));
    SAY(a);
    SAY(sscanf("ff", "%x", &u));
    SAY(u);
    SAY(sscanf("3.5 1e3", "%lf %f", &d, &f));
    printf("%g %g\n", d, f);
    SAY(sscanf("9223372036854775807", "%lld", &wide));
    SAY(wide);
    SAY(sscanf("12345", "%2d%3d", &a, &b));
    printf("%d %d\n", a, b);
    SAY(sscanf("abc", "%d", &a));
    SAY(sscanf("", "%d", &a));
    SAY(sscanf("10-20", "%d-%d", &a, &b));
    SAY(sscanf("10:x", "%d:%d", &a, &b));
    SAY(sscanf("5 6", "%*d %d", &a));
    SAY(a);
    SAY(sscanf("inf nan", "%lf %f", &d, &f));
    printf("%f %d\n", d, f != f);
}

static void texts(void) {
    char word[16] = "", set[16] = "", rest[16] = "";
    int used = 0;
    SAY(sscanf("hello world", "%15s %n", word, &used));
    printf("%s %d\n", word, used);
    SAY(sscanf("key=value;x", "%15[^=]=%15[a-z]%15s", word, set, rest));
    printf("%s|%s|%s\n", word, set, rest);
    char three[4] = "";
    SAY(sscanf("abcdef", "%3c", three));
    TEXT(three);
    SAY(sscanf("[x]", "[%15[^]]]", word));
    TEXT(word);
    char *made = NULL;
    SAY(sscanf("allocated", "%ms", &made));
    TEXT(made);
    free(made);
    wchar_t wide[8];
    SAY(swscanf(L"12 zwei", L"%*d %7ls", wide));
    printf("%ls\n", wide);
}

static void lines(void) {
    FILE *file = tmpfile();
    MUST(file);
    fputs("first\nsecond line\n\nlast without end", file);
    rewind(file);
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    while ((length = getline(&line, &size, file)) != -1) printf("%zd %s|\n", length, line);
    SAY(feof(file) != 0);
    rewind(file);
    SAY(getdelim(&line, &size, 'd', file));
    TEXT(line);
    free(line);
    char small[6];
    TEXT(fgets(small, sizeof small, file));
    SAY(fgetc(file));
    SAY(ungetc('Z', file));
    SAY(getc(file));
    SAY(fscanf(file, "%5s", small));
    TEXT(small);
    SAY(fseek(file, -3, SEEK_END));
    SAY(fgetc(file));
    SAY(ftell(file));
    fclose(file);
}

int main(void) {
    numbers();
    texts();
    lines();
    return 0;
}
