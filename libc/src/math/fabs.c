/* In place of musl's file: an instruction. */
#include <math.h>

double fabs(double x)
{
	return __builtin_fabs(x);
}
