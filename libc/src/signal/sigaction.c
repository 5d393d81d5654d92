/* In place of musl's file: the kernel knows which signals are caught, the handlers are here. It calls
   __balenawasm_signal in the program's thread; masks, SA_RESTART, SA_NODEFER and SA_RESETHAND are its own. */
#include <signal.h>
#include <errno.h>
#include <string.h>
#include "pthread_impl.h"
#include "syscall.h"

struct door_action {
	unsigned kind, flags;
	unsigned long long mask;
};
enum { DEFAULT, IGNORED, CAUGHT };

/* What the kernel is told of; SA_SIGINFO is ours, and there are no alternative stacks to switch to. */
#define KERNEL_FLAGS (SA_NOCLDSTOP|SA_NOCLDWAIT|SA_RESTART|SA_NODEFER|SA_RESETHAND)
#define KNOWN_FLAGS (KERNEL_FLAGS|SA_SIGINFO|SA_ONSTACK|SA_RESTORER)

struct handler {
	union {
		void (*plain)(int);
		void (*informed)(int, siginfo_t *, void *);
	};
	int flags;
};

/* src/process/vfork.c undoes what a child changes. */
hidden struct handler __handlers[_NSIG];
volatile int __eintr_valid_flag;

__attribute__((__export_name__("__balenawasm_signal"))) void __balenawasm_signal(int sig)
{
	int before = errno;
	struct handler handler = __handlers[sig];
	if (handler.flags & SA_SIGINFO) {
		siginfo_t info = { .si_signo = sig };
		handler.informed(sig, &info, 0);
	} else {
		handler.plain(sig);
	}
	errno = before;
}

static void show(struct sigaction *old, const struct door_action *door, struct handler handler)
{
	*old = (struct sigaction){ .sa_flags = door->flags };
	memcpy(&old->sa_mask, &door->mask, sizeof door->mask);
	if (door->kind == IGNORED) old->sa_handler = SIG_IGN;
	if (door->kind != CAUGHT) return;
	old->sa_handler = handler.plain;
	old->sa_flags |= handler.flags;
}

int __libc_sigaction(int sig, const struct sigaction *restrict sa, struct sigaction *restrict old)
{
	struct door_action new, before;
	struct handler handler = __handlers[sig], wanted = handler;
	if (sa) {
		new.kind = sa->sa_handler == SIG_DFL ? DEFAULT : sa->sa_handler == SIG_IGN ? IGNORED : CAUGHT;
		new.flags = sa->sa_flags & KERNEL_FLAGS;
		memcpy(&new.mask, &sa->sa_mask, sizeof new.mask);
		wanted = (struct handler){ { sa->sa_handler }, sa->sa_flags & ~KERNEL_FLAGS };
		/* The signal may come before the call is over, so there is a handler as long as it is caught. */
		if (new.kind == CAUGHT) __handlers[sig] = wanted;
		if (new.kind == CAUGHT && !(sa->sa_flags & SA_RESTART)) __eintr_valid_flag = 1;
	}
	int r = door_sigaction(sig, sa ? &new : 0, old ? &before : 0);
	__handlers[sig] = r < 0 ? handler : wanted;
	if (r == 0 && old) show(old, &before, handler);
	return __syscall_ret(r);
}

int __sigaction(int sig, const struct sigaction *restrict sa, struct sigaction *restrict old)
{
	if (sig-32U < 3 || sig-1U >= _NSIG-1 || (sa && sa->sa_flags & ~KNOWN_FLAGS)) {
		errno = EINVAL;
		return -1;
	}
	return __libc_sigaction(sig, sa, old);
}

weak_alias(__sigaction, sigaction);
