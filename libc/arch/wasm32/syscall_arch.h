/* Linux's system calls, by number, as calls of the door. See src/internal/syscall.h. */
#ifndef _SYSCALL_ARCH_H
#define _SYSCALL_ARCH_H

#include "door.h"

/* Calls that take more than passing arguments on: src/door/. */
hidden long __door_copy_range(int in, long long *from, int out, long long *to, unsigned long count);
hidden long __door_fcntl(int fd, int command, long argument);
hidden long __door_fstatat(int dirfd, const char *path, void *result, int flags);
hidden long __door_fstatfs(int fd, void *result);
hidden long __door_statfs(const char *path, void *result);
hidden long __door_futex(volatile int *word, int operation, int value, const void *timeout);
hidden long __door_getaffinity(unsigned long size, unsigned long *set);
hidden long __door_getrandom(void *buffer, unsigned long length, unsigned flags);
hidden long __door_ioctl(int fd, unsigned request, long argument);
hidden long __door_madvise(char *start, unsigned long length, int advice);
hidden long __door_mprotect(int protection);
hidden long __door_openat(int dirfd, const char *path, int flags, int mode);
hidden long __door_prctl(int option, long argument);
hidden long __door_preadv(int fd, const void *iov, int count, long long offset);
hidden long __door_pwritev(int fd, const void *iov, int count, long long offset);
hidden long __door_prlimit(int pid, int resource, const void *new, void *old);
hidden long __door_priority(int set, int which, int who, int value);
hidden long __door_pselect(int n, void *reading, void *writing, void *other, const void *timeout, const void *mask);
hidden long __door_setid(int first, int second, int third);
hidden long __door_setgroups(unsigned long count, const unsigned *list);
hidden long __door_sigtimedwait(const void *set, void *info, const void *timeout);
hidden long __door_sysinfo(void *info);
hidden long __door_times(void *result);
hidden long __door_truncate(const char *path, long long size);
hidden long __door_waitid(int kind, int id, void *info, int options);

/* Back to the parent of a vfork child: src/process/vfork.c. */
hidden _Noreturn void __vfork_end(int pid);

unsigned long strlen(const char *);

#define __DOOR_AT __attribute__((__always_inline__)) static inline

/* Arguments by what they are. */
#define INT(x) ((int)(x))
#define LONG(x) ((long)(x))
#define SIZE(x) ((unsigned long)(x))
#define POINTER(x) ((void *)(unsigned long)(x))
#define PATH(x) ((const char *)POINTER(x)), ((int)strlen(POINTER(x)))
#define TEXT(x) ((const char *)POINTER(x))

enum { __DOOR_FD_CWD = -100, __DOOR_EPERM = 1, __DOOR_EINVAL = 22, __DOOR_ENOSYS = 38, __DOOR_EOPNOTSUPP = 95 };

