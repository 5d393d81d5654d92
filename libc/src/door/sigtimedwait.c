/* There is no siginfo at the door: only the number is known. */
#include <signal.h>
#include "syscall.h"

long __door_sigtimedwait(const void *set, void *info, const void *timeout)
{
	int signo = door_sigtimedwait(*(const long long *)set, timeout);
	if (signo > 0 && info) *(siginfo_t *)info = (siginfo_t){ .si_signo = signo };
	return signo;
}
