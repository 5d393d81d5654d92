/* In place of musl's file: an instruction; there is one rounding mode. */
#include <math.h>

float nearbyintf(float x)
{
	return __builtin_nearbyintf(x);
}
