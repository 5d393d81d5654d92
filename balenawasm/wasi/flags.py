"""Enumerations and flag sets of WASI preview 1 (`phases/snapshot/docs.md`), by their own names.

Plain integers rather than `enum.Flag`: system calls test these bits a million times a second.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Filetype(IntEnum):
    """`filetype`; it has none for pipes, which are shown as UNKNOWN as wasmtime shows them."""

    UNKNOWN = 0
    BLOCK_DEVICE = 1
    CHARACTER_DEVICE = 2
    DIRECTORY = 3
    REGULAR_FILE = 4
    SOCKET_DGRAM = 5
    SOCKET_STREAM = 6
    SYMBOLIC_LINK = 7


class Clockid(IntEnum):
    """`clockid`."""

    REALTIME = 0
    MONOTONIC = 1
    PROCESS_CPUTIME_ID = 2
    THREAD_CPUTIME_ID = 3


class Whence(IntEnum):
    """`whence` of fd_seek."""

    SET = 0
    CUR = 1
    END = 2


class Eventtype(IntEnum):
    """`eventtype` of poll_oneoff."""

    CLOCK = 0
    FD_READ = 1
    FD_WRITE = 2


class Advice(IntEnum):
    """`advice` of fd_advise."""

    NORMAL = 0
    SEQUENTIAL = 1
    RANDOM = 2
    WILLNEED = 3
    DONTNEED = 4
    NOREUSE = 5


# rights
FD_DATASYNC: Final = 1 << 0
FD_READ: Final = 1 << 1
FD_SEEK: Final = 1 << 2
FD_FDSTAT_SET_FLAGS: Final = 1 << 3
FD_SYNC: Final = 1 << 4
FD_TELL: Final = 1 << 5
FD_WRITE: Final = 1 << 6
FD_ADVISE: Final = 1 << 7
FD_ALLOCATE: Final = 1 << 8
PATH_CREATE_DIRECTORY: Final = 1 << 9
PATH_CREATE_FILE: Final = 1 << 10
PATH_LINK_SOURCE: Final = 1 << 11
PATH_LINK_TARGET: Final = 1 << 12
PATH_OPEN: Final = 1 << 13
FD_READDIR: Final = 1 << 14
PATH_READLINK: Final = 1 << 15
PATH_RENAME_SOURCE: Final = 1 << 16
PATH_RENAME_TARGET: Final = 1 << 17
PATH_FILESTAT_GET: Final = 1 << 18
PATH_FILESTAT_SET_SIZE: Final = 1 << 19
PATH_FILESTAT_SET_TIMES: Final = 1 << 20
FD_FILESTAT_GET: Final = 1 << 21
FD_FILESTAT_SET_SIZE: Final = 1 << 22
FD_FILESTAT_SET_TIMES: Final = 1 << 23
PATH_SYMLINK: Final = 1 << 24
PATH_REMOVE_DIRECTORY: Final = 1 << 25
PATH_UNLINK_FILE: Final = 1 << 26
POLL_FD_READWRITE: Final = 1 << 27
SOCK_SHUTDOWN: Final = 1 << 28
SOCK_ACCEPT: Final = 1 << 29
RIGHTS_ALL: Final = (1 << 30) - 1

# fdflags
APPEND: Final = 1 << 0
DSYNC: Final = 1 << 1
NONBLOCK: Final = 1 << 2
RSYNC: Final = 1 << 3
SYNC: Final = 1 << 4
FDFLAGS_ALL: Final = (1 << 5) - 1

# lookupflags
SYMLINK_FOLLOW: Final = 1 << 0

# oflags
O_CREAT: Final = 1 << 0
O_DIRECTORY: Final = 1 << 1
O_EXCL: Final = 1 << 2
O_TRUNC: Final = 1 << 3
OFLAGS_ALL: Final = (1 << 4) - 1

# fstflags
ATIM: Final = 1 << 0
ATIM_NOW: Final = 1 << 1
MTIM: Final = 1 << 2
MTIM_NOW: Final = 1 << 3
FSTFLAGS_ALL: Final = (1 << 4) - 1

# subclockflags
SUBSCRIPTION_CLOCK_ABSTIME: Final = 1 << 0

# eventrwflags
FD_READWRITE_HANGUP: Final = 1 << 0

# riflags, roflags, sdflags
RECV_PEEK: Final = 1 << 0
RECV_WAITALL: Final = 1 << 1
RECV_DATA_TRUNCATED: Final = 1 << 0
SHUT_RD: Final = 1 << 0
SHUT_WR: Final = 1 << 1
