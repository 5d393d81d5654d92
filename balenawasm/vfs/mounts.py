"""Mount points: a trie of path components beside the tree of nodes, and the directories that exist
only because of one.

A mount is a place (a path from the namespace's root), not a node: the walker carries its position
in the trie along and looks there before it asks the directory. Mounts are made before the first
guest runs and never change afterwards, so the trie needs no lock.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

from balenawasm.record import NamedTuple
from balenawasm.vfs.directory import open_directory
from balenawasm.vfs.node import Caller, DirEntry, Node, OpenFlags, Stat
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balenawasm.vfs.description import Description

PLACEHOLDER_DEVICE = 1
"""`st_dev` of directories that only lead to a mount point; no host or generated device has this
number.
"""

_placeholder_numbers = itertools.count(1)


class Mount(NamedTuple):
    """One line of a guest's `/proc/mounts`."""

    path: bytes
    node: Node | Automount
    source: bytes
    kind: bytes
    options: bytes

    def root(self) -> Node:
        """What is mounted, made if need be."""
        return self.node.made() if isinstance(self.node, Automount) else self.node


class Automount:
    """A file system that is made when somebody first goes there: most programs visit few of them,
    and what makes them is not even imported before.
    """

    __slots__ = ("_lock", "_make", "_node")

    def __init__(self, make: Callable[[], Node]) -> None:
        self._make = make
        self._node: Node | None = None
        self._lock = threading.Lock()

    def made(self) -> Node:
        """The file system's root, the same for every caller."""
        with self._lock:
            if self._node is None:
                self._node = self._make()
            return self._node


class MountPoint:
    """A place in the trie: a mount, or (`node` is None) a place on the way to one, or both."""

    __slots__ = ("children", "node", "number")

    def __init__(self) -> None:
        self.node: Node | Automount | None = None
        self.children: dict[bytes, MountPoint] = {}
        self.number = next(_placeholder_numbers)

    def mounted(self) -> Node | None:
        """What is mounted here, made now if this is its first use."""
        node = self.node
        if isinstance(node, Automount):
            node = self.node = node.made()
        return node

    def reach(self, names: Sequence[bytes]) -> MountPoint:
        """Return the place `names` below this one, making it and those between as needed."""
        place = self
        for name in names:
            place = place.children.setdefault(name, MountPoint())
        return place


class Placeholder(Node):
    """A directory on the way to a mount point that the file system below does not have.

    It looks empty and comes true, by mkdir in the directory it seems to be in, when a guest first
    creates something in it.
    """

    filetype = Filetype.DIRECTORY

    def __init__(self, directory: Node, name: bytes, number: int) -> None:
        self._directory = directory
        self._name = name
        self._number = number

    def stat(self) -> Stat:
        """An empty directory without history."""
        return Stat(PLACEHOLDER_DEVICE, self._number, Filetype.DIRECTORY, 2, 0, 0, 0, 0, mode=0o755)

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """Open for listing."""
        return open_directory(self, flags)

    def lookup(self, caller: Caller, name: bytes) -> Node:
        """What is there since the directory came true; ENOENT before."""
        return self._directory.lookup(caller, self._name).lookup(caller, name)

    def entries(self, caller: Caller) -> list[DirEntry]:
        """What is there since the directory came true; nothing before."""
        try:
            real = self._directory.lookup(caller, self._name)
        except GuestError as error:
            if error.errno is Errno.ENOENT:
                return []
            raise
        return real.entries(caller)

    def create(self, name: bytes, mode: int = 0o644) -> Node:
        """See Node.create."""
        return self.come_true().create(name, mode)

    def mkdir(self, name: bytes, mode: int = 0o755) -> Node:
        """See Node.mkdir."""
        return self.come_true().mkdir(name, mode)

    def symlink(self, name: bytes, target: bytes) -> Node:
        """See Node.symlink."""
        return self.come_true().symlink(name, target)

    def mksocket(self, name: bytes, mode: int = 0o755) -> Node:
        """See Node.mksocket."""
        return self.come_true().mksocket(name, mode)

    def mkfifo(self, name: bytes, mode: int = 0o644) -> Node:
        """See Node.mkfifo."""
        return self.come_true().mkfifo(name, mode)

    def link(self, name: bytes, node: Node) -> None:
        """See Node.link."""
        self.come_true().link(name, node)

    def unlink(self, name: bytes) -> None:
        """See Node.unlink."""
        self._directory.lookup(NOBODY, self._name).unlink(name)

    def rmdir(self, name: bytes) -> None:
        """See Node.rmdir."""
        self._directory.lookup(NOBODY, self._name).rmdir(name)

    def rename(self, name: bytes, directory: Node, new_name: bytes) -> None:
        """See Node.rename."""
        self._directory.lookup(NOBODY, self._name).rename(name, directory, new_name)

    def come_true(self) -> Node:
        """Make the directory, unless it is there by now, and return it."""
        try:
            return self._directory.mkdir(self._name)
        except GuestError as error:
            if error.errno is not Errno.EEXIST:
                raise
        return self._directory.lookup(NOBODY, self._name)


class Nobody:
    """The caller when the kernel itself walks the tree: it has no fds and cannot wait."""

    pid = 0

    def wait(
        self, fds: Sequence[tuple[int, int]], timeout_ns: int | None = None
    ) -> list[tuple[int, int]]:
        """Nothing is ever ready for nobody."""
        return []

    def holds(self, description: Description) -> bool:
        """Nobody holds nothing."""
        return False


NOBODY = Nobody()
