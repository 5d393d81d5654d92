/* vfork (docs/posix-door.md): the child goes on in the parent's place and memory. <unistd.h> makes vfork a macro
   that remembers the place with setjmp; execve and _exit come back here when the child has gone its way.

   What a child sets in the table of handlers is put back. Places nest, a child may vfork; one more than there
   is room for is an error of vfork. */
#include <unistd.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include "syscall.h"

#undef vfork

enum { PLACES = 16, HANDLERS = _NSIG * 8 };

struct place {
	jmp_buf env;
	unsigned char handlers[HANDLERS];
};

static struct place places[PLACES + 1];
static volatile int depth;
static volatile int ended;

/* The table of src/signal/sigaction.c, if the program has handlers at all. */
extern weak hidden unsigned char __handlers[HANDLERS];

struct __jmp_buf_tag *__vfork_place(void)
{
	return places[depth].env;
}

int __vfork_begin(void)
{
	if (depth == PLACES) return __syscall_ret(-EAGAIN);
	int r = door_vfork();
	if (r < 0) return __syscall_ret(r);
	if (__handlers) memcpy(places[depth].handlers, __handlers, HANDLERS);
	depth++;
	return 0;
}

/* The child `pid` has ended or runs another program: its parent goes on. */
hidden _Noreturn void __vfork_end(int pid)
{
	ended = pid;
	depth--;
	if (__handlers) memcpy(__handlers, places[depth].handlers, HANDLERS);
	longjmp(places[depth].env, 1);
}

int __vfork_child(void)
{
	return ended;
}

/* Only for what does not include <unistd.h>: a function has no frame to come back to. */
pid_t vfork(void)
{
	return __syscall_ret(-ENOSYS);
}
