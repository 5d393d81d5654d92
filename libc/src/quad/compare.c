/* long double: comparing. See add.c. */
#include "quad.h"

/* -1, 0, 1; `unordered` if one is NaN. */
static int compared(QUAD first, QUAD second, int unordered)
{
	struct wide a = bits_of(first), b = bits_of(second);
	if (is_nan(a) || is_nan(b)) return unordered;
	if (is_zero(a) && is_zero(b)) return 0;
	if ((a.high ^ b.high) >> 63) return a.high >> 63 ? -1 : 1;
	int order = less(a, b) ? -1 : less(b, a);
	return a.high >> 63 ? -order : order;
}

int __lttf2(QUAD a, QUAD b) { return compared(a, b, 1); }
int __letf2(QUAD a, QUAD b) { return compared(a, b, 1); }
int __eqtf2(QUAD a, QUAD b) { return compared(a, b, 1); }
int __netf2(QUAD a, QUAD b) { return compared(a, b, 1); }
int __cmptf2(QUAD a, QUAD b) { return compared(a, b, 1); }
int __gttf2(QUAD a, QUAD b) { return compared(a, b, -1); }
int __getf2(QUAD a, QUAD b) { return compared(a, b, -1); }

int __unordtf2(QUAD a, QUAD b)
{
	return is_nan(bits_of(a)) || is_nan(bits_of(b));
}
