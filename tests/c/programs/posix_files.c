/* Fds and files through the POSIX door. */
#include <door.h>

static void preopens_are_gone(void) {
    SAME(open("/a", O_CREAT | O_RDWR, 0644), 3);
    SAME(sys_close(3), 0);
    SAME(sys_close(3), -EBADF);
}

static void numbers(void) {
    int a = open("/a", O_CREAT | O_RDWR, 0644);
    SAME(sys_dup(a), a + 1);
    SAME(sys_dup2(a, a), a);
    SAME(sys_dup2(77, 5), -EBADF);
    SAME(sys_dup2(a, 20), 20);
    SAME(sys_dup3(a, 20, O_CLOEXEC), 20);
    SAME(sys_fcntl(20, F_GETFD, 0), 1);
    SAME(sys_dup3(a, a, 0), -EINVAL);
    SAME(sys_dup2(a, 1 << 20), -EBADF);
    SAME(sys_fcntl(a, F_DUPFD, 10), 10);
    SAME(sys_fcntl(a, F_DUPFD_CLOEXEC, 10), 11);
    SAME(sys_fcntl(11, F_GETFD, 0), 1);
    SAME(sys_fcntl(11, F_SETFD, 0), 0);
    SAME(sys_fcntl(11, F_GETFD, 0), 0);
    SAME(sys_fcntl(a, F_DUPFD, 1 << 20), -EINVAL);
    SAME(sys_fcntl(a, 99, 0), -EINVAL);
    SAME(sys_write(10, "shared", 6), 6); /* one offset for all */
    long long at = 0;
    SAME(sys_lseek(a, 0, 1, &at), 0);
    SAME(at, 6);
}

