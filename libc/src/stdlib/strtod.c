/* musl's file, after a short way for what most numbers are: up to 19 digits and a power of ten that a double holds
   exactly, so that one multiplication or division rounds once and therefore right. musl's own way reckons with
   long double, which costs much here. */
#include <stdlib.h>
#include <stdint.h>

#define strtod __strtod_exact
#include "upstream/strtod.c"
#undef strtod

enum { DIGITS = 19, POWERS = 22 };

static const double powers[POWERS + 1] = {
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
	1e20, 1e21, 1e22,
};

static int digit(char c)
{
	return (unsigned)c - '0' < 10;
}

/* The length of a number that is written in the simplest form; 0 if it is not, or not simple enough. */
static int simple(const char *s, double *result)
{
	const char *p = s;
	uint64_t value = 0;
	int digits = 0, power = 0, written = 0, negative = *p == '-';
	if (negative || *p == '+') p++;
	for (; digit(*p); p++, digits++) value = value * 10 + (*p - '0');
	if (*p == '.') for (p++; digit(*p); p++, digits++, power--) value = value * 10 + (*p - '0');
	if (!digits || digits > DIGITS) return 0;
	if (*p == 'x' || *p == 'X') return 0;
	if ((*p | 32) == 'e') {
		int minus = *++p == '-';
		if (minus || *p == '+') p++;
		if (!digit(*p)) return 0;
		for (; digit(*p) && written < 1000; p++) written = written * 10 + (*p - '0');
		if (digit(*p)) return 0;
		power += minus ? -written : written;
	}
	if (value >> 53 || power < -POWERS || power > POWERS) return 0;
	double number = power < 0 ? value / powers[-power] : value * powers[power];
	*result = negative ? -number : number;
	return p - s;
}

double strtod(const char *restrict s, char **restrict end)
{
	double number;
	int length = simple(s, &number);
	if (!length) return __strtod_exact(s, end);
	if (end) *end = (char *)s + length;
	return number;
}
