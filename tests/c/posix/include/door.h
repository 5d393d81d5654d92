/* The POSIX door (docs/posix-door.md) for test programs: its functions as sys_NAME, which answer minus
   a Linux errno, Linux's numbers, and the few things that need C: vfork, execve, _exit, handlers. Not
   the product's C library: programs use wasi-libc for printing and strings only. */
#ifndef DOOR_H
#define DOOR_H
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOOR(NAME) __attribute__((import_module("balenawasm_posix"), import_name(#NAME)))
DOOR(attach) int sys_attach(int);
DOOR(vfork) int sys_vfork(void);
DOOR(execve) int sys_execve(const void *, int, const void *, const void *);
DOOR(exit) int sys_exit(int);
DOOR(spawn) int sys_spawn(const void *, int, const void *, const void *, const void *, int, const void *);
DOOR(wait4) int sys_wait4(int, void *, int, void *);
DOOR(getrusage) int sys_getrusage(int, void *);
DOOR(getrlimit) int sys_getrlimit(int, void *);
DOOR(getpid) int sys_getpid(void);
DOOR(getppid) int sys_getppid(void);
DOOR(getpgid) int sys_getpgid(int);
DOOR(setpgid) int sys_setpgid(int, int);
DOOR(getsid) int sys_getsid(int);
DOOR(setsid) int sys_setsid(void);
DOOR(kill) int sys_kill(int, int);
DOOR(uname) int sys_uname(void *);
DOOR(getcomm) int sys_getcomm(char *);
DOOR(setcomm) int sys_setcomm(const char *, int);
DOOR(sigaction) int sys_sigaction(int, const void *, void *);
DOOR(sigwords) int sys_sigwords(int, int, const void *, int);
DOOR(sigprocmask) int sys_sigprocmask(int, const void *, void *);
DOOR(sigpending) int sys_sigpending(void *);
DOOR(sigsuspend) int sys_sigsuspend(long long);
DOOR(sigtimedwait) int sys_sigtimedwait(long long, const void *);
DOOR(setitimer) int sys_setitimer(int, const void *, void *);
DOOR(getitimer) int sys_getitimer(int, void *);
DOOR(close) int sys_close(int);
DOOR(read) int sys_read(int, void *, int);
DOOR(write) int sys_write(int, const void *, int);
DOOR(readv) int sys_readv(int, void *, int);
DOOR(writev) int sys_writev(int, const void *, int);
DOOR(pread) int sys_pread(int, void *, int, long long);
DOOR(pwrite) int sys_pwrite(int, const void *, int, long long);
DOOR(lseek) int sys_lseek(int, long long, int, void *);
DOOR(ftruncate) int sys_ftruncate(int, long long);
DOOR(fallocate) int sys_fallocate(int, long long, long long);
DOOR(fsync) int sys_fsync(int);
DOOR(fdatasync) int sys_fdatasync(int);
DOOR(pipe2) int sys_pipe2(int, void *);
DOOR(dup) int sys_dup(int);
DOOR(dup2) int sys_dup2(int, int);
DOOR(dup3) int sys_dup3(int, int, int);
DOOR(fcntl) int sys_fcntl(int, int, int);
DOOR(ioctl) int sys_ioctl(int, int, void *);
DOOR(fstat) int sys_fstat(int, void *);
DOOR(fstatat) int sys_fstatat(int, const void *, int, int, void *);
DOOR(faccessat) int sys_faccessat(int, const void *, int, int, int);
DOOR(fchmod) int sys_fchmod(int, int);
DOOR(fchmodat) int sys_fchmodat(int, const void *, int, int, int);
DOOR(fchown) int sys_fchown(int, int, int);
DOOR(fchownat) int sys_fchownat(int, const void *, int, int, int, int);
DOOR(futimens) int sys_futimens(int, const void *);
DOOR(utimensat) int sys_utimensat(int, const void *, int, const void *, int);
DOOR(getdents) int sys_getdents(int, void *, int, long long);
DOOR(umask) int sys_umask(int);
DOOR(openat) int sys_openat(int, const void *, int, int, int);
DOOR(mkdirat) int sys_mkdirat(int, const void *, int, int);
DOOR(unlinkat) int sys_unlinkat(int, const void *, int, int);
DOOR(renameat) int sys_renameat(int, const void *, int, int, const void *, int);
DOOR(linkat) int sys_linkat(int, const void *, int, int, const void *, int, int);
DOOR(symlinkat) int sys_symlinkat(const void *, int, int, const void *, int);
DOOR(readlinkat) int sys_readlinkat(int, const void *, int, void *, int);
DOOR(mknodat) int sys_mknodat(int, const void *, int, int, long long);
DOOR(chdir) int sys_chdir(const void *, int);
DOOR(fchdir) int sys_fchdir(int);
DOOR(getcwd) int sys_getcwd(void *, int);
DOOR(ppoll) int sys_ppoll(void *, int, const void *, const void *);
DOOR(clock_nanosleep) int sys_clock_nanosleep(int, int, const void *, void *);
DOOR(socket) int sys_socket(int, int, int);
DOOR(socketpair) int sys_socketpair(int, int, int, void *);
DOOR(bind) int sys_bind(int, const void *, int);
DOOR(listen) int sys_listen(int, int);
DOOR(accept4) int sys_accept4(int, void *, void *, int);
DOOR(connect) int sys_connect(int, const void *, int);
DOOR(shutdown) int sys_shutdown(int, int);
DOOR(getsockname) int sys_getsockname(int, void *, void *);
DOOR(getpeername) int sys_getpeername(int, void *, void *);
DOOR(lookup_name) int sys_lookup_name(const void *, int, int, void *, int);
DOOR(lookup_address) int sys_lookup_address(const void *, int, void *, int);
DOOR(sendto) int sys_sendto(int, const void *, int, int, const void *, int);
DOOR(sendmsg) int sys_sendmsg(int, const void *, int);
DOOR(recvfrom) int sys_recvfrom(int, void *, int, int, void *, void *);
DOOR(recvmsg) int sys_recvmsg(int, void *, int);
DOOR(setsockopt) int sys_setsockopt(int, int, int, const void *, int);
DOOR(getsockopt) int sys_getsockopt(int, int, int, void *, void *);

DOOR(statfs) int sys_statfs(const void *, int, void *);
DOOR(fstatfs) int sys_fstatfs(int, void *);
DOOR(flock) int sys_flock(int, int);
DOOR(isatty) int sys_isatty(int);
DOOR(tcgetattr) int sys_tcgetattr(int, void *);
DOOR(tcsetattr) int sys_tcsetattr(int, int, const void *);
DOOR(tcflush) int sys_tcflush(int, int);
DOOR(tcgetwinsize) int sys_tcgetwinsize(int, void *);
DOOR(tcsetwinsize) int sys_tcsetwinsize(int, const void *);
DOOR(tcgetpgrp) int sys_tcgetpgrp(int);
DOOR(tcsetpgrp) int sys_tcsetpgrp(int, int);
DOOR(tcgetsid) int sys_tcgetsid(int);
DOOR(tcsetctty) int sys_tcsetctty(int);

enum { EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, E2BIG = 7, ENOEXEC = 8, EBADF = 9, ECHILD = 10, EAGAIN = 11,
       EACCES = 13, EFAULT = 14, EEXIST = 17, ENOTDIR = 20, EISDIR = 21, EINVAL = 22, EMFILE = 24, ENOTTY = 25,
       ESPIPE = 29, EROFS = 30, EPIPE = 32, ERANGE = 34, ENAMETOOLONG = 36, ENOSYS = 38, ENOTEMPTY = 39,
       ENOTSOCK = 88, EOPNOTSUPP = 95, EAFNOSUPPORT = 97, EADDRINUSE = 98, ENOTCONN = 107, ECONNREFUSED = 111,
       EINPROGRESS = 115 };
enum { O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_CREAT = 0100, O_EXCL = 0200, O_TRUNC = 01000, O_APPEND = 02000,
       O_NONBLOCK = 04000, O_DIRECTORY = 0200000, O_NOFOLLOW = 0400000, O_CLOEXEC = 02000000 };
enum { AT_FDCWD = -100, AT_SYMLINK_NOFOLLOW = 0x100, AT_REMOVEDIR = 0x200 };
enum { F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW,
       F_DUPFD_CLOEXEC = 1030 };
enum { F_RDLCK, F_WRLCK, F_UNLCK };
enum { LOCK_SH = 1, LOCK_EX = 2, LOCK_NB = 4, LOCK_UN = 8 };
enum { FIONREAD = 0x541B, FIONBIO = 0x5421 };
enum { POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 16, POLLNVAL = 32 };
enum { WNOHANG = 1, WUNTRACED = 2, WCONTINUED = 8 };
enum { SIGHUP = 1, SIGINT = 2, SIGKILL = 9, SIGUSR1 = 10, SIGUSR2 = 12, SIGPIPE = 13, SIGALRM = 14, SIGTERM = 15,
       SIGCHLD = 17, SIGCONT = 18, SIGSTOP = 19, SIGTSTP = 20 };
enum { SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK };
enum { SA_NOCLDSTOP = 1, SA_NOCLDWAIT = 2, SA_RESTART = 0x10000000, SA_NODEFER = 0x40000000 };
#define SA_RESETHAND 0x80000000
enum { AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10, SOCK_STREAM = 1, SOCK_DGRAM = 2, SOCK_NONBLOCK = O_NONBLOCK,
       SOCK_CLOEXEC = O_CLOEXEC, SOL_SOCKET = 1, SO_REUSEADDR = 2, SO_TYPE = 3, SO_ERROR = 4, SHUT_WR = 1,
       MSG_PEEK = 2, MSG_DONTWAIT = 0x40, MSG_NOSIGNAL = 0x4000, SCM_RIGHTS = 1 };

struct door_stat { uint64_t dev, ino; uint32_t mode, nlink, uid, gid; uint64_t rdev; int64_t size, blksize, blocks,
                   atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns; };
struct door_dirent { uint64_t cookie, ino; uint16_t length; uint8_t type; char padding, name[]; } __attribute__((packed));
struct door_time { int64_t seconds, fraction; };
struct door_timer { struct door_time interval, value; };
struct door_sigaction { uint32_t kind, flags; uint64_t mask; };
struct door_flock { int16_t type, whence; int32_t pid; int64_t start, length; };
struct door_pollfd { int fd; short events, revents; };
struct door_rusage { struct door_time user, system; int64_t counts[14]; };
struct door_iovec { void *base; uint32_t length; };
struct door_action { uint32_t kind, fd, a, b, c, d; };
struct door_attributes { uint32_t flags, group; uint64_t defaults, mask; };
struct door_message { void *name; uint32_t name_length; struct door_iovec *iovecs; uint32_t count; void *control;
                      uint32_t control_length, flags; };
struct door_inet { uint16_t family, port; uint8_t host[4]; char zero[8]; };
struct door_termios { uint32_t input, output, control, local; uint8_t line, characters[32], padding[3];
                      uint32_t input_speed, output_speed; };
struct door_unix { uint16_t family; char path[108]; };
enum { ACTION_CLOSE, ACTION_DUP2, ACTION_OPEN, ACTION_CHDIR, ACTION_FCHDIR };

#define BIT(SIGNO) (1ULL << ((SIGNO) - 1))
#define PATH(TEXT) (TEXT), strlen(TEXT)
#define WIFEXITED(S) (((S) & 0x7f) == 0)
#define WEXITSTATUS(S) (((S) >> 8) & 0xff)
#define WTERMSIG(S) ((S) & 0x7f)

enum { ICANON = 2, ECHO = 8, TOSTOP = 0400, SIGTTIN = 21, SIGTTOU = 22, SIGWINCH = 28, EIO = 5 };

/* vfork: the child goes on from here until execve succeeds or _exit is called; then so does the parent. */
jmp_buf *door_vfork_place(void);
int door_vfork(void);
int door_vfork_child(void);
#define vfork() (setjmp(*door_vfork_place()) ? door_vfork_child() : door_vfork())
int execve(const char *path, char *const argv[], char *const envp[]);
_Noreturn void _exit(int code);
extern char **environ;

typedef void (*door_handler)(int);
#define SIG_DFL ((door_handler)0)
#define SIG_IGN ((door_handler)-2) /* not 1: that is a function's place in the table */
int sigaction(int signo, door_handler handler, unsigned flags, uint64_t mask);

static inline int open(const char *path, int flags, int mode) { return sys_openat(AT_FDCWD, PATH(path), flags, mode); }
static inline int waitpid(int pid, int *status, int options) { return sys_wait4(pid, status, options, 0); }
int sleep_ms(int milliseconds);
int alarm_ms(int milliseconds, int interval);

#define CHECK(CONDITION) \
    do { \
        if (!(CONDITION)) { \
            printf("line %d: %s\n", __LINE__, #CONDITION); \
            fflush(stdout); \
            _exit(1); \
        } \
    } while (0)
/* Compare two numbers, and show both. */
#define SAME(FOUND, WANTED) \
    do { \
        long long same_found = (FOUND), same_wanted = (WANTED); \
        if (same_found != same_wanted) { \
            printf("line %d: %s is %lld, not %lld\n", __LINE__, #FOUND, same_found, same_wanted); \
            fflush(stdout); \
            _exit(1); \
        } \
    } while (0)

struct door_test { const char *name; void (*run)(void); };
int door_main(const struct door_test *tests, int argc, char **argv);
#endif
