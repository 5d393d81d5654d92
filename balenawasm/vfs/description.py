"""File descriptions: open files. Defaults answer the errno that Unix gives for the wrong kind of
file.

A description is shared by every fd that dup or inheritance made of it and counts those; the last
`release` closes it. Buffers are writable (for reads) or readable (for writes) views of guest
memory; an implementation may not keep them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from balenawasm.record import NamedTuple
from balenawasm.vfs.listings import listings
from balenawasm.vfs.node import Caller, DirEntry, Node, Stat
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype, Whence

Buffers = Sequence[memoryview]

_count_lock = threading.Lock()


class FastFile(Protocol):
    """What native code sees of an open file (engine.accelerator)."""

    kind: int
    flags: int
    offset: int


class FastForm(NamedTuple):
    """How native code may use an open file: one of the FAST_ kinds, over a host fd or a mapping."""

    kind: int
    fd: int = -1
    readable: bool = True
    writable: bool = True
    data: memoryview | None = None
    offset: int = 0


# Numbers that engine/accelerator.c knows.
FAST_STREAM: Final = 2
"""Never blocks; a write writes everything."""
FAST_POLITE_STREAM: Final = 3
"""Blocks, so poll is asked first."""
FAST_SOCKET: Final = 4
FAST_LISTENER: Final = 5
"""Only for poll."""
FAST_MAPPED: Final = 6
"""`data`; from then on native code has the offset."""
FAST_HOST_FILE: Final = 7
"""A regular file, whose offset the host has."""
PART: Final = 16 << 20
"""Bytes that the host is asked to move at once: a kill shall not wait for a slow disk."""


class Description:
    """One open file. `flags` are WASI fdflags; `host_fd` is what poll waits on, or -1: always
    ready.
    """

    fast: FastFile | None = None
    """The record that native code has of it, if it ever asked."""

    filetype: Filetype = Filetype.UNKNOWN
    host_fd: int = -1
    at_once: int = 0
    """Events (kernel.poll.READ, WRITE) that are ready whatever `host_fd` says."""
    seekable: bool = False
    readable: bool = True
    writable: bool = True
    """For the access mode in F_GETFL and the rights an fd starts with; read and write themselves
    answer EBADF.
    """
    at_release: Callable[[Description], None] | None = None
    """Called when the last fd has closed it, before `close`."""
    terminal: bool = False
    """A terminal that the user gave (`-t`): what /dev/tty opens."""

    def __init__(self, node: Node | None = None, flags: int = 0) -> None:
        self.node = node
        self._flags = flags
        self._references = 0
        self._closed = False
        self._listing: list[DirEntry] | None = None

    @property
    def flags(self) -> int:
        """WASI fdflags."""
        return self._flags

    @flags.setter
    def flags(self, flags: int) -> None:
        self._flags = flags
        if self.fast is not None:
            self.fast.flags = flags

    def fast_form(self) -> FastForm | None:
        """How native code may read and write it without asking, as things stand; None: not at all.

        A class that answers something calls `forget_fast` when that changes.
        """
        return None

    def forget_fast(self) -> None:
        """Have native code ask again."""
        if self.fast is not None:
            self.fast.kind = 0

    def retain(self) -> None:
        """Count one more fd: EBADF when the last one has closed it meanwhile."""
        with _count_lock:
            if self._closed:
                raise GuestError(Errno.EBADF)
            self._references += 1
            if self.fast is not None:
                self.forget_fast()

    def release(self) -> None:
        """Count one fd less; the last one closes."""
        with _count_lock:
            self._references -= 1
            last = self._closed = self._references == 0
        if last:
            if self._listing is not None:
                listings.forget(self)
            if self.at_release is not None:
                self.at_release(self)
            self.close()

    def close(self) -> None:
        """Give back host resources. Called once."""

    # Data.

    def read(self, caller: Caller, buffers: Buffers) -> int:
        """Read at the current offset, or from the stream; 0 is end of file. May block unless
        NONBLOCK: EAGAIN.
        """
        raise GuestError(Errno.EBADF)

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """Write at the current offset (at the end with APPEND), or to the stream.

        May block unless NONBLOCK.
        """
        raise GuestError(Errno.EBADF)

    def pread(self, caller: Caller, buffers: Buffers, offset: int) -> int:
        """Read at `offset` without moving the current one."""
        raise GuestError(Errno.ESPIPE)

    def pwrite(self, caller: Caller, buffers: Buffers, offset: int) -> int:
        """Write at `offset` without moving the current one."""
        raise GuestError(Errno.ESPIPE)

    def seek(self, offset: int, whence: Whence) -> int:
        """Move the offset; returns it, counted from the start. EINVAL when it would be negative."""
        raise GuestError(Errno.ESPIPE)

    def entries(self, caller: Caller) -> list[DirEntry]:
        """A directory's entries without `.` and `..`."""
        raise GuestError(Errno.ENOTDIR)

    def listing(self, caller: Caller, *, restart: bool) -> list[DirEntry]:
        """`.`, `..` and `entries` as one pass of readdir sees them: a snapshot, taken anew when
        `restart` (cookie 0).

        A position in this list is a sound cookie: removing files between two calls skips nothing.
        """
        listing = self._listing
        if restart or listing is None:
            listing = self._listing = self.take_listing(caller)
            listings.keep(self, len(listing))
        return listing

    def take_listing(self, caller: Caller) -> list[DirEntry]:
        """`.`, `..` and `entries` as they are now."""
        ino = self.stat().ino
        dots = [DirEntry(name, ino, Filetype.DIRECTORY) for name in (b".", b"..")]
        return dots + self.entries(caller)

    def drop_listing(self) -> None:
        """Forget the listing: there are too many (`vfs.listings`)."""
        self._listing = None

    # Attributes.

    def stat(self) -> Stat:
        """The attributes of the file."""
        if self.node is not None:
            return self.node.stat()
        return Stat(0, 0, self.filetype, 1, 0, 0, 0, 0)

    def truncate(self, size: int) -> None:
        """ftruncate(2): EINVAL unless a regular file open for writing."""
        raise GuestError(Errno.EINVAL)

    def allocate(self, offset: int, length: int) -> None:
        """posix_fallocate(3): the file is at least offset+length bytes long afterwards."""
        raise GuestError(Errno.ENOTSUP)

    def sync(self, *, data_only: bool) -> None:
        """fsync(2) or fdatasync(2); a file without durable storage has nothing to do."""

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        """futimens(2), nanoseconds; None leaves that one."""
        if self.node is None:
            raise GuestError(Errno.ENOTSUP)
        self.node.set_times(atim, mtim)

    def set_mode(self, mode: int) -> None:
        """fchmod(2)."""
        if self.node is None:
            raise GuestError(Errno.ENOTSUP)
        self.node.set_mode(mode)

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """fchown(2); None leaves that one."""
        if self.node is None:
            raise GuestError(Errno.ENOTSUP)
        self.node.set_owner(uid, gid)

    def set_flags(self, flags: int) -> None:
        """fcntl(F_SETFL)."""
        self.flags = flags

    # Sockets.

    def accept(self, caller: Caller, flags: int) -> Description:
        """Take the next connection of a listening socket; `flags` become its fdflags."""
        raise GuestError(Errno.ENOTSOCK)

    def recv(self, caller: Caller, buffers: Buffers, *, peek: bool, wait_all: bool) -> int:
        """Receive from a connected socket; 0 is end of stream."""
        raise GuestError(Errno.ENOTSOCK)

    def send(self, caller: Caller, buffers: Buffers) -> int:
        """Send on a connected socket."""
        raise GuestError(Errno.ENOTSOCK)

    def shutdown(self, how: int) -> None:
        """Close one or both directions: SHUT_RD, SHUT_WR of wasi.flags."""
        raise GuestError(Errno.ENOTSOCK)
