/* printf and its family. */
#include "say.h"

#include <float.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <wchar.h>

static int formatted(char *out, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(out, size, format, arguments);
    va_end(arguments);
    return length;
}

static void integers(void) {
    printf("[%d] [%5d] [%-5d] [%05d] [%+d] [% d]\n", 42, 42, 42, 42, 42, 42);
    printf("[%x] [%X] [%#x] [%o] [%#o] [%u]\n", 48879, 48879, 48879, 8, 8, 4000000000u);
    printf("[%hhd] [%hd] [%ld] [%lld]\n", (signed char)300, (short)70000, 2147483647L, LLONG_MIN);
    printf("[%zu] [%zd] [%td] [%jd]\n", sizeof(int), (ptrdiff_t)-3, (ptrdiff_t)7, (intmax_t)-9);
    printf("[%" PRIu64 "] [%" PRIx64 "] [%" PRId32 "]\n", UINT64_MAX, UINT64_MAX, INT32_MIN);
    printf("[%*d] [%-*d] [%.*d]\n", 6, 1, 6, 2, 4, 3);
    printf("[%2$s %1$s]\n", "world", "hello");
    printf("[%.0d] [%5.3d] [%-8.3x]\n", 0, 7, 10);
    printf("[%'d]\n", 1234567);
}

static void floating(void) {
    printf("[%f] [%.0f] [%.1f] [%10.3f] [%-10.2f]\n", 1.5, 2.5, 0.25, 3.14159, 2.0);
    printf("[%e] [%E] [%.3e]\n", 12345.678, 0.00012, 1e100);
    printf("[%g] [%g] [%g] [%G] [%#g]\n", 1e-5, 100000.0, 1e6, 1e-10, 1.0);
    printf("[%a] [%.2a]\n", 1.0, 3.0);
    printf("[%f] [%F] [%f] [%5.1f]\n", INFINITY, INFINITY, -INFINITY, INFINITY);
    printf("[%d]\n", formatted(NULL, 0, "%f", DBL_MAX));
    printf("[%.17g] [%.20f]\n", 0.1, 0.1);
    printf("[%Lf] [%.3Le] [%Lg]\n", 1.5L, 1234.5L, 0.5L);
    printf("[%+.1f] [% .1f] [%010.2f]\n", 1.0, 1.0, -1.5);
}

static void texts(void) {
    printf("[%s] [%10s] [%-10s] [%.2s]\n", "abc", "abc", "abc", "abc");
    printf("[%c] [%5c] [%%]\n", 'x', 'y');
    printf("[%ls] [%lc]\n", L"wide", L'w');
    int length = -1;
    printf("%s%n", "12345", &length);
    printf(" %d\n", length);
    errno = ENOENT;
    printf("[%m]\n");
}

static void bounded(void) {
    char out[8] = "#######";
    SAY(snprintf(out, sizeof out, "%s", "longer than that"));
    TEXT(out);
    SAY(snprintf(out, 1, "%d", 12));
    TEXT(out);
    SAY(snprintf(NULL, 0, "%s %d", "abc", 12));
    SAY(formatted(out, sizeof out, "%d-%d", 1, 2));
    TEXT(out);
    char *made = NULL;
    SAY(asprintf(&made, "%s=%d", "answer", 42));
    TEXT(made);
    free(made);
    wchar_t wide[16];
    SAY(swprintf(wide, 16, L"%ls %d", L"wide", 7));
    printf("%ls\n", wide);
    SAY(swprintf(wide, 3, L"%d", 12345) < 0);
}

int main(void) {
    integers();
    floating();
    texts();
    bounded();
    fputs("no new line at the end", stdout);
    return 3;
}
