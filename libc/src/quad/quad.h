/* Numbers of 128 bits (IEEE binary128) without hardware: what the functions of the compiler's runtime share. */
#ifndef _QUAD_H
#define _QUAD_H

#include <stdint.h>

#ifndef QUAD
#define QUAD long double
#endif

enum { BIAS = 16383, INFINITE = 0x7fff };

/* 128 bits. */
struct wide {
	uint64_t high, low;
};

/* A number that is not 0, infinite or NaN: mantissa / 2^127 * 2^(exponent - BIAS), its highest bit set. The 15
   lowest bits of the mantissa are room for rounding. */
struct number {
	struct wide mantissa;
	int exponent, negative;
};

static inline struct wide bits_of(QUAD x)
{
	union { QUAD number; uint64_t words[2]; } u = { x };
	return (struct wide){ u.words[1], u.words[0] };
}

static inline QUAD of_bits(struct wide bits)
{
	union { uint64_t words[2]; QUAD number; } u = { { bits.low, bits.high } };
	return u.number;
}

static inline struct wide magnitude(struct wide bits)
{
	bits.high &= INT64_MAX;
	return bits;
}

static inline int is_zero(struct wide bits)
{
	return !(bits.high << 1 | bits.low);
}

static inline int is_nan(struct wide bits)
{
	bits = magnitude(bits);
	uint64_t infinity = (uint64_t)INFINITE << 48;
	return bits.high > infinity || (bits.high == infinity && bits.low);
}

static inline int is_special(struct wide bits)
{
	return (bits.high >> 48 & INFINITE) == INFINITE;
}

static inline struct wide infinity(int negative)
{
	return (struct wide){ (uint64_t)negative << 63 | (uint64_t)INFINITE << 48, 0 };
}

static inline struct wide quiet(struct wide nan)
{
	nan.high |= 1ULL << 47;
	return nan;
}

static inline int less(struct wide a, struct wide b)
{
	return a.high < b.high || (a.high == b.high && a.low < b.low);
}

static inline struct wide minus(struct wide a, struct wide b)
{
	return (struct wide){ a.high - b.high - (a.low < b.low), a.low - b.low };
}

static inline struct wide plus(struct wide a, struct wide b)
{
	uint64_t low = a.low + b.low;
	return (struct wide){ a.high + b.high + (low < b.low), low };
}

static inline struct wide left(struct wide x, int n)
{
	if (n >= 64) return (struct wide){ x.low << (n - 64), 0 };
	if (n) x.high = x.high << n | x.low >> (64 - n), x.low <<= n;
	return x;
}

/* The lowest bit says that something was lost. */
static inline struct wide right(struct wide x, int n)
{
	uint64_t lost;
	if (n <= 0) return x;
	if (n >= 128) return (struct wide){ 0, (x.high | x.low) != 0 };
	if (n >= 64) {
		lost = x.low | (n > 64 ? x.high << (128 - n) : 0);
		return (struct wide){ 0, x.high >> (n - 64) | (lost != 0) };
	}
	lost = x.low << (64 - n);
	return (struct wide){ x.high >> n, x.low >> n | x.high << (64 - n) | (lost != 0) };
}

static inline struct number normal(struct number x)
{
	int zeros = x.mantissa.high ? __builtin_clzll(x.mantissa.high) : 64 + __builtin_clzll(x.mantissa.low);
	x.mantissa = left(x.mantissa, zeros);
	x.exponent -= zeros;
	return x;
}

static inline struct number number_of(struct wide bits)
{
	int exponent = bits.high >> 48 & INFINITE;
	struct number x = { left(bits, 15), exponent ? exponent : 1, bits.high >> 63 };
	if (exponent) x.mantissa.high |= 1ULL << 63;
	else x.mantissa.high &= INT64_MAX;
	return exponent ? x : normal(x);
}

/* Round to the nearest, ties to even. The mantissa is not 0. */
static inline struct wide rounded(struct number x)
{
	uint64_t sign = (uint64_t)x.negative << 63;
	x = normal(x);
	if (x.exponent >= INFINITE) return infinity(x.negative);
	if (x.exponent <= 0) {
		x.mantissa = right(x.mantissa, 1 - x.exponent);
		x.exponent = 1;
	}
	unsigned rest = x.mantissa.low & 0x7fff;
	struct wide bits = { x.mantissa.high >> 15, x.mantissa.low >> 15 | x.mantissa.high << 49 };
	bits = plus(bits, (struct wide){ (uint64_t)(x.exponent - 1) << 48, rest > 0x4000 || (rest == 0x4000 && bits.low & 1) });
	bits.high |= sign;
	return bits;
}

#endif