static void open_flags(void) {
    SAME(open("/none", O_RDONLY, 0), -ENOENT);
    int fd = open("/f", O_CREAT | O_EXCL | O_WRONLY | O_APPEND, 0640);
    SAME(sys_fcntl(fd, F_GETFL, 0), O_WRONLY | O_APPEND);
    char byte;
    SAME(sys_read(fd, &byte, 1), -EBADF);
    SAME(open("/f", O_CREAT | O_EXCL, 0), -EEXIST);
    SAME(sys_write(fd, "abc", 3), 3);
    SAME(sys_fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    SAME(sys_fcntl(fd, F_GETFL, 0), O_WRONLY | O_NONBLOCK);
    struct door_stat stat;
    SAME(sys_fstat(fd, &stat), 0);
    SAME(stat.mode, 0100640);
    SAME(stat.size, 3);
    SAME(stat.nlink, 1);
    int again = open("/f", O_RDWR | O_TRUNC, 0);
    SAME(sys_fstat(again, &stat), 0);
    SAME(stat.size, 0);
    SAME(open("/", O_RDWR, 0), -EISDIR);
    SAME(open("/f", O_DIRECTORY, 0), -ENOTDIR);
    SAME(open("/f", O_RDONLY | 010000000, 0), -EINVAL); /* O_PATH */
    SAME(sys_symlinkat(PATH("/f"), AT_FDCWD, PATH("/l")), 0);
    SAME(open("/l", O_NOFOLLOW, 0), -40);
    char target[8];
    SAME(sys_readlinkat(AT_FDCWD, PATH("/l"), target, 8), 2);
    SAME(sys_openat(AT_FDCWD, "", 0, 0, 0), -ENOENT);
    SAME(sys_openat(99, PATH("f"), 0, 0), -EBADF);
}

static void data(void) {
    int fd = open("/f", O_CREAT | O_RDWR, 0644);
    struct door_iovec vectors[2] = {{"abc", 3}, {"defg", 4}};
    SAME(sys_writev(fd, vectors, 2), 7);
    SAME(sys_pwrite(fd, "XY", 2, 5), 2);
    char first[3], second[8];
    struct door_iovec into[2] = {{first, 3}, {second, 8}};
    long long at;
    SAME(sys_lseek(fd, -7, 1, &at), 0);
    SAME(at, 0);
    SAME(sys_readv(fd, into, 2), 7);
    CHECK(memcmp(first, "abc", 3) == 0 && memcmp(second, "deXY", 4) == 0);
    SAME(sys_pread(fd, second, 8, 6), 1);
    SAME(sys_pread(fd, second, 8, -1), -EINVAL);
    SAME(sys_lseek(fd, -1, 0, &at), -EINVAL);
    SAME(sys_lseek(fd, 0, 7, &at), -EINVAL);
    SAME(sys_ftruncate(fd, 3), 0);
    SAME(sys_fallocate(fd, 0, 100), 0);
    SAME(sys_lseek(fd, 0, 2, &at), 0);
    SAME(at, 100);
    SAME(sys_fsync(fd), 0);
    SAME(sys_fdatasync(fd), 0);
    SAME(sys_lseek(fd, 90, 0, &at), 0);
    int left;
    SAME(sys_ioctl(fd, FIONREAD, &left), 0);
    SAME(left, 10);
    SAME(sys_ioctl(fd, 1, &left), -ENOTTY);
}

static void attributes(void) {
    struct door_stat stat;
    struct door_time times[2] = {{1, 2}, {1000000000, 999999999}};
    int fd = open("/f", O_CREAT | O_RDWR, 0600);
    SAME(sys_fchmod(fd, 0711), 0);
    SAME(sys_fchmodat(AT_FDCWD, PATH("/f"), 0701, 0), 0);
    SAME(sys_futimens(fd, times), 0);
    SAME(sys_fstat(fd, &stat), 0);
    SAME(stat.mode, 0100701);
    SAME(stat.atime, 1);
    SAME(stat.atime_ns, 2);
    SAME(stat.mtime, 1000000000);
    SAME(stat.mtime_ns, 999999999);
    times[0].fraction = 0x3ffffffe; /* UTIME_OMIT */
    times[1].seconds = 5, times[1].fraction = 6;
    SAME(sys_utimensat(AT_FDCWD, PATH("/f"), times, 0), 0);
    SAME(sys_fstat(fd, &stat), 0);
    SAME(stat.atime, 1);
    SAME(stat.mtime, 5);
    times[0].fraction = 1000000000;
    SAME(sys_futimens(fd, times), -EINVAL);
    SAME(sys_fchown(fd, stat.uid, -1), 0);
    SAME(sys_fchownat(AT_FDCWD, PATH("/f"), -1, stat.gid, 0), 0);
    SAME(sys_faccessat(AT_FDCWD, PATH("/f"), 1, 0), 0);
    SAME(sys_fchmod(fd, 0600), 0);
    SAME(sys_faccessat(AT_FDCWD, PATH("/f"), 6, 0), 0);
    SAME(sys_faccessat(AT_FDCWD, PATH("/f"), 1, 0), -EACCES);
    SAME(sys_faccessat(AT_FDCWD, PATH("/g"), 0, 0), -ENOENT);
    SAME(sys_fstatat(AT_FDCWD, PATH("/"), 0, &stat), 0);
    SAME(stat.mode & 0170000, 0040000);
    int ends[2];
    sys_pipe2(0, ends);
    SAME(sys_fstat(ends[0], &stat), 0);
    SAME(stat.mode & 0170000, 0010000);
}

static void directories(void) {
    char cwd[32];
    SAME(sys_mkdirat(AT_FDCWD, PATH("/d"), 0755), 0);
    SAME(sys_mkdirat(AT_FDCWD, PATH("/d"), 0755), -EEXIST);
    SAME(sys_chdir(PATH("d")), 0);
    SAME(sys_getcwd(cwd, sizeof cwd), 3);
    CHECK(strcmp(cwd, "/d") == 0);
    SAME(sys_getcwd(cwd, 2), -ERANGE);
    SAME(open("here", O_CREAT | O_WRONLY, 0644), 3);
    SAME(sys_linkat(AT_FDCWD, PATH("here"), AT_FDCWD, PATH("also"), 0), 0);
    SAME(sys_renameat(AT_FDCWD, PATH("also"), AT_FDCWD, PATH("../top")), 0);
    SAME(sys_chdir(PATH("here")), -ENOTDIR);
    SAME(sys_unlinkat(AT_FDCWD, PATH("/d"), AT_REMOVEDIR), -ENOTEMPTY);
    SAME(sys_unlinkat(AT_FDCWD, PATH("here"), 0), 0);
    int root = open("/", O_RDONLY | O_DIRECTORY, 0);
    SAME(sys_fchdir(root), 0);
    SAME(sys_getcwd(cwd, sizeof cwd), 2);
    SAME(sys_unlinkat(root, PATH("d"), AT_REMOVEDIR), 0);
    SAME(sys_openat(root, PATH("top"), O_RDONLY, 0), 5);
    SAME(sys_openat(root, PATH("../../top"), O_RDONLY, 0), 6); /* not WASI: /.. is / */
    SAME(sys_fchdir(5), -ENOTDIR);
}

static void entries(void) {
    char name[16], buffer[200];
    SAME(sys_mkdirat(AT_FDCWD, PATH("/d"), 0755), 0);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "/d/%02d", i);
        SAME(sys_close(open(name, O_CREAT | O_WRONLY, 0644)), 0);
    }
    SAME(sys_mkdirat(AT_FDCWD, PATH("/d/sub"), 0755), 0);
    int fd = open("/d", O_RDONLY, 0), files = 0, folders = 0, filled;
    unsigned long long cookie = 0;
    while ((filled = sys_getdents(fd, buffer, sizeof buffer, cookie)) > 0) {
        for (int at = 0; at < filled;) {
            struct door_dirent *entry = (void *)(buffer + at);
            CHECK(entry->length % 8 == 0 && entry->ino != 0);
            if (entry->type == 8) files++;
            if (entry->type == 4) folders++;
            CHECK(strlen(entry->name) <= 3);
            cookie = entry->cookie;
            at += entry->length;
        }
    }
    SAME(filled, 0);
    SAME(files, 100);
    SAME(folders, 3);
    SAME(sys_getdents(fd, buffer, 16, 0), -EINVAL);
    SAME(sys_getdents(0, buffer, 200, 0), -ENOTDIR);
}

