"""Named pipes and names of Unix sockets in a file system in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.vfs.filesystems.fifo import HiddenFifo
from balenawasm.vfs.filesystems.tmpfs import NODE_COST, Tmpfs, TmpfsNode
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from balenawasm.vfs.description import Description
    from balenawasm.vfs.node import Caller, OpenFlags


class TmpfsFifo(TmpfsNode):
    """A named pipe; what is in it is the host's to keep, and bounded by it."""

    filetype = Filetype.UNKNOWN

    def __init__(self, fs: Tmpfs, mode: int) -> None:
        super().__init__(fs, mode, NODE_COST)
        self._pipe = HiddenFifo()

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """See fifo.open_fifo."""
        return self._pipe.open(self, caller, flags)


class TmpfsSocket(TmpfsNode):
    """The name of a Unix socket (`kernel.local_names`)."""

    filetype = Filetype.SOCKET_STREAM

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """ENXIO: sockets are connected to, not opened."""
        raise GuestError(Errno.ENXIO)
