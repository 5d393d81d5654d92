/* As futex.h: the numbers are the C library's. */
#include <errno.h>
