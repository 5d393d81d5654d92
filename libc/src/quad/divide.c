/* long double: dividing, bit by bit. See add.c. */
#include "quad.h"

enum { DIGITS = 117 }; /* more than are kept, by enough to round */

QUAD __divtf3(QUAD first, QUAD second)
{
	struct wide a = bits_of(first), b = bits_of(second), quotient = { 0, 0 };
	int negative = (a.high ^ b.high) >> 63;
	if (is_nan(a)) return of_bits(quiet(a));
	if (is_nan(b)) return of_bits(quiet(b));
	if (is_special(a)) return of_bits(is_special(b) ? quiet(infinity(0)) : infinity(negative));
	if (is_zero(b)) return of_bits(is_zero(a) ? quiet(infinity(0)) : infinity(negative));
	if (is_special(b) || is_zero(a)) return of_bits((struct wide){ (uint64_t)negative << 63, 0 });
	struct number x = number_of(a), y = number_of(b);
	struct wide rest = x.mantissa;
	int carry = 0;
	for (int i = 0; i < DIGITS; i++) {
		quotient = left(quotient, 1);
		if (carry || !less(rest, y.mantissa)) {
			rest = minus(rest, y.mantissa);
			quotient.low |= 1;
		}
		carry = rest.high >> 63;
		rest = left(rest, 1);
	}
	quotient = left(quotient, 128 - DIGITS);
	quotient.low |= carry || rest.high || rest.low;
	return of_bits(rounded((struct number){ quotient, x.exponent - y.exponent + BIAS, negative }));
}
