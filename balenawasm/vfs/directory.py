"""The file description of a directory, the same for every file system.

`Namespace.open` binds it to its location, so that mount points show up in it and `..` has the right
inode number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from balenawasm.vfs.description import Buffers, Description
from balenawasm.vfs.node import Caller, DirEntry, Node, OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype, Whence

if TYPE_CHECKING:
    from collections.abc import Callable


class DirectoryDescription(Description):
    """An open directory."""

    filetype = Filetype.DIRECTORY
    writable = False

    def __init__(self, node: Node, flags: int = 0) -> None:
        super().__init__(node, flags)
        self._directory = node
        self._parent = node
        self._children: Callable[[Caller], list[DirEntry]] = node.entries

    def bind(self, parent: Node, children: Callable[[Caller], list[DirEntry]]) -> None:
        """Tell what `..` is here and how to list the directory with its mount points."""
        self._parent = parent
        self._children = children

    def entries(self, caller: Caller) -> list[DirEntry]:
        """All entries as they are now, mount points among them, without `.` and `..`."""
        return self._children(caller)

    def take_listing(self, caller: Caller) -> list[DirEntry]:
        """See Description.take_listing."""
        return [
            DirEntry(b".", self._directory.stat().ino, Filetype.DIRECTORY),
            DirEntry(b"..", self._parent.stat().ino, Filetype.DIRECTORY),
            *self.entries(caller),
        ]

    # The errors are Linux's, but for seek: WASI directories have no offset (the test suite wants
    # EISDIR or EBADF).

    def read(self, caller: Caller, buffers: Buffers) -> int:
        """EISDIR."""
        _refuse(Errno.EISDIR)

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """EBADF: no directory is open for writing."""
        _refuse(Errno.EBADF)

    def pread(self, caller: Caller, buffers: Buffers, offset: int) -> int:
        """EISDIR."""
        _refuse(Errno.EISDIR)

    def pwrite(self, caller: Caller, buffers: Buffers, offset: int) -> int:
        """EBADF: no directory is open for writing."""
        _refuse(Errno.EBADF)

    def seek(self, offset: int, whence: Whence) -> int:
        """EISDIR."""
        _refuse(Errno.EISDIR)

    def allocate(self, offset: int, length: int) -> None:
        """EBADF: no directory is open for writing."""
        _refuse(Errno.EBADF)


def open_directory(node: Node, flags: OpenFlags) -> DirectoryDescription:
    """Open a directory node: what `Node.open` of every directory answers. EISDIR for writing."""
    if flags.write or flags.truncate:
        raise GuestError(Errno.EISDIR)
    return DirectoryDescription(node, flags.fdflags)


def _refuse(errno: Errno) -> NoReturn:
    raise GuestError(errno)
