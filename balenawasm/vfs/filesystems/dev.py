"""Device files: null(4), zero(4), full(4), random(4), tty(4) and the standard streams.

Read only as a directory: programs can neither make nor remove devices.
"""

from __future__ import annotations

import os
import time
from typing import Final

from balenawasm.vfs.description import Buffers, Description
from balenawasm.vfs.filesystems.anonymous import new_device
from balenawasm.vfs.filesystems.fixed import FixedDirectory
from balenawasm.vfs.filesystems.open_files import FdDirectory, FdLink, own_fds
from balenawasm.vfs.filesystems.process_view import HasSession
from balenawasm.vfs.filesystems.seekable import clear
from balenawasm.vfs.node import Caller, Node, OpenFlags, Stat
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

RANDOM_MAX: Final = (1 << 25) - 1
"""Random bytes that one read gives, as on Linux: a larger one is short, and no kill waits for it.
"""
_RANDOM_CHUNK: Final = 1 << 20
_FIRST_FD_NUMBER: Final = 1 << 32
"""Inode numbers of the links in `fd/` start here."""


class DevFs:
    """The tree of /dev as `root`."""

    def __init__(self) -> None:
        self.device = new_device()
        self._made = time.time_ns()
        children: dict[bytes, Node] = {}
        for number, (name, (kind, rdev)) in enumerate(_DEVICES.items(), 2):
            stat = self._stat(number, Filetype.CHARACTER_DEVICE, 0o666)._replace(rdev=rdev)
            children[name] = DeviceNode(stat, kind)
        next_number = 2 + len(_DEVICES)
        children[b"tty"] = TtyNode(
            self._stat(next_number, Filetype.CHARACTER_DEVICE, 0o666)._replace(rdev=(5, 0))
        )
        children[b"fd"] = FdDirectory(
            self._stat(next_number + 1, Filetype.DIRECTORY, 0o555), own_fds, self._link_stat
        )
        for fd, name in enumerate((b"stdin", b"stdout", b"stderr")):
            stat = self._stat(next_number + 2 + fd, Filetype.SYMBOLIC_LINK, 0o777)
            children[name] = FdLink(stat, fd, own_fds)
        self.root: Node = FixedDirectory(self._stat(1, Filetype.DIRECTORY, 0o755), children)

    def _stat(self, number: int, filetype: Filetype, mode: int) -> Stat:
        made = self._made
        return Stat(self.device, number, filetype, 1, 0, made, made, made, mode)

    def _link_stat(self, fd: int) -> Stat:
        return self._stat(_FIRST_FD_NUMBER + fd, Filetype.SYMBOLIC_LINK, 0o777)


class DeviceNode(Node):
    """A device; `kind` is the class of its descriptions."""

    filetype = Filetype.CHARACTER_DEVICE

    def __init__(self, stat: Stat, kind: type[Null]) -> None:
        self._stat = stat
        self._kind = kind

    def stat(self) -> Stat:
        """What it was made with."""
        return self._stat

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """See Node.open; truncating means nothing here."""
        return self._kind(self, flags)

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        """Nothing: `touch /dev/null` is no error."""


class TtyNode(Node):
    """The caller's terminal: the first of its standard streams that is one, or its session's."""

    filetype = Filetype.CHARACTER_DEVICE

    def __init__(self, stat: Stat) -> None:
        self._stat = stat

    def stat(self) -> Stat:
        """What it was made with."""
        return self._stat

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """The stream's own description; ENXIO when the caller has no terminal."""
        entries = own_fds(caller).entries()
        for fd in range(3):
            entry = entries.get(fd)
            if entry is None or not entry.description.terminal:
                continue
            description = entry.description
            fits = (description.readable or not flags.read) and (
                description.writable or not flags.write
            )
            if fits:
                return description
        terminal = caller.session.terminal if isinstance(caller, HasSession) else None
        if terminal is None:
            raise GuestError(Errno.ENXIO)
        return terminal.open()


class Null(Description):
    """/dev/null, and what the others have in common: never blocks, takes everything."""

    filetype = Filetype.CHARACTER_DEVICE

    def __init__(self, node: Node, flags: OpenFlags) -> None:
        super().__init__(node, flags.fdflags)
        self.readable = flags.read
        self.writable = flags.write

    def fill(self, buffers: Buffers) -> int:
        """Produce data; none means end of file."""
        return 0

    def take(self, count: int) -> int:
        """Consume `count` bytes."""
        return count

    def read(self, caller: Caller, buffers: Buffers) -> int:
        """See Description.read."""
        if not self.readable:
            raise GuestError(Errno.EBADF)
        return self.fill(buffers)

    def pread(self, caller: Caller, buffers: Buffers, offset: int) -> int:
        """As read: a device of this kind has no offset to mind."""
        return self.read(caller, buffers)

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """See Description.write."""
        if not self.writable:
            raise GuestError(Errno.EBADF)
        return self.take(sum(map(len, buffers)))

    def pwrite(self, caller: Caller, buffers: Buffers, offset: int) -> int:
        """As write."""
        return self.write(caller, buffers)


class Zero(Null):
    """/dev/zero."""

    def fill(self, buffers: Buffers) -> int:
        """Zeros without end."""
        for buffer in buffers:
            clear(buffer)
        return sum(map(len, buffers))


class Full(Zero):
    """/dev/full."""

    def take(self, count: int) -> int:
        """ENOSPC."""
        if count:
            raise GuestError(Errno.ENOSPC)
        return 0


class Random(Null):
    """/dev/random and /dev/urandom: the host's."""

    def fill(self, buffers: Buffers) -> int:
        """Random bytes without end, but as on Linux only so many at once."""
        left = RANDOM_MAX
        for buffer in buffers:
            given = buffer[:left]
            for start in range(0, len(given), _RANDOM_CHUNK):
                piece = given[start : start + _RANDOM_CHUNK]
                piece[:] = os.urandom(len(piece))
            left -= len(given)
        return RANDOM_MAX - left


_DEVICES: Final[dict[bytes, tuple[type[Null], tuple[int, int]]]] = {
    b"null": (Null, (1, 3)),
    b"zero": (Zero, (1, 5)),
    b"full": (Full, (1, 7)),
    b"random": (Random, (1, 8)),
    b"urandom": (Random, (1, 9)),
}
"""Name → description and device number (Linux, Documentation/admin-guide/devices.txt)."""
