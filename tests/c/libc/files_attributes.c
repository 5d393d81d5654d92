/* Attributes of files: kinds, modes, umask, times, sizes; free space. */
#include "say.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

static int mode_of(const char *path) {
    struct stat stat;
    if (lstat(path, &stat) != 0) return -1;
    return stat.st_mode;
}

static void touch(const char *path, int mode) { close(open(path, O_CREAT | O_WRONLY, mode)); }

static void modes(void) {
    printf("%o\n", umask(027));
    printf("%o\n", umask(027));
    touch("a", 0666);
    mkdir("d", 0777);
    printf("%o %o\n", mode_of("a"), mode_of("d"));
    SAY(chmod("a", 0600));
    printf("%o\n", mode_of("a"));
    int fd = open("a", O_RDWR);
    SAY(fchmod(fd, 0755));
    printf("%o\n", mode_of("a"));
    SAY(fchmodat(AT_FDCWD, "a", 0444, 0));
    printf("%o\n", mode_of("a"));
    SAY(chmod("none", 0600));
    SAY(symlink("a", "link"));
    SAY(chmod("link", 0640));
    printf("%o %o\n", mode_of("a"), mode_of("link") & S_IFMT);
    SAY(access("a", X_OK));
    SAY(access("a", R_OK));
    SAY(access("none", R_OK));
    SAY(eaccess("a", R_OK));
    umask(0);
    touch("all", 0666);
    printf("%o\n", mode_of("all"));
    umask(022);
    SAY(mkfifo("fifo", 0644));
    printf("%o\n", mode_of("fifo"));
    printf("%o\n", mode_of("/dev/null") & S_IFMT);
    SAY(chown("a", -1, -1));
    SAY(lchown("link", -1, -1));
    SAY(fchown(fd, -1, -1));
    close(fd);
}

static void sizes(void) {
    struct stat stat;
    int fd = open("s", O_CREAT | O_RDWR, 0644);
    static char data[10000];
    memset(data, 'x', sizeof data);
    write(fd, data, sizeof data);
    SAY(fstat(fd, &stat));
    SAY(stat.st_size);
    HOLDS(stat.st_blksize >= 512);
    HOLDS(stat.st_ino != 0);
    SAY(stat.st_nlink);
    SAY(stat.st_uid == geteuid());
    struct stat same;
    SAY(fstatat(AT_FDCWD, "s", &same, AT_SYMLINK_NOFOLLOW));
    SAY(same.st_ino == stat.st_ino && same.st_dev == stat.st_dev);
    SAY(fstat(99, &same));
    SAY(lstat("", &same));
    SAY(makedev(1, 3) == makedev(1, 3) && major(makedev(259, 7)) == 259);
    struct statvfs space;
    SAY(statvfs(".", &space));
    HOLDS(space.f_bsize >= 512 && space.f_namemax >= 255);
    HOLDS(space.f_blocks >= space.f_bfree);
    SAY(fstatvfs(fd, &space));
    SAY(statvfs("none", &space));
    close(fd);
}

static void show_times(const char *path) {
    struct stat stat;
    MUST(lstat(path, &stat) == 0);
    printf("%s: %lld.%09ld %lld.%09ld\n", path, (long long)stat.st_atim.tv_sec,
           (long)stat.st_atim.tv_nsec, (long long)stat.st_mtim.tv_sec, (long)stat.st_mtim.tv_nsec);
}

static void times(void) {
    touch("t", 0644);
    struct stat stat_;
    MUST(stat("t", &stat_) == 0);
    HOLDS(llabs((long long)time(NULL) - (long long)stat_.st_mtime) < 10);
    struct timespec both[2] = {{1000, 5}, {2000, 999999999}};
    SAY(utimensat(AT_FDCWD, "t", both, 0));
    show_times("t");
    both[0].tv_nsec = UTIME_OMIT;
    both[1] = (struct timespec){3000, 0};
    SAY(utimensat(AT_FDCWD, "t", both, 0));
    show_times("t");
    int fd = open("t", O_RDWR);
    SAY(futimens(fd, (struct timespec[]){{4000, 1}, {5000, 2}}));
    show_times("t");
    SAY(utime("t", &(struct utimbuf){6000, 7000}));
    show_times("t");
    SAY(utimes("t", (struct timeval[]){{8000, 3}, {9000, 4}}));
    show_times("t");
    SAY(utimensat(AT_FDCWD, "t", (struct timespec[]){{1, 2000000000}, {1, 0}}, 0));
    symlink("t", "l");
    SAY(utimensat(AT_FDCWD, "l", (struct timespec[]){{11, 0}, {12, 0}}, AT_SYMLINK_NOFOLLOW));
    show_times("l");
    show_times("t");
    SAY(write(fd, "x", 1));
    MUST(fstat(fd, &stat_) == 0);
    HOLDS(stat_.st_mtime > 1000000000);
    SAY(utimensat(AT_FDCWD, "t", NULL, 0));
    MUST(stat("t", &stat_) == 0);
    HOLDS(llabs((long long)time(NULL) - (long long)stat_.st_atime) < 10);
    SAY(futimens(fd, (struct timespec[]){{4294967296, 0}, {-1, 0}}));
    close(fd);
}

int main(void) {
    umask(022);
    modes();
    sizes();
    times();
    return 0;
}
