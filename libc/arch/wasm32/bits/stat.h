/* Laid out as wasi-libc does, for the compiler's prebuilt libc++; src/door/stat.c fills it from the door's. */
struct stat {
	dev_t st_dev;
	ino_t st_ino;
	nlink_t st_nlink;
	unsigned long __st_nlink_high;
	mode_t st_mode;
	uid_t st_uid;
	gid_t st_gid;
	unsigned __pad;
	dev_t st_rdev;
	off_t st_size;
	blksize_t st_blksize;
	blkcnt_t st_blocks;
	struct timespec st_atim;
	struct timespec st_mtim;
	struct timespec st_ctim;
	long long __reserved[3];
};
