/* In place of musl's file: an instruction; there is one rounding mode. */
#include <math.h>

float rintf(float x)
{
	return __builtin_rintf(x);
}
