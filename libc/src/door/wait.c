/* waitid, from wait4. */
#include <signal.h>
#include <sys/wait.h>
#include <errno.h>
#include "syscall.h"

static void told(siginfo_t *info, int pid, int status)
{
	*info = (siginfo_t){ .si_signo = SIGCHLD };
	info->si_pid = pid;
	if (WIFEXITED(status)) info->si_code = CLD_EXITED, info->si_status = WEXITSTATUS(status);
	else if (WIFSTOPPED(status)) info->si_code = CLD_STOPPED, info->si_status = WSTOPSIG(status);
	else if (WIFCONTINUED(status)) info->si_code = CLD_CONTINUED, info->si_status = SIGCONT;
	else info->si_code = CLD_KILLED, info->si_status = WTERMSIG(status);
}

long __door_waitid(int kind, int id, void *info, int options)
{
	int status, pid;
	/* wait4 always takes those that have ended, and never leaves one for later. */
	if (!(options & WEXITED) || options & ~(WEXITED|WSTOPPED|WCONTINUED|WNOHANG)) return -EINVAL;
	switch (kind) {
	case P_ALL: pid = -1; break;
	case P_PID: if ((pid = id) <= 0) return -EINVAL; break;
	case P_PGID: if ((pid = -id) > 0) return -EINVAL; break;
	default: return -EINVAL;
	}
	int r = door_wait4(pid, &status, options & (WNOHANG|WSTOPPED|WCONTINUED), 0);
	if (r < 0) return r;
	if (info && r) told(info, r, status);
	else if (info) *(siginfo_t *)info = (siginfo_t){ 0 };
	return 0;
}
