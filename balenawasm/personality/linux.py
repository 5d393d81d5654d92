"""Linux's numbers, as programs of the POSIX door show and use them, and the way from ours to them.

Values of the generic ABI (asm-generic), which x86-64, aarch64 and the C libraries of both share; so
a program's numbers do not depend on the board. The door answers errors as minus these numbers.
"""

from __future__ import annotations

import errno
from typing import Final

from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno

_EPERM: Final = 1

ERRNO: Final[dict[int, int]] = {
    int(name): getattr(errno, name.name, _EPERM) for name in Errno if name is not Errno.SUCCESS
}
"""WASI errno → Linux errno; ENOTCAPABLE, which Linux lacks, is EPERM."""


def answer_of(problem: Errno) -> int:
    """What a call of the door answers for an error: minus the errno, as a u32."""
    return -ERRNO[int(problem)] & 0xFFFF_FFFF


# open(2)
O_ACCMODE: Final = 3
O_RDONLY: Final = 0
O_WRONLY: Final = 1
O_RDWR: Final = 2
O_CREAT: Final = 0o100
O_EXCL: Final = 0o200
O_NOCTTY: Final = 0o400
O_TRUNC: Final = 0o1000
O_APPEND: Final = 0o2000
O_NONBLOCK: Final = 0o4000
O_DSYNC: Final = 0o10000
O_LARGEFILE: Final = 0o100000
O_DIRECTORY: Final = 0o200000
O_NOFOLLOW: Final = 0o400000
O_NOATIME: Final = 0o1000000
O_CLOEXEC: Final = 0o2000000
O_SYNC: Final = 0o4010000
O_KNOWN: Final = (
    O_ACCMODE
    | O_CREAT
    | O_EXCL
    | O_NOCTTY
    | O_TRUNC
    | O_APPEND
    | O_NONBLOCK
    | O_DSYNC
    | O_LARGEFILE
    | O_DIRECTORY
    | O_NOFOLLOW
    | O_NOATIME
    | O_CLOEXEC
    | O_SYNC
)

# *at(2)
AT_FDCWD: Final = 0xFFFF_FF9C
"""-100 as a u32."""
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_EACCESS: Final = 0x200
AT_REMOVEDIR: Final = 0x200
AT_SYMLINK_FOLLOW: Final = 0x400
AT_EMPTY_PATH: Final = 0x1000

R_OK: Final = 4
W_OK: Final = 2
X_OK: Final = 1

UTIME_NOW: Final = 0x3FFF_FFFF
UTIME_OMIT: Final = 0x3FFF_FFFE

# fcntl(2)
F_DUPFD: Final = 0
F_GETFD: Final = 1
F_SETFD: Final = 2
F_GETFL: Final = 3
F_SETFL: Final = 4
F_GETLK: Final = 5
F_SETLK: Final = 6
F_SETLKW: Final = 7
F_DUPFD_CLOEXEC: Final = 1030
F_RDLCK: Final = 0
F_WRLCK: Final = 1
F_UNLCK: Final = 2
FD_CLOEXEC: Final = 1

# ioctl(2)
TIOCGWINSZ: Final = 0x5413
TIOCSWINSZ: Final = 0x5414
FIONREAD: Final = 0x541B
FIONBIO: Final = 0x5421
FIONCLEX: Final = 0x5450
FIOCLEX: Final = 0x5451

# poll(2)
POLLIN: Final = 0x001
POLLPRI: Final = 0x002
POLLOUT: Final = 0x004
POLLERR: Final = 0x008
POLLHUP: Final = 0x010
POLLNVAL: Final = 0x020
POLLRDNORM: Final = 0x040
POLLRDBAND: Final = 0x080
POLLWRNORM: Final = 0x100
POLLWRBAND: Final = 0x200

# wait(2)
WNOHANG: Final = 1
WUNTRACED: Final = 2
WCONTINUED: Final = 8

# getrusage(2), getrlimit(2)
RUSAGE_SELF: Final = 0
RUSAGE_CHILDREN: Final = 0xFFFF_FFFF
RUSAGE_THREAD: Final = 1
RLIM_INFINITY: Final = (1 << 64) - 1
RLIMIT_AS: Final = 9
RLIMIT_DATA: Final = 2
RLIMIT_STACK: Final = 3
RLIMIT_CORE: Final = 4
RLIMIT_NPROC: Final = 6
RLIMIT_NOFILE: Final = 7
RLIMITS: Final = 16

# sigprocmask(2), setitimer(2), clock_nanosleep(2)
SIG_BLOCK: Final = 0
SIG_UNBLOCK: Final = 1
SIG_SETMASK: Final = 2
ITIMER_REAL: Final = 0
TIMER_ABSTIME: Final = 1

# posix_spawn(3), as musl numbers its flags
SPAWN_RESETIDS: Final = 1
SPAWN_SETPGROUP: Final = 2
SPAWN_SETSIGDEF: Final = 4
SPAWN_SETSIGMASK: Final = 8
SPAWN_SETSID: Final = 128

# flock(2)
LOCK_SH: Final = 1
LOCK_EX: Final = 2
LOCK_NB: Final = 4
LOCK_UN: Final = 8


def fdflags_of(flags: int) -> int:
    """WASI fdflags for open(2)'s or F_SETFL's flags."""
    fdflags = w.APPEND if flags & O_APPEND else 0
    if flags & O_NONBLOCK:
        fdflags |= w.NONBLOCK
    if flags & O_SYNC == O_SYNC:
        fdflags |= w.SYNC
    elif flags & O_DSYNC:
        fdflags |= w.DSYNC
    return fdflags


def status_flags_of(fdflags: int) -> int:
    """What F_GETFL shows for WASI fdflags, without the access mode."""
    flags = O_APPEND if fdflags & w.APPEND else 0
    if fdflags & w.NONBLOCK:
        flags |= O_NONBLOCK
    if fdflags & w.SYNC:
        flags |= O_SYNC
    elif fdflags & w.DSYNC:
        flags |= O_DSYNC
    return flags


# socket(2)
AF_UNSPEC: Final = 0
AF_UNIX: Final = 1
AF_INET: Final = 2
AF_INET6: Final = 10
SOCK_STREAM: Final = 1
SOCK_DGRAM: Final = 2
SOCK_SEQPACKET: Final = 5
SOCK_NONBLOCK: Final = O_NONBLOCK
SOCK_CLOEXEC: Final = O_CLOEXEC
SHUT_RD: Final = 0
SHUT_WR: Final = 1
SHUT_RDWR: Final = 2
IPPROTO_TCP: Final = 6
IPPROTO_UDP: Final = 17
SOL_SOCKET: Final = 1
SO_TYPE: Final = 3
SO_ERROR: Final = 4
SO_LINGER: Final = 13
SO_PEERCRED: Final = 17
SO_RCVTIMEO_OLD: Final = 20
SO_SNDTIMEO_OLD: Final = 21
SO_ACCEPTCONN: Final = 30
SO_PROTOCOL: Final = 38
SO_DOMAIN: Final = 39
SO_RCVTIMEO: Final = 66
SO_SNDTIMEO: Final = 67
MSG_PEEK: Final = 0x2
MSG_CTRUNC: Final = 0x8
MSG_TRUNC: Final = 0x20
MSG_DONTWAIT: Final = 0x40
MSG_WAITALL: Final = 0x100
MSG_NOSIGNAL: Final = 0x4000
MSG_CMSG_CLOEXEC: Final = 0x4000_0000
SCM_RIGHTS: Final = 1
