/* In place of musl's file: see src/door/users.c. -1 leaves an id, but setuid(-1) asks for one that is invalid. */
#include <unistd.h>
#include "libc.h"
#include "syscall.h"

int __setxid(int nr, int id, int eid, int sid)
{
	int r;
	if (nr == SYS_setuid || nr == SYS_setgid) r = id == -1 ? -EINVAL : __door_setid(id, id, id);
	else if (nr == SYS_setreuid || nr == SYS_setregid) r = __door_setid(id, eid, -1);
	else r = __door_setid(id, eid, sid);
	return __syscall_ret(r);
}
