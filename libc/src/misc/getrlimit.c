/* In place of musl's file. */
#include <sys/resource.h>
#include "syscall.h"

int getrlimit(int resource, struct rlimit *limit)
{
	return __syscall_ret(door_getrlimit(resource, limit));
}

weak_alias(getrlimit, getrlimit64);
