/* The POSIX door (docs/posix-door.md) and the few functions of WASI preview 1 that are used beside it. Every
   function of the door answers 0 or more, or minus a Linux errno. What nobody calls is not imported. */
#ifndef _INTERNAL_DOOR_H
#define _INTERNAL_DOOR_H

#define DOOR(name) int door_##name
#define FROM_DOOR(name) __attribute__((__import_module__("balenawasm_posix"), __import_name__(#name)))

DOOR(attach)(int version) FROM_DOOR(attach);

DOOR(vfork)(void) FROM_DOOR(vfork);
DOOR(execve)(const char *path, int length, char *const *argv, char *const *envp) FROM_DOOR(execve);
DOOR(exit)(int code) FROM_DOOR(exit);
DOOR(spawn)(const char *path, int length, char *const *argv, char *const *envp,
            const void *actions, int count, const void *attributes) FROM_DOOR(spawn);
DOOR(wait4)(int pid, int *status, int options, void *usage) FROM_DOOR(wait4);
DOOR(getrusage)(int who, void *usage) FROM_DOOR(getrusage);
DOOR(getrlimit)(int resource, void *limit) FROM_DOOR(getrlimit);
DOOR(getpid)(void) FROM_DOOR(getpid);
DOOR(getppid)(void) FROM_DOOR(getppid);
DOOR(getcomm)(char *name) FROM_DOOR(getcomm);
DOOR(setcomm)(const char *name, unsigned long length) FROM_DOOR(setcomm);
DOOR(getpgid)(int pid) FROM_DOOR(getpgid);
DOOR(setpgid)(int pid, int group) FROM_DOOR(setpgid);
DOOR(getsid)(int pid) FROM_DOOR(getsid);
DOOR(setsid)(void) FROM_DOOR(setsid);
DOOR(kill)(int pid, int signo) FROM_DOOR(kill);
DOOR(uname)(void *names) FROM_DOOR(uname);

DOOR(sigaction)(int signo, const void *action, void *old) FROM_DOOR(sigaction);
DOOR(sigprocmask)(int how, const void *set, void *old) FROM_DOOR(sigprocmask);
DOOR(sigpending)(void *set) FROM_DOOR(sigpending);
DOOR(sigsuspend)(long long mask) FROM_DOOR(sigsuspend);
DOOR(sigtimedwait)(long long set, const void *timeout) FROM_DOOR(sigtimedwait);
DOOR(setitimer)(int which, const void *value, void *old) FROM_DOOR(setitimer);
DOOR(getitimer)(int which, void *value) FROM_DOOR(getitimer);

DOOR(close)(int fd) FROM_DOOR(close);
DOOR(read)(int fd, void *buffer, unsigned long length) FROM_DOOR(read);
DOOR(write)(int fd, const void *buffer, unsigned long length) FROM_DOOR(write);
DOOR(readv)(int fd, const void *iov, int count) FROM_DOOR(readv);
DOOR(writev)(int fd, const void *iov, int count) FROM_DOOR(writev);
DOOR(pread)(int fd, void *buffer, unsigned long length, long long offset) FROM_DOOR(pread);
DOOR(pwrite)(int fd, const void *buffer, unsigned long length, long long offset) FROM_DOOR(pwrite);
DOOR(lseek)(int fd, long long offset, int whence, long long *result) FROM_DOOR(lseek);
DOOR(ftruncate)(int fd, long long size) FROM_DOOR(ftruncate);
DOOR(fallocate)(int fd, long long offset, long long length) FROM_DOOR(fallocate);
DOOR(fsync)(int fd) FROM_DOOR(fsync);
DOOR(fdatasync)(int fd) FROM_DOOR(fdatasync);
DOOR(pipe2)(int flags, int *fds) FROM_DOOR(pipe2);
DOOR(dup)(int fd) FROM_DOOR(dup);
DOOR(dup2)(int fd, int target) FROM_DOOR(dup2);
DOOR(dup3)(int fd, int target, int flags) FROM_DOOR(dup3);
DOOR(fcntl)(int fd, int command, long argument) FROM_DOOR(fcntl);
DOOR(ioctl)(int fd, int request, long argument) FROM_DOOR(ioctl);
DOOR(flock)(int fd, int operation) FROM_DOOR(flock);

DOOR(fstat)(int fd, void *result) FROM_DOOR(fstat);
DOOR(fstatat)(int dirfd, const char *path, int length, int flags, void *result) FROM_DOOR(fstatat);
DOOR(statfs)(const char *path, int length, void *result) FROM_DOOR(statfs);
DOOR(fstatfs)(int fd, void *result) FROM_DOOR(fstatfs);
DOOR(faccessat)(int dirfd, const char *path, int length, int mode, int flags) FROM_DOOR(faccessat);
DOOR(fchmod)(int fd, int mode) FROM_DOOR(fchmod);
DOOR(fchmodat)(int dirfd, const char *path, int length, int mode, int flags) FROM_DOOR(fchmodat);
DOOR(fchown)(int fd, int uid, int gid) FROM_DOOR(fchown);
DOOR(fchownat)(int dirfd, const char *path, int length, int uid, int gid, int flags) FROM_DOOR(fchownat);
DOOR(futimens)(int fd, const void *times) FROM_DOOR(futimens);
DOOR(utimensat)(int dirfd, const char *path, int length, const void *times, int flags) FROM_DOOR(utimensat);
DOOR(getdents)(int fd, void *buffer, unsigned long length, long long cookie) FROM_DOOR(getdents);
DOOR(umask)(int mask) FROM_DOOR(umask);

