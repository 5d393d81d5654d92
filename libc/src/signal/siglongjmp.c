/* In place of musl's file. */
#include <setjmp.h>
#include <signal.h>

_Noreturn void siglongjmp(sigjmp_buf env, int value)
{
	if (env->__fl) sigprocmask(SIG_SETMASK, (sigset_t *)env->__ss, 0);
	longjmp(env, value);
}