/* Files. */
__DOOR_AT long __door_files(long n, long long a, long long b, long long c, long long d, long long e)
{
	switch (n) {
	case SYS_close: return door_close(INT(a));
	case SYS_read: return door_read(INT(a), POINTER(b), SIZE(c));
	case SYS_write: return door_write(INT(a), POINTER(b), SIZE(c));
	case SYS_readv: return door_readv(INT(a), POINTER(b), INT(c));
	case SYS_writev: return door_writev(INT(a), POINTER(b), INT(c));
	case SYS_pread64: return door_pread(INT(a), POINTER(b), SIZE(c), d);
	case SYS_pwrite64: return door_pwrite(INT(a), POINTER(b), SIZE(c), d);
	case SYS_preadv: return __door_preadv(INT(a), POINTER(b), INT(c), d);
	case SYS_pwritev: return __door_pwritev(INT(a), POINTER(b), INT(c), d);
	case SYS_ftruncate: return door_ftruncate(INT(a), b);
	case SYS_truncate: return __door_truncate(TEXT(a), b);
	case SYS_fallocate: return INT(b) ? -__DOOR_EOPNOTSUPP : door_fallocate(INT(a), c, d);
	case SYS_fsync:
	case SYS_syncfs: return door_fsync(INT(a));
	case SYS_fdatasync: return door_fdatasync(INT(a));
	case SYS_sync: return 0; /* nothing waits in this process; the host writes its own files out */
	case SYS_fadvise64:
	case SYS_readahead: return door_fcntl(INT(a), 1, 0) < 0 ? -9 : 0; /* advice */
	case SYS_pipe2: return door_pipe2(INT(b), POINTER(a));
	case SYS_dup: return door_dup(INT(a));
	case SYS_dup3: return door_dup3(INT(a), INT(b), INT(c));
	case SYS_fcntl: return __door_fcntl(INT(a), INT(b), LONG(c));
	case SYS_flock: return door_flock(INT(a), INT(b));
	case SYS_sendfile: return __door_copy_range(INT(b), POINTER(c), INT(a), 0, SIZE(d));
	case SYS_copy_file_range: return __door_copy_range(INT(a), POINTER(b), INT(c), POINTER(d), SIZE(e));
	case SYS_fstat: return door_fstat(INT(a), POINTER(b));
	case SYS_newfstatat: return __door_fstatat(INT(a), TEXT(b), POINTER(c), INT(d));
	case SYS_statfs: return __door_statfs(TEXT(a), POINTER(b));
	case SYS_fstatfs: return __door_fstatfs(INT(a), POINTER(b));
	case SYS_faccessat: return door_faccessat(INT(a), PATH(b), INT(c), 0);
	case SYS_faccessat2: return door_faccessat(INT(a), PATH(b), INT(c), INT(d));
	case SYS_fchmod: return door_fchmod(INT(a), INT(b));
	case SYS_fchmodat: return door_fchmodat(INT(a), PATH(b), INT(c), 0);
	case SYS_fchown: return door_fchown(INT(a), INT(b), INT(c));
	case SYS_fchownat: return door_fchownat(INT(a), PATH(b), INT(c), INT(d), INT(e));
	case SYS_utimensat:
		return POINTER(b) ? door_utimensat(INT(a), PATH(b), POINTER(c), INT(d)) : door_futimens(INT(a), POINTER(c));
	case SYS_umask: return door_umask(INT(a));
	case SYS_openat: return __door_openat(INT(a), TEXT(b), INT(c), INT(d));
	case SYS_mkdirat: return door_mkdirat(INT(a), PATH(b), INT(c));
	case SYS_unlinkat: return door_unlinkat(INT(a), PATH(b), INT(c));
	case SYS_renameat2: return INT(e) ? -__DOOR_EINVAL : door_renameat(INT(a), PATH(b), INT(c), PATH(d));
	case SYS_linkat: return door_linkat(INT(a), PATH(b), INT(c), PATH(d), INT(e));
	case SYS_symlinkat: return door_symlinkat(PATH(a), INT(b), PATH(c));
	case SYS_readlinkat: return door_readlinkat(INT(a), PATH(b), POINTER(c), SIZE(d));
	case SYS_mknodat: return door_mknodat(INT(a), PATH(b), INT(c), d);
	case SYS_chdir: return door_chdir(PATH(a));
	case SYS_fchdir: return door_fchdir(INT(a));
	case SYS_getcwd: return door_getcwd(POINTER(a), SIZE(b));
	case SYS_ioctl:
		/* What stdio asks of every output; the rest would bring all of the terminal's functions. */
		if (__builtin_constant_p(INT(b)) && INT(b) == 0x5413) return door_tcgetwinsize(INT(a), POINTER(c));
		return __door_ioctl(INT(a), (unsigned)b, LONG(c));
	case SYS_getxattr: case SYS_lgetxattr: case SYS_fgetxattr:
	case SYS_setxattr: case SYS_lsetxattr: case SYS_fsetxattr:
	case SYS_listxattr: case SYS_llistxattr: case SYS_flistxattr:
	case SYS_removexattr: case SYS_lremovexattr: case SYS_fremovexattr: return -__DOOR_EOPNOTSUPP;
	}
	return -__DOOR_ENOSYS;
}