DOOR(openat)(int dirfd, const char *path, int length, int flags, int mode) FROM_DOOR(openat);
DOOR(mkdirat)(int dirfd, const char *path, int length, int mode) FROM_DOOR(mkdirat);
DOOR(unlinkat)(int dirfd, const char *path, int length, int flags) FROM_DOOR(unlinkat);
DOOR(renameat)(int, const char *, int, int, const char *, int) FROM_DOOR(renameat);
DOOR(linkat)(int, const char *, int, int, const char *, int, int flags) FROM_DOOR(linkat);
DOOR(symlinkat)(const char *target, int, int dirfd, const char *path, int) FROM_DOOR(symlinkat);
DOOR(readlinkat)(int dirfd, const char *path, int length, char *buffer, unsigned long size) FROM_DOOR(readlinkat);
DOOR(mknodat)(int dirfd, const char *path, int length, int mode, long long device) FROM_DOOR(mknodat);
DOOR(chdir)(const char *path, int length) FROM_DOOR(chdir);
DOOR(fchdir)(int fd) FROM_DOOR(fchdir);
DOOR(getcwd)(char *buffer, unsigned long size) FROM_DOOR(getcwd);

DOOR(ppoll)(void *fds, int count, const void *timeout, const void *mask) FROM_DOOR(ppoll);
DOOR(clock_nanosleep)(int clock, int flags, const void *request, void *remain) FROM_DOOR(clock_nanosleep);

DOOR(socket)(int family, int kind, int protocol) FROM_DOOR(socket);
DOOR(socketpair)(int family, int kind, int protocol, int *fds) FROM_DOOR(socketpair);
DOOR(bind)(int fd, const void *address, int length) FROM_DOOR(bind);
DOOR(listen)(int fd, int backlog) FROM_DOOR(listen);
DOOR(accept4)(int fd, void *address, void *length, int flags) FROM_DOOR(accept4);
DOOR(connect)(int fd, const void *address, int length) FROM_DOOR(connect);
DOOR(shutdown)(int fd, int how) FROM_DOOR(shutdown);
DOOR(getsockname)(int fd, void *address, void *length) FROM_DOOR(getsockname);
DOOR(getpeername)(int fd, void *address, void *length) FROM_DOOR(getpeername);
DOOR(lookup_name)(const char *name, int length, int family, void *hosts, int count) FROM_DOOR(lookup_name);
DOOR(lookup_address)(const void *address, int length, char *buffer, int size) FROM_DOOR(lookup_address);
DOOR(sendto)(int, const void *, unsigned long, int, const void *address, int) FROM_DOOR(sendto);
DOOR(recvfrom)(int, void *, unsigned long, int, void *address, void *length) FROM_DOOR(recvfrom);
DOOR(sendmsg)(int fd, const void *message, int flags) FROM_DOOR(sendmsg);
DOOR(recvmsg)(int fd, void *message, int flags) FROM_DOOR(recvmsg);
DOOR(setsockopt)(int fd, int level, int option, const void *value, int length) FROM_DOOR(setsockopt);
DOOR(getsockopt)(int fd, int level, int option, void *value, void *length) FROM_DOOR(getsockopt);

DOOR(tcgetattr)(int fd, void *settings) FROM_DOOR(tcgetattr);
DOOR(tcsetattr)(int fd, int when, const void *settings) FROM_DOOR(tcsetattr);
DOOR(tcflush)(int fd, int queue) FROM_DOOR(tcflush);
DOOR(tcgetwinsize)(int fd, void *size) FROM_DOOR(tcgetwinsize);
DOOR(tcsetwinsize)(int fd, const void *size) FROM_DOOR(tcsetwinsize);
DOOR(tcgetpgrp)(int fd) FROM_DOOR(tcgetpgrp);
DOOR(tcsetpgrp)(int fd, int group) FROM_DOOR(tcsetpgrp);
DOOR(tcgetsid)(int fd) FROM_DOOR(tcgetsid);
DOOR(tcsetctty)(int fd) FROM_DOOR(tcsetctty);

/* Preview 1: an errno of WASI's own numbers, 0 for success. */
#define FROM_WASI(name) __attribute__((__import_module__("wasi_snapshot_preview1"), __import_name__(#name)))
int wasi_args_sizes_get(unsigned long *count, unsigned long *size) FROM_WASI(args_sizes_get);
int wasi_args_get(char **argv, char *buffer) FROM_WASI(args_get);
int wasi_environ_sizes_get(unsigned long *count, unsigned long *size) FROM_WASI(environ_sizes_get);
int wasi_environ_get(char **environ, char *buffer) FROM_WASI(environ_get);
int wasi_clock_time_get(int clock, long long precision, unsigned long long *time) FROM_WASI(clock_time_get);
int wasi_clock_res_get(int clock, unsigned long long *resolution) FROM_WASI(clock_res_get);
int wasi_random_get(void *buffer, unsigned long length) FROM_WASI(random_get);
int wasi_sched_yield(void) FROM_WASI(sched_yield);
_Noreturn void wasi_proc_exit(int code) FROM_WASI(proc_exit);

#endif
