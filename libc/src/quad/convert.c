/* long double: from and to the other types. See add.c. */
#include "quad.h"

QUAD __extenddftf2(double from)
{
	union { double number; uint64_t bits; } u = { from };
	uint64_t sign = u.bits >> 63 << 63, fraction = u.bits & (1ULL << 52) - 1;
	int exponent = u.bits >> 52 & 0x7ff;
	if (!exponent && !fraction) return of_bits((struct wide){ sign, 0 });
	if (exponent == 0x7ff) {
		struct wide bits = infinity(sign != 0);
		bits.high |= fraction >> 4;
		bits.low = fraction << 60;
		return of_bits(fraction ? quiet(bits) : bits);
	}
	struct number x = { { (exponent ? 1ULL << 52 | fraction : fraction) << 11, 0 },
	                    (exponent ? exponent : 1) + BIAS - 1023, sign != 0 };
	return of_bits(rounded(x));
}

QUAD __extendsftf2(float from)
{
	return __extenddftf2(from);
}

/* To `digits` of mantissa (with the hidden one) and an exponent of so many bits; as an integer's bits. */
static uint64_t shorter(struct wide bits, int digits, int exponent_bits)
{
	uint64_t sign = bits.high >> 63 << (digits - 1 + exponent_bits);
	int largest = (1 << exponent_bits) - 1;
	uint64_t infinite = sign | (uint64_t)largest << (digits - 1);
	if (is_nan(bits)) {
		uint64_t fraction = bits.high << 16 | bits.low >> 48;
		return infinite | 1ULL << (digits - 2) | fraction >> (65 - digits);
	}
	if (is_special(bits)) return infinite;
	if (is_zero(bits)) return sign;
	struct number x = number_of(bits);
	int exponent = x.exponent - BIAS + largest / 2;
	if (exponent >= largest) return infinite;
	if (exponent <= 0) {
		x.mantissa = right(x.mantissa, 1 - exponent);
		exponent = 1;
	}
	uint64_t kept = x.mantissa.high >> (64 - digits), rest = x.mantissa.high << digits | (x.mantissa.low != 0);
	kept += rest > 1ULL << 63 || (rest == 1ULL << 63 && kept & 1);
	return sign | (((uint64_t)(exponent - 1) << (digits - 1)) + kept);
}

double __trunctfdf2(QUAD from)
{
	union { uint64_t bits; double number; } u = { shorter(bits_of(from), 53, 11) };
	return u.number;
}

float __trunctfsf2(QUAD from)
{
	union { uint32_t bits; float number; } u = { (uint32_t)shorter(bits_of(from), 24, 8) };
	return u.number;
}

/* The integer part, without its sign, if it is less than 2^64; else all bits set. NaN is as large. */
static uint64_t whole(struct wide bits)
{
	int exponent = (int)(bits.high >> 48 & INFINITE) - BIAS;
	if (exponent < 0) return 0;
	if (exponent > 63) return UINT64_MAX;
	return number_of(bits).mantissa.high >> (63 - exponent);
}

/* What does not fit is the nearest that does. */
static int64_t integer(QUAD from, uint64_t largest)
{
	struct wide bits = bits_of(from);
	uint64_t value = whole(bits), most = largest + (bits.high >> 63);
	if (value > most) value = most;
	return bits.high >> 63 ? (int64_t)(0 - value) : (int64_t)value;
}

static uint64_t natural(QUAD from, uint64_t largest)
{
	struct wide bits = bits_of(from);
	uint64_t value = whole(bits);
	if (bits.high >> 63) return 0;
	return value > largest ? largest : value;
}

int64_t __fixtfdi(QUAD from) { return integer(from, INT64_MAX); }
int32_t __fixtfsi(QUAD from) { return integer(from, INT32_MAX); }
uint64_t __fixunstfdi(QUAD from) { return natural(from, UINT64_MAX); }
uint32_t __fixunstfsi(QUAD from) { return natural(from, UINT32_MAX); }

static QUAD of_integer(uint64_t value, int negative)
{
	struct number x = { { value, 0 }, BIAS + 63, negative };
	return of_bits(value ? rounded(x) : (struct wide){ 0, 0 });
}

QUAD __floatunditf(uint64_t from) { return of_integer(from, 0); }
QUAD __floatunsitf(uint32_t from) { return of_integer(from, 0); }
QUAD __floatditf(int64_t from) { return of_integer(from < 0 ? 0 - (uint64_t)from : (uint64_t)from, from < 0); }
QUAD __floatsitf(int32_t from) { return __floatditf(from); }
