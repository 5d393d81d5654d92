/* <math.h>, <complex.h>, <fenv.h>: values that every correct library gives. */
#include "say.h"

#include <complex.h>
#include <float.h>
#include <math.h>

#define VALUE(call) printf("%s: %.10g\n", #call, (double)(call))

int main(void) {
    VALUE(sqrt(2));
    VALUE(cbrt(27));
    VALUE(hypot(3, 4));
    VALUE(sin(1));
    VALUE(cos(1e6));
    VALUE(tan(0.5));
    VALUE(asin(0.5));
    VALUE(acos(0.5));
    VALUE(atan2(-1, -1));
    VALUE(sinh(1));
    VALUE(tanh(0.3));
    VALUE(exp(10));
    VALUE(exp2(0.5));
    VALUE(expm1(1e-10));
    VALUE(log(10));
    VALUE(log2(8));
    VALUE(log10(1000));
    VALUE(log1p(1e-10));
    VALUE(pow(2, 0.5));
    VALUE(pow(-2, 3));
    VALUE(fmod(-7, 3));
    VALUE(remainder(7, 4));
    VALUE(floor(-1.5));
    VALUE(ceil(-1.5));
    VALUE(trunc(-1.5));
    VALUE(round(2.5));
    VALUE(rint(2.5));
    VALUE(nearbyint(3.5));
    SAY(lround(-2.5));
    SAY(llrint(4.5));
    VALUE(fma(2, 3, 4));
    VALUE(fmin(1, NAN));
    VALUE(fdim(5, 3));
    VALUE(copysign(1, -0.0));
    VALUE(ldexp(0.75, 4));
    int exponent;
    VALUE(frexp(12, &exponent));
    SAY(exponent);
    double whole;
    VALUE(modf(3.25, &whole));
    VALUE(whole);
    SAY(ilogb(1000));
    VALUE(nextafter(1, 2) - 1);
    VALUE(erf(0.5));
    VALUE(tgamma(5));
    VALUE(lgamma(10));
    VALUE(j0(1));
    VALUE(sqrtf(2));
    VALUE(powf(1.5f, 2));
    VALUE(sqrtl(2));
    VALUE(sinl(1));
    HOLDS(isnan(sqrt(-1)));
    HOLDS(isinf(1 / 0.0));
    HOLDS(signbit(-0.0) != 0);
    SAY(fpclassify(DBL_MIN / 2) == FP_SUBNORMAL);
    double complex z = csqrt(-1);
    printf("%.3f %.3f %.3f\n", creal(z), cimag(z), cabs(3 + 4 * I));
    printf("%.6f %.6f\n", creal(cexp(I)), cimag(cexp(I)));
    return 0;
}
