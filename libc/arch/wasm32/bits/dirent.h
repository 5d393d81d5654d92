#define _DIRENT_HAVE_D_RECLEN
#define _DIRENT_HAVE_D_OFF
#define _DIRENT_HAVE_D_TYPE

/* The door's record, so that readdir copies nothing. */
struct dirent {
	off_t d_off;
	ino_t d_ino;
	unsigned short d_reclen;
	unsigned char d_type;
	unsigned char __pad;
	char d_name[256];
};