/* Sockets, waiting, time. */
__DOOR_AT long __door_network(long n, long long a, long long b, long long c, long long d, long long e, long long f)
{
	switch (n) {
	case SYS_socket: return door_socket(INT(a), INT(b), INT(c));
	case SYS_socketpair: return door_socketpair(INT(a), INT(b), INT(c), POINTER(d));
	case SYS_bind: return door_bind(INT(a), POINTER(b), INT(c));
	case SYS_listen: return door_listen(INT(a), INT(b));
	case SYS_accept: return door_accept4(INT(a), POINTER(b), POINTER(c), 0);
	case SYS_accept4: return door_accept4(INT(a), POINTER(b), POINTER(c), INT(d));
	case SYS_connect: return door_connect(INT(a), POINTER(b), INT(c));
	case SYS_shutdown: return door_shutdown(INT(a), INT(b));
	case SYS_getsockname: return door_getsockname(INT(a), POINTER(b), POINTER(c));
	case SYS_getpeername: return door_getpeername(INT(a), POINTER(b), POINTER(c));
	case SYS_sendto: return door_sendto(INT(a), POINTER(b), SIZE(c), INT(d), POINTER(e), INT(f));
	case SYS_recvfrom: return door_recvfrom(INT(a), POINTER(b), SIZE(c), INT(d), POINTER(e), POINTER(f));
	case SYS_sendmsg: return door_sendmsg(INT(a), POINTER(b), INT(c));
	case SYS_recvmsg: return door_recvmsg(INT(a), POINTER(b), INT(c));
	case SYS_setsockopt: return door_setsockopt(INT(a), INT(b), INT(c), POINTER(d), INT(e));
	case SYS_getsockopt: return door_getsockopt(INT(a), INT(b), INT(c), POINTER(d), POINTER(e));
	case SYS_ppoll: return door_ppoll(POINTER(a), INT(b), POINTER(c), POINTER(d));
	case SYS_pselect6:
		return __door_pselect(INT(a), POINTER(b), POINTER(c), POINTER(d), POINTER(e), POINTER(f));
	case SYS_clock_nanosleep:
		/* CLOCK_BOOTTIME: this kernel does not sleep. */
		return door_clock_nanosleep(INT(a) == 7 ? 1 : INT(a), INT(b), POINTER(c), POINTER(d));
	case SYS_nanosleep: return door_clock_nanosleep(0, 0, POINTER(a), POINTER(b));
	case SYS_futex:
		/* The one thread has nobody to wake. */
		return (INT(b) & 127) == 1 ? 0 : __door_futex(POINTER(a), INT(b), INT(c), POINTER(d));
	}
	return -__DOOR_ENOSYS;
}

/* Processes and signals. */
__DOOR_AT long __door_processes(long n, long long a, long long b, long long c, long long d)
{
	switch (n) {
	case SYS_exit:
	case SYS_exit_group: return door_exit(INT(a));
	case SYS_wait4: return door_wait4(INT(a), POINTER(b), INT(c), POINTER(d));
	case SYS_waitid: return __door_waitid(INT(a), INT(b), POINTER(c), INT(d));
	case SYS_getrusage: return door_getrusage(INT(a), POINTER(b));
	case SYS_times: return __door_times(POINTER(a));
	case SYS_prlimit64: return __door_prlimit(INT(a), INT(b), POINTER(c), POINTER(d));
	case SYS_getpid:
	case SYS_gettid: return door_getpid();
	case SYS_getppid: return door_getppid();
	case SYS_getpgid: return door_getpgid(INT(a));
	case SYS_setpgid: return door_setpgid(INT(a), INT(b));
	case SYS_getsid: return door_getsid(INT(a));
	case SYS_setsid: return door_setsid();
	case SYS_kill: return door_kill(INT(a), INT(b));
	case SYS_tkill: return door_kill(door_getpid(), INT(b)); /* the one thread, whatever its number */
	case SYS_rt_sigprocmask: return door_sigprocmask(INT(a), POINTER(b), POINTER(c));
	case SYS_rt_sigpending: return door_sigpending(POINTER(a));
	case SYS_rt_sigsuspend: return door_sigsuspend(*(const long long *)POINTER(a));
	case SYS_rt_sigtimedwait: return __door_sigtimedwait(POINTER(a), POINTER(b), POINTER(c));
	case SYS_setitimer: return door_setitimer(INT(a), POINTER(b), POINTER(c));
	case SYS_getitimer: return door_getitimer(INT(a), POINTER(b));
	case SYS_prctl: return __door_prctl(INT(a), LONG(b));
	case SYS_getpriority: return __door_priority(0, INT(a), INT(b), 0);
	case SYS_setpriority: return __door_priority(1, INT(a), INT(b), INT(c));
	case SYS_sched_getaffinity: return __door_getaffinity(SIZE(b), POINTER(c));
	case SYS_sched_yield: return wasi_sched_yield() ? -__DOOR_EINVAL : 0;
	}
	return -__DOOR_ENOSYS;
}

