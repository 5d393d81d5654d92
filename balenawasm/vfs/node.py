"""Nodes: what a name in the file tree stands for, and the contract every file system implements.

Three things are kept apart (see docs/architecture.md): an *fd* is a number in a process's table, a
*file description* is an open file (offset, flags; shared by dup), a *node* is the file itself. A
node's methods answer an errno by default, so a file system implements only what it supports.

Names are bytes, one path component, never empty, never `.` or `..`, without `/` and NUL: `vfs.path`
guarantees that. Times are nanoseconds since 1970. Guests may call from several threads at once: a
file system guards its own state.
"""

from __future__ import annotations

import stat as stat_mode
from typing import TYPE_CHECKING, Final, Protocol

from balenawasm.record import NamedTuple
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balenawasm.vfs.description import Description
    from balenawasm.vfs.location import Location

MODE_OF_FILETYPE = {
    Filetype.DIRECTORY: stat_mode.S_IFDIR,
    Filetype.REGULAR_FILE: stat_mode.S_IFREG,
    Filetype.SYMBOLIC_LINK: stat_mode.S_IFLNK,
    Filetype.CHARACTER_DEVICE: stat_mode.S_IFCHR,
    Filetype.BLOCK_DEVICE: stat_mode.S_IFBLK,
    Filetype.SOCKET_STREAM: stat_mode.S_IFSOCK,
    Filetype.SOCKET_DGRAM: stat_mode.S_IFSOCK,
    Filetype.UNKNOWN: stat_mode.S_IFIFO,
}
FILETYPE_OF_MODE = {
    stat_mode.S_IFDIR: Filetype.DIRECTORY,
    stat_mode.S_IFREG: Filetype.REGULAR_FILE,
    stat_mode.S_IFLNK: Filetype.SYMBOLIC_LINK,
    stat_mode.S_IFCHR: Filetype.CHARACTER_DEVICE,
    stat_mode.S_IFBLK: Filetype.BLOCK_DEVICE,
    stat_mode.S_IFSOCK: Filetype.SOCKET_STREAM,
    stat_mode.S_IFIFO: Filetype.UNKNOWN,
}
"""`S_IFMT` bits → WASI filetype."""


class Stat(NamedTuple):
    """What `filestat` and, for other personalities, `struct stat` are made from.

    `mode` holds permission bits only.
    """

    dev: int
    ino: int
    filetype: Filetype
    nlink: int
    size: int
    atim: int
    mtim: int
    ctim: int
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    rdev: tuple[int, int] = (0, 0)


class DirEntry(NamedTuple):
    """One name in a directory, without `.` and `..`."""

    name: bytes
    ino: int
    filetype: Filetype


class OpenFlags(NamedTuple):
    """How a node is to be opened.

    `truncate` needs `write`; creation happens before, by `Node.create`.
    """

    read: bool = True
    write: bool = False
    truncate: bool = False
    fdflags: int = 0


MAX_CONTENT: Final = 256 << 20
"""Bytes of the largest program that is copied to be loaded; in an image it is used in its place."""


class Content(NamedTuple):
    """A regular file's whole content, for the program loader.

    `identity` names immutable content for ever (`<layer digest>@<offset>+<size>`), or is None when
    the file may change: the loader then hashes `data`. `data` may be a slice of an mmap.
    """

    identity: str | None
    data: memoryview


class Capacity(NamedTuple):
    """How large a file system is and how full, as statvfs(3) has it; zeros where there is nothing
    to fill.
    """

    block_size: int = 4096
    blocks: int = 0
    free: int = 0
    available: int = 0
    """Free blocks that are not root's alone."""
    files: int = 0
    files_free: int = 0
    name_max: int = 255
    read_only: bool = False


class Caller(Protocol):
    """The guest process on whose behalf the kernel works; the VFS knows no more of it than this."""

    @property
    def pid(self) -> int:
        """The process's number; 0 is the kernel itself."""
        ...

    def wait(
        self, fds: Sequence[tuple[int, int]], timeout_ns: int | None = None
    ) -> list[tuple[int, int]]:
        """Block until a host fd is ready or the time is over.

        `fds` are (host fd, select.POLL* mask) pairs; the answer holds those that are ready, and is
        empty on timeout. Raises the kernel's own interruption (never GuestError) when the process
        is killed meanwhile.
        """
        ...

    def holds(self, description: Description) -> bool:
        """Tell whether this process has an fd for the file description."""
        ...


