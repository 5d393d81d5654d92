#include <upstream/setjmp.h>

#ifndef _BALENAWASM_SETJMP
#define _BALENAWASM_SETJMP

/* The compiler knows setjmp and longjmp by these names only, and setjmp where it stands only. */
#if defined(_POSIX_SOURCE) || defined(_POSIX_C_SOURCE) \
 || defined(_XOPEN_SOURCE) || defined(_GNU_SOURCE) || defined(_BSD_SOURCE)
#ifdef __cplusplus
extern "C" {
#endif
void __sigsetjmp_mask (struct __jmp_buf_tag *, int);
#ifdef __cplusplus
}
#endif
#define sigsetjmp(env, save) (__sigsetjmp_mask((env), (save)), setjmp(env))
#endif

#if defined(_XOPEN_SOURCE) || defined(_GNU_SOURCE) || defined(_BSD_SOURCE)
#define _setjmp(env) setjmp(env)
#define _longjmp(env, value) longjmp(env, value)
#endif

#endif