/* Users, memory, the system. */
__DOOR_AT long __door_system(long n, long long a, long long b, long long c)
{
	switch (n) {
	case SYS_getuid: case SYS_geteuid: case SYS_getgid: case SYS_getegid:
	case SYS_setfsuid: case SYS_setfsgid: return 0; /* there is root only */
	case SYS_getresuid: case SYS_getresgid:
		*(unsigned *)POINTER(a) = *(unsigned *)POINTER(b) = *(unsigned *)POINTER(c) = 0;
		return 0;
	case SYS_setuid: case SYS_setgid: return __door_setid(INT(a), INT(a), INT(a));
	case SYS_setreuid: case SYS_setregid: return __door_setid(INT(a), INT(b), -1);
	case SYS_setresuid: case SYS_setresgid: return __door_setid(INT(a), INT(b), INT(c));
	case SYS_getgroups:
		if (INT(a) < 0) return -__DOOR_EINVAL;
		if (INT(a)) *(unsigned *)POINTER(b) = 0;
		return 1;
	case SYS_setgroups: return __door_setgroups(SIZE(a), POINTER(b));
	case SYS_uname: return door_uname(POINTER(a));
	case SYS_sysinfo: return __door_sysinfo(POINTER(a));
	case SYS_getrandom: return __door_getrandom(POINTER(a), SIZE(b), (unsigned)c);
	case SYS_madvise: return __door_madvise(POINTER(a), SIZE(b), INT(c));
	case SYS_mprotect: return __door_mprotect(INT(c));
	case SYS_msync: return 0; /* mappings are private, or of files that were not to be written */
	case SYS_munlock: case SYS_munlockall: return 0;
	/* What containers are not allowed to do. */
	case SYS_acct: case SYS_adjtimex: case SYS_capset: case SYS_chroot: case SYS_clock_adjtime:
	case SYS_clock_settime: case SYS_delete_module: case SYS_finit_module: case SYS_init_module:
	case SYS_mlock: case SYS_mlock2: case SYS_mlockall: case SYS_mount: case SYS_pivot_root:
	case SYS_quotactl: case SYS_reboot: case SYS_sched_setaffinity: case SYS_sched_setparam:
	case SYS_sched_setscheduler: case SYS_setdomainname: case SYS_sethostname: case SYS_setns:
	case SYS_settimeofday: case SYS_swapoff: case SYS_swapon: case SYS_syslog: case SYS_umount2:
	case SYS_unshare: case SYS_vhangup: return -__DOOR_EPERM;
	}
	return -__DOOR_ENOSYS;
}

/* One after the other: a number is in one of them, and the others fold to nothing. */
__DOOR_AT long __door(long n, long long a, long long b, long long c, long long d, long long e, long long f)
{
	long r = __door_files(n, a, b, c, d, e);
	if (r == -__DOOR_ENOSYS) r = __door_network(n, a, b, c, d, e, f);
	if (r == -__DOOR_ENOSYS) r = __door_processes(n, a, b, c, d);
	if (r == -__DOOR_ENOSYS) r = __door_system(n, a, b, c);
	return r;
}

#undef INT
#undef LONG
#undef SIZE
#undef POINTER
#undef PATH
#undef TEXT

#endif
