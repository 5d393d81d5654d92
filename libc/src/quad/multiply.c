/* long double: multiplying. See add.c. */
#include "quad.h"

static struct wide product(uint64_t a, uint64_t b)
{
	uint64_t ah = a >> 32, al = (uint32_t)a, bh = b >> 32, bl = (uint32_t)b;
	uint64_t low = al * bl, first = ah * bl + (low >> 32), second = al * bh + (uint32_t)first;
	return (struct wide){ ah * bh + (first >> 32) + (second >> 32), second << 32 | (uint32_t)low };
}

/* The upper half of the product. */
static struct wide upper(struct wide a, struct wide b)
{
	struct wide high = product(a.high, b.high), low = product(a.low, b.low);
	struct wide one = product(a.high, b.low), two = product(a.low, b.high);
	struct wide middle = plus(one, two);
	uint64_t carry = less(middle, one);
	middle = plus(middle, (struct wide){ 0, low.high });
	carry += less(middle, (struct wide){ 0, low.high });
	high = plus(high, (struct wide){ carry, middle.high });
	high.low |= (middle.low | low.low) != 0;
	return high;
}

QUAD __multf3(QUAD first, QUAD second)
{
	struct wide a = bits_of(first), b = bits_of(second);
	int negative = (a.high ^ b.high) >> 63;
	if (is_nan(a)) return of_bits(quiet(a));
	if (is_nan(b)) return of_bits(quiet(b));
	if (is_special(a) || is_special(b))
		return of_bits(is_zero(a) || is_zero(b) ? quiet(infinity(0)) : infinity(negative));
	if (is_zero(a) || is_zero(b)) return of_bits((struct wide){ (uint64_t)negative << 63, 0 });
	struct number x = number_of(a), y = number_of(b);
	return of_bits(rounded((struct number){
		upper(x.mantissa, y.mantissa), x.exponent + y.exponent - BIAS + 1, negative }));
}
