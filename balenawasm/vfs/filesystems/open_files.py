"""Directories whose entries are a process's fds (`/proc/<pid>/fd`, `/dev/fd`) and links that lead
to one (`/dev/stdin`).

Opening one's own fd gives the same file description, as if by dup: that works for pipes, sockets
and unlinked files, and `cat /dev/stdin` shares the offset. (Linux opens regular files anew.) Of
other processes only files that have a node can be opened, anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.vfs.directory import open_directory
from balenawasm.vfs.filesystems.process_view import HasFds
from balenawasm.vfs.node import Caller, DirEntry, Node, OpenFlags, Stat
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.vfs.description import Description
    from balenawasm.vfs.filesystems.process_view import FdTableView, FdView
    from balenawasm.vfs.location import Location

MAX_DIGITS = 10


class OpenFile(Node):
    """What a link to an fd leads to: a file that is open already."""

    def __init__(self, description: Description, *, own: bool) -> None:
        self.filetype = description.filetype
        self._description = description
        self._own = own

    def stat(self) -> Stat:
        """The open file's."""
        return self._description.stat()

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """The description itself, or of another process a new one for the same node; EACCES."""
        if self._own and caller.holds(self._description):
            if (flags.read and not self._description.readable) or (
                flags.write and not self._description.writable
            ):
                raise GuestError(Errno.EACCES)
            return self._description
        node = self._description.node
        if node is None:
            raise GuestError(Errno.EACCES)
        return node.open(caller, flags)

    # A directory reached through its fd works as one.

    def lookup(self, caller: Caller, name: bytes) -> Node:
        """See Node.lookup."""
        return self._directory().lookup(caller, name)

    def entries(self, caller: Caller) -> list[DirEntry]:
        """See Node.entries."""
        return self._directory().entries(caller)

    def _directory(self) -> Node:
        node = self._description.node
        if node is None or self.filetype is not Filetype.DIRECTORY:
            raise GuestError(Errno.ENOTDIR)
        return node


class FdLink(Node):
    """A link to fd number `fd` of the process whose table `table(caller)` gives."""

    filetype = Filetype.SYMBOLIC_LINK

    def __init__(self, stat: Stat, fd: int, table: Callable[[Caller], FdTableView]) -> None:
        self._stat = stat
        self._fd = fd
        self._table = table

    def stat(self) -> Stat:
        """The link's own."""
        return self._stat

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """ELOOP: links are followed, not opened."""
        raise GuestError(Errno.ELOOP)

    def readlink(self, caller: Caller) -> bytes:
        """The path it was opened by, or `kind:[inode]` as in proc(5)."""
        return describe(self._entry(caller))

    def jump(self, caller: Caller) -> Node | Location | None:
        """The open file; a directory is where it was opened, below the mounts of that place."""
        entry = self._entry(caller)
        if entry.location is not None and entry.description.filetype is Filetype.DIRECTORY:
            return entry.location
        own = isinstance(caller, HasFds) and self._table(caller) is caller.fds
        return OpenFile(entry.description, own=own)

    def _entry(self, caller: Caller) -> FdView:
        entry = self._table(caller).entries().get(self._fd)
        if entry is None:
            raise GuestError(Errno.ENOENT)
        return entry


class FdDirectory(Node):
    """The fds of the process whose table `table(caller)` gives; `link_stat(fd)` makes a link's
    attributes.
    """

    filetype = Filetype.DIRECTORY

    def __init__(
        self,
        stat: Stat,
        table: Callable[[Caller], FdTableView],
        link_stat: Callable[[int], Stat],
    ) -> None:
        self._stat = stat
        self._table = table
        self._link_stat = link_stat

    def stat(self) -> Stat:
        """The directory's own."""
        return self._stat

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """See Node.open."""
        return open_directory(self, flags)

    def lookup(self, caller: Caller, name: bytes) -> Node:
        """The link for an fd in plain decimal; ENOENT unless it is open."""
        fd = number_of(name)
        if fd is None or fd not in self._table(caller).entries():
            raise GuestError(Errno.ENOENT)
        return FdLink(self._link_stat(fd), fd, self._table)

    def entries(self, caller: Caller) -> list[DirEntry]:
        """One link for each open fd."""
        return [
            DirEntry(b"%d" % fd, self._link_stat(fd).ino, Filetype.SYMBOLIC_LINK)
            for fd in sorted(self._table(caller).entries())
        ]


def own_fds(caller: Caller) -> FdTableView:
    """The caller's own fds: ENXIO when it is no process."""
    if not isinstance(caller, HasFds):
        raise GuestError(Errno.ENXIO)
    return caller.fds


def describe(entry: FdView) -> bytes:
    """How proc(5) names an open file."""
    if entry.location is not None:
        return entry.location.path()
    kind = b"pipe"
    if entry.description.filetype in (Filetype.SOCKET_STREAM, Filetype.SOCKET_DGRAM):
        kind = b"socket"
    elif entry.description.filetype is Filetype.CHARACTER_DEVICE:
        return b"/dev/tty"
    elif entry.description.filetype is Filetype.REGULAR_FILE:
        kind = b"file"
    return b"%s:[%d]" % (kind, entry.description.stat().ino)


def number_of(name: bytes) -> int | None:
    """Parse a pid or fd in plain decimal without leading zeros; None for anything else."""
    if not name.isdigit() or len(name) > MAX_DIGITS or (name[:1] == b"0" and name != b"0"):
        return None
    return int(name)
