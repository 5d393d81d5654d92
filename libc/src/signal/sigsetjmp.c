/* setjmp has to be called where it is used, so <setjmp.h> makes sigsetjmp a macro of this and setjmp. */
#include <setjmp.h>
#include <signal.h>

void __sigsetjmp_mask(struct __jmp_buf_tag *env, int save)
{
	env->__fl = save;
	if (save) sigprocmask(SIG_SETMASK, 0, (sigset_t *)env->__ss);
}
