/* In place of musl's file: the door's records are the C library's, and their places are ours to keep. */
#include <dirent.h>
#include <errno.h>
#include "__dirent.h"
#include "syscall.h"

struct dirent *readdir(DIR *dir)
{
	if (dir->buf_pos >= dir->buf_end) {
		int length = door_getdents(dir->fd, dir->buf, sizeof dir->buf, dir->tell);
		if (length <= 0) {
			if (length < 0 && length != -ENOENT) errno = -length;
			return 0;
		}
		dir->buf_end = length;
		dir->buf_pos = 0;
	}
	struct dirent *entry = (void *)(dir->buf + dir->buf_pos);
	dir->buf_pos += entry->d_reclen;
	dir->tell = entry->d_off;
	return entry;
}

weak_alias(readdir, readdir64);