class Node:
    """A file, directory, link or device.

    See the module's docstring for the rules all methods share.
    """

    filetype: Filetype = Filetype.REGULAR_FILE
    shares_sockets: bool = False
    """For a socket: `dev` and `ino` are the host's, and other containers may know the node too."""

    def stat(self) -> Stat:
        """The node's attributes.

        Every file system implements it; dev and ino are stable and name the node.
        """
        raise GuestError(Errno.EIO)

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """Make a file description. EISDIR when a directory is opened for writing."""
        raise GuestError(Errno.EACCES)

    def readlink(self, caller: Caller) -> bytes:
        """A link's target; EINVAL when the node is no link."""
        raise GuestError(Errno.EINVAL)

    def jump(self, caller: Caller) -> Node | Location | None:
        """What is behind a link that is more than its text (`/proc/<pid>/fd/1`), or None: readlink
        says it all. A directory is answered as its location: the mounts below belong to the place.
        """
        return None

    def xattr(self, name: bytes) -> bytes | None:
        """An extended attribute by its full name, or None; only layers of an overlay have any."""
        return None

    def content(self) -> Content:
        """The whole content of a regular file; ENOEXEC-worthy kinds answer EACCES."""
        raise GuestError(Errno.EISDIR if self.filetype == Filetype.DIRECTORY else Errno.EACCES)

    def truncate(self, size: int) -> None:
        """Set the size of a regular file in bytes."""
        raise GuestError(Errno.EINVAL)

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        """Set access and modification time (ns); None leaves that one."""
        raise GuestError(Errno.EROFS)

    def set_mode(self, mode: int) -> None:
        """Set the permission bits (07777). On the host's files set-user-id and set-group-id are
        left out.
        """
        raise GuestError(Errno.EROFS)

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """Set owner and group; None leaves that one. EPERM when the host forbids it."""
        raise GuestError(Errno.EROFS)

    def capacity(self) -> Capacity:
        """The size of the file system that the node is in."""
        return Capacity()

    # Directories only.

    def lookup(self, caller: Caller, name: bytes) -> Node:
        """The entry called `name`; ENOENT when there is none."""
        raise GuestError(Errno.ENOTDIR)

    def entries(self, caller: Caller) -> list[DirEntry]:
        """All entries, in an order that stays the same while the directory does not change."""
        raise GuestError(Errno.ENOTDIR)

    def create(self, name: bytes, mode: int = 0o644) -> Node:
        """Make an empty regular file; EEXIST when the name is taken."""
        raise GuestError(Errno.ENOTDIR if self.filetype != Filetype.DIRECTORY else Errno.EROFS)

    def mkdir(self, name: bytes, mode: int = 0o755) -> Node:
        """Make an empty directory; EEXIST when the name is taken."""
        raise GuestError(Errno.ENOTDIR if self.filetype != Filetype.DIRECTORY else Errno.EROFS)

    def symlink(self, name: bytes, target: bytes) -> Node:
        """Make a symbolic link; EEXIST when the name is taken."""
        raise GuestError(Errno.ENOTDIR if self.filetype != Filetype.DIRECTORY else Errno.EROFS)

    def mkfifo(self, name: bytes, mode: int = 0o644) -> Node:
        """Make a named pipe; EEXIST when the name is taken."""
        raise GuestError(Errno.ENOTDIR if self.filetype != Filetype.DIRECTORY else Errno.EROFS)

    def mksocket(self, name: bytes, mode: int = 0o755) -> Node:
        """Make the node that a Unix socket is named by; EEXIST when the name is taken."""
        raise GuestError(Errno.ENOTDIR if self.filetype != Filetype.DIRECTORY else Errno.EROFS)

    def link(self, name: bytes, node: Node) -> None:
        """Make a hard link to `node`: EXDEV when it is another file system's, EPERM for a
        directory, EEXIST.
        """
        raise GuestError(Errno.ENOTDIR if self.filetype != Filetype.DIRECTORY else Errno.EROFS)

    def unlink(self, name: bytes) -> None:
        """Remove a name that is no directory: ENOENT, EISDIR."""
        raise GuestError(Errno.ENOTDIR if self.filetype != Filetype.DIRECTORY else Errno.EROFS)

    def rmdir(self, name: bytes) -> None:
        """Remove an empty directory: ENOENT, ENOTDIR, ENOTEMPTY."""
        raise GuestError(Errno.ENOTDIR if self.filetype != Filetype.DIRECTORY else Errno.EROFS)

    def rename(self, name: bytes, directory: Node, new_name: bytes) -> None:
        """Move an entry of this directory as Linux does: EXDEV, ENOTEMPTY, EISDIR, ENOTDIR,
        EINVAL (into itself).
        """
        raise GuestError(Errno.ENOTDIR if self.filetype != Filetype.DIRECTORY else Errno.EROFS)
