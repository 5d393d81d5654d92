/* In place of musl's file: the door's itimerval is the C library's. */
#include <sys/time.h>
#include "syscall.h"

int getitimer(int which, struct itimerval *value)
{
	return syscall(SYS_getitimer, which, value);
}
