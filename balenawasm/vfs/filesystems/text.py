"""Files whose content is made when they are opened: `/proc/uptime` and its like.

Each open sees one consistent content, whatever changes afterwards. Their size reads as 0, as in
Linux's procfs: programs read such files until the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.vfs.filesystems.seekable import SeekableDescription, scatter
from balenawasm.vfs.node import Caller, Content, Node, OpenFlags, Stat
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.vfs.description import Buffers, Description


class TextDescription(SeekableDescription):
    """An open generated file, read only."""

    def __init__(self, node: Node, flags: OpenFlags, data: bytes) -> None:
        super().__init__(node, flags)
        self._data = data

    def read_at(self, buffers: Buffers, offset: int) -> int:
        """See SeekableDescription.read_at."""
        return scatter(self._data, buffers, offset)

    def size(self) -> int:
        """The length of what was made at open."""
        return len(self._data)


class TextFile(Node):
    """A read-only file made by `generate(caller)`, which may raise GuestError."""

    filetype = Filetype.REGULAR_FILE

    def __init__(self, stat: Stat, generate: Callable[[Caller], bytes]) -> None:
        self._stat = stat
        self._generate = generate

    def stat(self) -> Stat:
        """What it was made with."""
        return self._stat

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """Make the content; EACCES for writing."""
        if flags.write or flags.truncate:
            raise GuestError(Errno.EACCES)
        return TextDescription(self, flags, self._generate(caller))

    def content(self) -> Content:
        """EACCES: no program is generated."""
        raise GuestError(Errno.EACCES)
