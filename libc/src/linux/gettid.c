/* In place of musl's file: the one thread has the process's number. */
#define _GNU_SOURCE
#include <unistd.h>

pid_t gettid(void)
{
	return getpid();
}
