/* In place of musl's file: room for more entries, as each call costs more than here. */
struct __dirstream
{
	off_t tell;
	int fd;
	int buf_pos;
	int buf_end;
	volatile int lock[1];
	char buf[8192];
};