static void capacity(void) {
    uint64_t found[8] = {0}, again[8] = {0};
    SAME(sys_statfs(PATH("/"), found), 0);
    CHECK(found[0] >= 512 && found[1] >= found[2] && found[2] >= found[3] && found[3] > 0);
    SAME(found[6], 255);
    SAME(found[7], 0);
    SAME(sys_fstatfs(open("/", O_RDONLY, 0), again), 0);
    SAME(found[1], again[1]);
    SAME(sys_statfs(PATH("/proc"), found), 0);
    SAME(found[1], 0);
}

static void polling(void) {
    int ends[2];
    SAME(sys_pipe2(O_NONBLOCK, ends), 0);
    struct door_pollfd poll[4] = {{ends[0], POLLIN, 7}, {ends[1], POLLOUT, 7}, {-1, POLLIN, 7}, {99, POLLIN, 7}};
    struct door_time now = {0, 0}, wrong = {0, -1};
    SAME(sys_ppoll(poll, 1, &now, NULL), 0);
    SAME(poll[0].revents, 0);
    SAME(sys_ppoll(poll, 4, NULL, NULL), 2);
    SAME(poll[0].revents, 0);
    SAME(poll[1].revents, POLLOUT);
    SAME(poll[2].revents, 0);
    SAME(poll[3].revents, POLLNVAL);
    char byte;
    SAME(sys_read(ends[0], &byte, 1), -EAGAIN);
    SAME(sys_write(ends[1], "x", 1), 1);
    int waiting;
    SAME(sys_ioctl(ends[0], FIONREAD, &waiting), 0);
    SAME(waiting, 1);
    SAME(sys_ppoll(poll, 1, NULL, NULL), 1);
    SAME(poll[0].revents, POLLIN);
    sys_close(ends[1]);
    SAME(sys_ppoll(poll, 1, NULL, NULL), 1);
    SAME(poll[0].revents, POLLIN | POLLHUP);
    SAME(sys_ppoll(poll, 1, &wrong, NULL), -EINVAL);
    SAME(sys_ppoll(poll, 1 << 20, &now, NULL), -EINVAL);
}

static void named_pipe(void) {
    SAME(sys_mknodat(AT_FDCWD, PATH("/fifo"), 0010644, 0), 0);
    SAME(sys_mknodat(AT_FDCWD, PATH("/fifo"), 0010644, 0), -EEXIST);
    SAME(sys_mknodat(AT_FDCWD, PATH("/plain"), 0600, 0), 0);
    SAME(sys_mknodat(AT_FDCWD, PATH("/device"), 0020600, 259), -EPERM);
    struct door_stat stat;
    SAME(sys_fstatat(AT_FDCWD, PATH("/fifo"), 0, &stat), 0);
    SAME(stat.mode, 0010644);
    int pid = vfork();
    if (pid == 0) {
        execve("/test.wasm", (char *[]){"test", "write_fifo", NULL}, environ);
        _exit(127);
    }
    int fd = open("/fifo", O_RDONLY, 0);
    CHECK(fd > 0);
    char text[16];
    SAME(sys_read(fd, text, sizeof text), 5);
    SAME(sys_read(fd, text, sizeof text), 0);
    int status;
    SAME(waitpid(pid, &status, 0), pid);
    SAME(status, 0);
}

