"""Directories whose content does not change, for file systems that the kernel makes up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.vfs.directory import open_directory
from balenawasm.vfs.node import DirEntry, Node, OpenFlags, Stat
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.vfs.description import Description
    from balenawasm.vfs.node import Caller


class FixedDirectory(Node):
    """A directory of fixed content."""

    filetype = Filetype.DIRECTORY

    def __init__(self, stat: Stat, children: Mapping[bytes, Node]) -> None:
        self._stat = stat
        self._children = children

    def stat(self) -> Stat:
        """What it was made with."""
        return self._stat

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """See Node.open."""
        return open_directory(self, flags)

    def lookup(self, caller: Caller, name: bytes) -> Node:
        """See Node.lookup."""
        node = self._children.get(name)
        if node is None:
            raise GuestError(Errno.ENOENT)
        return node

    def entries(self, caller: Caller) -> list[DirEntry]:
        """See Node.entries."""
        return [DirEntry(name, n.stat().ino, n.filetype) for name, n in self._children.items()]
