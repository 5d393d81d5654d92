/* long double: adding and subtracting. Ours, as the compiler's ready-made ones are large and slow. */
#include "quad.h"

static struct wide sum(struct wide a, struct wide b)
{
	int negative = a.high >> 63, differ = (a.high ^ b.high) >> 63;
	if (is_nan(a)) return quiet(a);
	if (is_nan(b)) return quiet(b);
	if (is_special(a)) return is_special(b) && differ ? quiet(infinity(0)) : a;
	if (is_special(b)) return b;
	if (is_zero(b)) return is_zero(a) && differ ? (struct wide){ 0, 0 } : a;
	if (is_zero(a)) return b;
	if (less(magnitude(a), magnitude(b))) {
		struct wide other = a;
		a = b;
		b = other;
		negative = a.high >> 63;
	}
	struct number x = number_of(a), y = number_of(b);
	struct wide larger = right(x.mantissa, 1), smaller = right(y.mantissa, 1 + x.exponent - y.exponent);
	struct wide result = differ ? minus(larger, smaller) : plus(larger, smaller);
	if (!(result.high | result.low)) return result;
	return rounded((struct number){ result, x.exponent + 1, negative });
}

QUAD __addtf3(QUAD a, QUAD b)
{
	return of_bits(sum(bits_of(a), bits_of(b)));
}

QUAD __subtf3(QUAD a, QUAD b)
{
	struct wide other = bits_of(b);
	if (!is_nan(other)) other.high ^= 1ULL << 63;
	return of_bits(sum(bits_of(a), other));
}
