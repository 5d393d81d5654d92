/* Calendar time: formats, mktime, POSIX time zones and the zone files. */
#include "say.h"

#include <time.h>

static void at(const char *zone, time_t when) {
    char text[64];
    setenv("TZ", zone, 1);
    tzset();
    struct tm tm;
    MUST(localtime_r(&when, &tm));
    strftime(text, sizeof text, "%F %T %z %Z", &tm);
    printf("%s %lld: %s dst %d\n", zone, (long long)when, text, tm.tm_isdst);
    struct tm again = tm;
    SAY(mktime(&again) == when);
}

static void zones(void) {
    const char *names[] = {"UTC0",
                           "CET-1CEST,M3.5.0,M10.5.0/3",
                           "EST5EDT,M3.2.0,M11.1.0",
                           "<+0545>-5:45",
                           "NZST-12NZDT,M9.5.0,M4.1.0/3",
                           "Europe/Berlin",
                           "America/New_York",
                           "Asia/Kolkata",
                           ":Europe/Berlin"};
    time_t times[] = {0, 1700000000, 1720000000, 951782400, 4102444800};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t j = 0; j < sizeof times / sizeof *times; j++) at(names[i], times[j]);
    at("CET-1CEST,M3.5.0,M10.5.0/3", 1711846799);
    at("CET-1CEST,M3.5.0,M10.5.0/3", 1711846800);
    TEXT(tzname[0]);
    TEXT(tzname[1]);
    SAY(timezone);
    SAY(daylight);
    at("Europe/Berlin", 1711846800);
    at("Europe/Berlin", -1000000000);
    SAY(timezone);
}

static void broken_down(void) {
    setenv("TZ", "UTC0", 1);
    struct tm tm = {.tm_year = 124, .tm_mon = 1, .tm_mday = 30, .tm_hour = 25, .tm_min = -1};
    SAY(mktime(&tm));
    printf("%d-%d-%d %d:%d %d %d\n", tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min,
           tm.tm_wday, tm.tm_yday);
    SAY(timegm(&(struct tm){.tm_year = -1, .tm_mon = 0, .tm_mday = 1}));
    time_t when = 1709210096;
    MUST(gmtime_r(&when, &tm));
    char text[256];
    const char *formats[] = {"%a %A %b %B %d %e", "%H %I %M %S %p", "%j %U %W %V %G %g %u %w",
                             "%y %Y %C %D %F",    "%R %T %r",       "%c",
                             "%x %X",             "%n%t%%",         "%h",
                             "%s",                "%z"};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        SAY(strftime(text, sizeof text, formats[i], &tm));
        TEXT(text);
    }
    SAY(strftime(text, 5, "%Y-%m-%d", &tm));
    TEXT(asctime(&tm));
    TEXT(ctime(&when));
    time_t far = 253402300800;
    HOLDS(gmtime(&far)->tm_year == 8100);
    printf("%.0f\n", difftime(when, when - 90));
}

static void parsing(void) {
    struct tm tm = {0};
    TEXT(strptime("2024-02-29 12:34:56 rest", "%Y-%m-%d %H:%M:%S", &tm));
    printf("%d %d %d %d\n", tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_sec);
    TEXT(strptime("Thu, 05 Mar 2020", "%a, %d %b %Y", &tm));
    SAY(tm.tm_mon);
    TEXT(strptime("nonsense", "%Y", &tm));
    TEXT(strptime("11:05 PM", "%I:%M %p", &tm));
    SAY(tm.tm_hour);
}

int main(void) {
    zones();
    broken_down();
    parsing();
    unsetenv("TZ");
    return 0;
}
