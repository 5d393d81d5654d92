"""Streams: pipes, terminals and files of the host as a guest's open files, over non-blocking host
fds.

Every read and write is tried first; what would block waits through the process, where a signal
interrupts it. A blocking write writes everything, as on Unix, unless it fails half-way: then it
answers what it wrote.

A host fd of our own is set non-blocking. One whose open file the host shares with us is not, for
O_NONBLOCK belongs to the open file and would change it for the shell that gave it to us: there we
ask poll first, and write no more at once than poll promises. (Two guests that read one shared fd
may then steal from each other; the loser blocks in the host until more comes.)
"""

from __future__ import annotations

import fcntl
import itertools
import os
import select
import stat as stat_mode
from typing import TYPE_CHECKING, Final

from balenawasm.vfs.description import (
    FAST_HOST_FILE,
    FAST_POLITE_STREAM,
    FAST_STREAM,
    PART,
    Buffers,
    Description,
    FastForm,
)
from balenawasm.vfs.node import FILETYPE_OF_MODE, Caller, Stat
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import APPEND, NONBLOCK, Filetype, Whence

if TYPE_CHECKING:
    from balenawasm.vfs.node import Node

STREAM_DEV: Final = 0xFFFF_0001
"""`st_dev` of all streams."""
_inodes = itertools.count(1)
_PROMISED: Final = select.PIPE_BUF
"""Bytes that a pipe takes without blocking once poll says it is writable."""


class Stream(Description):
    """A byte stream over a host fd."""

    def __init__(
        self,
        fd: int,
        *,
        filetype: Filetype = Filetype.UNKNOWN,
        owned: bool = True,
        shared: bool = False,
        readable: bool = True,
        writable: bool = True,
        seekable: bool = False,
        node: Node | None = None,
        flags: int = 0,
    ) -> None:
        """`owned`: close the fd at the end. `shared`: the host has its open file too."""
        super().__init__(node, flags)
        self.host_fd = fd
        self.filetype = filetype
        self.readable = readable
        self.writable = writable
        self.seekable = seekable
        self.ino = next(_inodes)
        self._owned = owned
        self._polite = shared and not seekable
        if not shared and not seekable:
            os.set_blocking(fd, False)

    @classmethod
    def inherited(cls, fd: int, *, owned: bool = False) -> Stream:
        """The stream for an fd that the host gave us, such as its standard input: kind and access
        are asked for.
        """
        mode = os.fstat(fd).st_mode
        access = fcntl.fcntl(fd, fcntl.F_GETFL)
        filetype = FILETYPE_OF_MODE.get(stat_mode.S_IFMT(mode), Filetype.UNKNOWN)
        # A character device that can seek is what wasi-libc does not take for a terminal.
        device = stat_mode.S_ISCHR(mode) and not os.isatty(fd)
        return cls(
            fd,
            filetype=filetype,
            owned=owned,
            shared=True,
            readable=access & os.O_ACCMODE != os.O_WRONLY,
            writable=access & os.O_ACCMODE != os.O_RDONLY,
            seekable=stat_mode.S_ISREG(mode) or device,
            flags=APPEND if access & os.O_APPEND else 0,
        )

    def close(self) -> None:
        """Close the host fd, when it is ours."""
        if self._owned:
            os.close(self.host_fd)

    def stat(self) -> Stat:
        """The node's attributes, when it was opened by name; else those of an object of its own."""
        if self.node is not None:
            return self.node.stat()
        if not self.seekable:
            return Stat(STREAM_DEV, self.ino, self.filetype, 1, 0, 0, 0, 0, mode=0o600)
        host = os.fstat(self.host_fd)
        return Stat(
            STREAM_DEV,
            self.ino,
            self.filetype,
            1,
            host.st_size,
            host.st_atime_ns,
            host.st_mtime_ns,
            host.st_ctime_ns,
            mode=0o600,
        )

    def fast_form(self) -> FastForm | None:
        """See Description.fast_form; a subclass that reads or writes otherwise has none."""
        kind = type(self)
        if (kind.read, kind.write, kind._await) != (Stream.read, Stream.write, Stream._await):
            return None
        form = FAST_STREAM
        if self.seekable:
            form = FAST_HOST_FILE
        elif self._polite:
            form = FAST_POLITE_STREAM
        return FastForm(form, self.host_fd, self.readable, self.writable)

    # Data.

    def read(self, caller: Caller, buffers: Buffers) -> int:
        """Read what is there; wait for the first byte unless NONBLOCK."""
        if not self.readable:
            raise GuestError(Errno.EBADF)
        fd = self.host_fd
        if self._polite:
            self._await(caller, select.POLLIN)
        while True:
            try:
                return os.readv(fd, _first(buffers, PART) if self.seekable else buffers)
            except BlockingIOError:
                self._await(caller, select.POLLIN)

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """Write everything; with NONBLOCK what fits now."""
        if not self.writable:
            raise GuestError(Errno.EBADF)
        if not self._polite:
            try:
                written = os.writev(
                    self.host_fd, _first(buffers, PART) if self.seekable else buffers
                )
            except BlockingIOError:
                written = 0
                self._await(caller, select.POLLOUT)
            if self.flags & NONBLOCK and written:
                return written
            buffers = _after(buffers, written)
        else:
            written = 0
        while buffers:
            try:
                self._await(caller, select.POLLOUT)
                count = os.writev(
                    self.host_fd, _first(buffers, _PROMISED if self._polite else PART)
                )
            except BlockingIOError:
                continue
            except (OSError, GuestError):
                if written:
                    return written
                raise
            written += count
            buffers = _after(buffers, count)
        return written

    def _await(self, caller: Caller, events: int) -> None:
        """Wait for the fd; EAGAIN instead of waiting with NONBLOCK."""
        timeout = 0 if self.flags & NONBLOCK else None
        if not caller.wait(((self.host_fd, events),), timeout):
            raise GuestError(Errno.EAGAIN)

    # Files of the host.

    def _seekable_fd(self) -> int:
        if not self.seekable:
            raise GuestError(Errno.ESPIPE)
        return self.host_fd

    def pread(self, caller: Caller, buffers: Buffers, offset: int) -> int:
        """See Description; ESPIPE on a stream."""
        return os.preadv(self._seekable_fd(), buffers, offset)

    def pwrite(self, caller: Caller, buffers: Buffers, offset: int) -> int:
        """See Description; ESPIPE on a stream."""
        return os.pwritev(self._seekable_fd(), buffers, offset)

    def seek(self, offset: int, whence: Whence) -> int:
        """See Description; ESPIPE on a stream."""
        return os.lseek(self._seekable_fd(), offset, whence)

    def truncate(self, size: int) -> None:
        """See Description."""
        if self.filetype != Filetype.REGULAR_FILE or not self.writable:
            raise GuestError(Errno.EINVAL)
        os.ftruncate(self.host_fd, size)

    def sync(self, *, data_only: bool) -> None:
        """See Description."""
        if self.filetype == Filetype.REGULAR_FILE:
            (os.fdatasync if data_only else os.fsync)(self.host_fd)


def _after(buffers: Buffers, count: int) -> Buffers:
    """What is left of the buffers behind their first `count` bytes."""
    for index, buffer in enumerate(buffers):
        if count < len(buffer):
            return [buffer[count:], *buffers[index + 1 :]]
        count -= len(buffer)
    return ()


def _first(buffers: Buffers, limit: int) -> Buffers:
    """The first `limit` bytes of the buffers."""
    taken: list[memoryview] = []
    for buffer in buffers:
        taken.append(buffer[:limit])
        limit -= len(taken[-1])
        if limit == 0:
            break
    return taken
