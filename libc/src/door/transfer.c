/* Reading and writing that the door has no call for. */
#include <sys/uio.h>
#include <limits.h>
#include "syscall.h"

enum { CHUNK = 16384 };

/* Several buffers at an offset, one after the other; what was moved counts more than a later error. */
#define AT_OFFSET(name, call) \
long name(int fd, const void *vector, int count, long long offset) \
{ \
	const struct iovec *iov = vector; \
	long done = 0; \
	if (count < 0 || count > IOV_MAX) return -EINVAL; \
	for (int i = 0; i < count; i++) { \
		int r = call(fd, iov[i].iov_base, iov[i].iov_len, offset + done); \
		if (r < 0) return done ? done : r; \
		done += r; \
		if ((size_t)r < iov[i].iov_len) break; \
	} \
	return done; \
}

AT_OFFSET(__door_preadv, door_pread)
AT_OFFSET(__door_pwritev, door_pwrite)

/* sendfile. */
long __door_copy_range(int out, int in, long long *offset, unsigned long count)
{
	static char buffer[CHUNK];
	long done = 0;
	if (count > LONG_MAX) count = LONG_MAX;
	while ((unsigned long)done < count) {
		unsigned long size = count - done < CHUNK ? count - done : CHUNK;
		long long here;
		int got, put = 0;
		if (offset) got = door_pread(in, buffer, size, *offset);
		else if ((got = door_lseek(in, 0, 1, &here)) == 0) got = door_read(in, buffer, size);
		else got = -EINVAL; /* as on Linux the source has to be a file */
		if (got <= 0) return done ? done : got;
		put = door_write(out, buffer, got);
		if (offset) *offset += put > 0 ? put : 0;
		else if (put < got) door_lseek(in, here + (put > 0 ? put : 0), 0, &here);
		if (put < 0) return done ? done : put;
		done += put;
		if (put < got) break;
	}
	return done;
}
