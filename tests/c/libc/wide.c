/* Locale, wide characters and conversions. UTF-8 is asked for as C.UTF-8. */
#include "say.h"

#include <iconv.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <uchar.h>
#include <wchar.h>
#include <wctype.h>

static void locales(void) {
    HOLDS(setlocale(LC_ALL, "C") != NULL);
    TEXT(setlocale(LC_ALL, NULL));
    struct lconv *conventions = localeconv();
    TEXT(conventions->decimal_point);
    TEXT(conventions->thousands_sep);
    TEXT(nl_langinfo(DAY_1));
    TEXT(nl_langinfo(ABMON_12));
    TEXT(nl_langinfo(RADIXCHAR));
    HOLDS(setlocale(LC_ALL, "C.UTF-8") != NULL);
    TEXT(nl_langinfo(CODESET));
    SAY(MB_CUR_MAX > 1);
    locale_t locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    HOLDS(locale != (locale_t)0);
    locale_t old = uselocale(locale);
    HOLDS(old == LC_GLOBAL_LOCALE);
    uselocale(old);
    freelocale(locale);
}

static void characters(void) {
    const char *text = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z";
    wchar_t wide[16];
    SAY(mbstowcs(wide, text, 16));
    for (wchar_t *p = wide; *p; p++) printf("%x ", (unsigned)*p);
    puts("");
    char back[32];
    SAY(wcstombs(back, wide, 32));
    SAY(strcmp(back, text));
    SAY(mblen("\xc3\xa4", 4));
    SAY(mbtowc(wide, "\xff", 1));
    mbstate_t state = {0};
    SAY(mbrtowc(wide, "\xe2", 1, &state) == (size_t)-2);
    SAY(mbrtowc(wide, "\x82", 1, &state) == (size_t)-2);
    SAY(mbrtowc(wide, "\xac", 1, &state));
    SAY(wide[0]);
    SAY(wctomb(back, 0x20ac));
    SAY(btowc('x'));
    SAY(wctob(L'x'));
    char16_t sixteen[3];
    memset(&state, 0, sizeof state);
    SAY(mbrtoc16(sixteen, "\xf0\x9f\x98\x80", 4, &state));
    SAY(sixteen[0]);
    SAY(iswalpha(0xe4) != 0);
    SAY(iswupper(0xc4) != 0);
    SAY(towupper(0xe4));
    SAY(iswspace(L' ') != 0);
    SAY(iswctype(L'1', wctype("digit")) != 0);
    SAY(wcwidth(L'a'));
    SAY(wcwidth(0x4e2d));
    SAY(wcswidth(L"ab", 2));
    SAY(towctrans(L'a', wctrans("toupper")));
}

static void texts(void) {
    wchar_t out[16];
    SAY(wcslen(L"abc"));
    SAY(wcscmp(wcscpy(out, L"abc"), L"abc"));
    SAY(wcscmp(wcscat(out, L"d"), L"abcd"));
    SAY(wcschr(out, L'c') - out);
    SAY(wcsstr(out, L"cd") - out);
    SAY(wcstol(L"-12x", NULL, 10));
    printf("%g\n", wcstod(L"2.5", NULL));
    SAY(wmemcmp(L"ab", L"ab", 2));
    SAY(wcscasecmp(L"AB", L"ab"));
    wchar_t list[] = L"a b", *save;
    printf("%ls\n", wcstok(list, L" ", &save));
    printf("%ls|%5ls|%.1ls|\xc3\xa4|%lc\n", L"\u00e4\u20ac", L"x", L"yz", (wint_t)0xe4);
}

static void streams(void) {
    FILE *file = tmpfile();
    MUST(file);
    SAY(fwide(file, 1) > 0);
    SAY(fputws(L"\u00e4\u20acx\n", file) >= 0);
    SAY(fwprintf(file, L"%d %ls\n", 5, L"\u00fc"));
    rewind(file);
    SAY(fgetwc(file));
    wchar_t line[16];
    HOLDS(fgetws(line, 16, file) != NULL);
    printf("%ls", line);
    SAY(ungetwc(L'5', file));
    int number = 0;
    SAY(fwscanf(file, L"%d %ls", &number, line));
    printf("%d %ls\n", number, line);
    fclose(file);
}

static void converting(void) {
    iconv_t to = iconv_open("UTF-16BE", "UTF-8");
    MUST(to != (iconv_t)-1);
    char in[] = "\xc3\xa4\xf0\x9f\x98\x80", out[16];
    char *from = in, *target = out;
    size_t left = 6, room = 16;
    SAY(iconv(to, &from, &left, &target, &room));
    SAY(room);
    for (char *p = out; p < target; p++) printf("%02x", (unsigned char)*p);
    puts("");
    SAY(iconv_close(to));
    to = iconv_open("UTF-8", "ISO-8859-1");
    char latin[] = "\xe4";
    from = latin, target = out, left = 1, room = 16;
    SAY(iconv(to, &from, &left, &target, &room));
    SAY(target - out);
    SAY(iconv_close(to));
    REFUSED(iconv_open("no-such-code", "UTF-8") == (iconv_t)-1);
}

int main(void) {
    locales();
    characters();
    texts();
    streams();
    converting();
    return 0;
}