static void write_fifo(void) {
    int fd = open("/fifo", O_WRONLY, 0);
    SAME(sys_write(fd, "hello", 5), 5);
}

static int helper(const char *what) {
    int status = -1, pid = vfork();
    if (pid == 0) {
        execve("/test.wasm", (char *[]){"test", (char *)what, NULL}, environ);
        _exit(127);
    }
    SAME(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

static int try_flock(void) {
    int fd = open("/f", O_RDWR, 0);
    return sys_flock(fd, LOCK_SH | LOCK_NB) == 0 ? sys_flock(fd, LOCK_EX | LOCK_NB) == 0 ? 2 : 1 : 0;
}

static void file_locks(void) {
    int fd = open("/f", O_CREAT | O_RDWR | O_CLOEXEC, 0644), other = open("/f", O_RDWR | O_CLOEXEC, 0);
    SAME(helper("try_flock"), 2);
    SAME(sys_flock(fd, LOCK_EX), 0);
    SAME(sys_flock(other, LOCK_EX | LOCK_NB), -EAGAIN); /* another open file, the same process */
    SAME(helper("try_flock"), 0);
    SAME(sys_flock(fd, LOCK_SH), 0);
    SAME(helper("try_flock"), 1);
    int second = sys_dup(fd);
    SAME(sys_close(fd), 0);
    SAME(helper("try_flock"), 1); /* it is the open file's */
    SAME(sys_close(second), 0);
    SAME(helper("try_flock"), 2);
    SAME(sys_flock(other, 3), -EINVAL);
    SAME(sys_flock(other, LOCK_UN), 0);
}

static int try_records(void) {
    int fd = open("/f", O_RDWR, 0);
    struct door_flock lock = {F_WRLCK, 0, 0, 10, 1};
    if (sys_fcntl(fd, F_SETLK, (int)&lock) == 0) return 1;
    if (sys_fcntl(fd, F_GETLK, (int)&lock) != 0) return 2;
    if (lock.type != F_WRLCK || lock.pid != sys_getppid() || lock.start != 5 || lock.length != 10) return 3;
    lock = (struct door_flock){F_WRLCK, 0, 0, 15, 0};
    return sys_fcntl(fd, F_SETLK, (int)&lock) == 0 ? 4 : 5;
}

static void record_locks(void) {
    int fd = open("/f", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    struct door_flock lock = {F_WRLCK, 0, 0, 0, 100};
    SAME(helper("try_records"), 1);
    SAME(sys_fcntl(fd, F_SETLK, (int)&lock), 0);
    lock = (struct door_flock){F_UNLCK, 0, 0, 0, 5};
    SAME(sys_fcntl(fd, F_SETLK, (int)&lock), 0);
    lock = (struct door_flock){F_UNLCK, 0, 0, 15, 0};
    SAME(sys_fcntl(fd, F_SETLKW, (int)&lock), 0);
    SAME(helper("try_records"), 4);
    lock = (struct door_flock){F_RDLCK, 0, 0, 40, -10};
    SAME(sys_fcntl(fd, F_SETLK, (int)&lock), 0);
    SAME(helper("try_records"), 5);
    lock.whence = 9;
    SAME(sys_fcntl(fd, F_SETLK, (int)&lock), -EINVAL);
    int reading = open("/f", O_RDONLY | O_CLOEXEC, 0);
    lock = (struct door_flock){F_WRLCK, 0, 0, 200, 1};
    SAME(sys_fcntl(reading, F_SETLK, (int)&lock), -EBADF);
    SAME(sys_close(reading), 0); /* any fd of the file: all its locks are gone */
    SAME(helper("try_records"), 1);
}

static int hold(void) {
    int fd = open("/f", O_RDWR, 0);
    struct door_flock lock = {F_WRLCK, 0, 0, 0, 0};
    if (sys_fcntl(fd, F_SETLK, (int)&lock) != 0) return 1;
    sys_write(1, "x", 1);
    char byte;
    return sys_read(0, &byte, 1); /* until the other end is closed; the lock goes with the process */
}

static int alarms;
static void on_alarm(int signo) { alarms++; }

static void waiting_for_a_lock(void) {
    int fd = open("/f", O_CREAT | O_RDWR | O_CLOEXEC, 0644), ends[2], leash[2], status;
    struct door_flock lock = {F_WRLCK, 0, 0, 0, 0};
    char byte;
    sys_pipe2(O_CLOEXEC, ends);
    sys_pipe2(O_CLOEXEC, leash);
    int pid = vfork();
    if (pid == 0) {
        sys_dup2(ends[1], 1);
        sys_dup2(leash[0], 0);
        execve("/test.wasm", (char *[]){"test", "hold", NULL}, environ);
        _exit(127);
    }
    SAME(sys_read(ends[0], &byte, 1), 1);
    SAME(sys_fcntl(fd, F_SETLK, (int)&lock), -EAGAIN);
    sigaction(SIGALRM, on_alarm, 0, 0);
    alarm_ms(5, 5);
    SAME(sys_fcntl(fd, F_SETLKW, (int)&lock), -EINTR);
    CHECK(alarms > 0);
    alarm_ms(0, 0);
    sys_close(leash[1]);
    SAME(sys_fcntl(fd, F_SETLKW, (int)&lock), 0);
    SAME(waitpid(pid, &status, 0), pid);
    SAME(status, 0);
}

static void many_fds(void) {
    int fd;
    while ((fd = sys_dup(0)) >= 0) continue;
    SAME(fd, -EMFILE);
    int ends[2];
    SAME(sys_pipe2(0, ends), -EMFILE);
    SAME(sys_close(900), 0);
    SAME(sys_pipe2(0, ends), -EMFILE); /* room for one of two */
    SAME(sys_dup(0), 900);
    SAME(open("/new", O_CREAT | O_RDWR, 0644), -EMFILE);
    SAME(sys_faccessat(AT_FDCWD, PATH("/new"), 0, 0), -ENOENT);
}

static void bad_pointers(void) {
    const void *nowhere = (void *)0xfffffff0;
    int fd = open("/f", O_CREAT | O_RDWR, 0644);
    SAME(sys_write(fd, nowhere, 100), -EFAULT);
    SAME(sys_read(fd, (void *)nowhere, 100), -EFAULT);
    SAME(sys_openat(AT_FDCWD, nowhere, 100, O_CREAT, 0), -EFAULT);
    SAME(sys_openat(AT_FDCWD, "x", -1, O_CREAT, 0), -ENAMETOOLONG);
    SAME(sys_pipe2(0, (void *)nowhere), -EFAULT);
    SAME(sys_fstat(fd, (void *)nowhere), -EFAULT);
    SAME(sys_execve(PATH("/test.wasm"), nowhere, NULL), -EFAULT);
    static char *endless[4] = {"x", (char *)0xfffffffe, NULL};
    SAME(sys_execve(PATH("/test.wasm"), endless, NULL), -EFAULT);
    SAME(sys_ppoll((void *)nowhere, 2, NULL, NULL), -EFAULT);
    SAME(sys_dup(fd), fd + 1); /* nothing was leaked */
}

static const struct door_test tests[] = {
    {"preopens_are_gone", preopens_are_gone},
    {"numbers", numbers},
    {"open_flags", open_flags},
    {"data", data},
    {"attributes", attributes},
    {"directories", directories},
    {"entries", entries},
    {"capacity", capacity},
    {"polling", polling},
    {"named_pipe", named_pipe},
    {"file_locks", file_locks},
    {"record_locks", record_locks},
    {"waiting_for_a_lock", waiting_for_a_lock},
    {"many_fds", many_fds},
    {"bad_pointers", bad_pointers},
    {0},
};

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "write_fifo") == 0) {
        write_fifo();
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "try_flock") == 0) return try_flock();
    if (argc > 1 && strcmp(argv[1], "try_records") == 0) return try_records();
    if (argc > 1 && strcmp(argv[1], "hold") == 0) return hold();
    return door_main(tests, argc, argv);
}
