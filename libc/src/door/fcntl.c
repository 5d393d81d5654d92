/* fcntl: record locks have Linux's 64-bit numbers and a packed structure at the door. */
#include <fcntl.h>
#include "syscall.h"

struct door_flock {
	short type, whence;
	int pid;
	long long start, length;
};

static int lock(int fd, int command, struct flock *lock)
{
	struct door_flock door = { lock->l_type, lock->l_whence, lock->l_pid, lock->l_start, lock->l_len };
	int r = door_fcntl(fd, command, (long)&door);
	if (r == 0 && command == 5) {
		lock->l_type = door.type;
		lock->l_whence = door.whence;
		lock->l_pid = door.pid;
		lock->l_start = door.start;
		lock->l_len = door.length;
	}
	return r;
}

long __door_fcntl(int fd, int command, long argument)
{
	switch (command) {
	case F_GETLK: return lock(fd, 5, (void *)argument);
	case F_SETLK: return lock(fd, 6, (void *)argument);
	case F_SETLKW: return lock(fd, 7, (void *)argument);
	case 5: case 6: case 7: return -EINVAL;
	case F_SETFL: argument &= ~O_LARGEFILE;
	}
	return door_fcntl(fd, command, argument);
}
