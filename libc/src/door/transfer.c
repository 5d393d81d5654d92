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

/* Up to CHUNK bytes; `here` is where they come from, an offset of the caller's or the file's own. */
static long copy_piece(int in, long long *here, int own, int out, long long *there, unsigned long size)
{
	static char buffer[CHUNK];
	int got = own ? door_read(in, buffer, size) : door_pread(in, buffer, size, *here), put;
	if (got <= 0) return got;
	put = there ? door_pwrite(out, buffer, got, *there) : door_write(out, buffer, got);
	if (put > 0) {
		*here += put;
		if (there) *there += put;
	}
	if (own && put < got) {
		long long ignored;
		door_lseek(in, *here, 0, &ignored);
	}
	return put;
}

/* copy_file_range, and sendfile, which has no place in `out`. As on Linux the source has to be a file. */
long __door_copy_range(int in, long long *from, int out, long long *to, unsigned long count)
{
	long long here = from ? *from : 0;
	long done = 0;
	if (count > LONG_MAX) count = LONG_MAX;
	if (!from && door_lseek(in, 0, 1, &here) < 0) return -EINVAL;
	while ((unsigned long)done < count) {
		unsigned long size = count - done < CHUNK ? count - done : CHUNK;
		long moved = copy_piece(in, &here, !from, out, to, size);
		if (moved <= 0) return done ? done : moved;
		if (from) *from = here;
		done += moved;
	}
	return done;
}
