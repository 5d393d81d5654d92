"""Descriptions with an offset of their own, for files whose bytes are not behind a host fd.

Lock order: a description's lock before its file system's. The description's lock makes reading and
moving the offset one step, as POSIX asks for descriptions that processes share.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from balenawasm.vfs.description import Buffers, Description
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype, Whence

if TYPE_CHECKING:
    from balenawasm.vfs.node import Caller, Node, OpenFlags

MAX_OFFSET = (1 << 63) - 1
"""Offsets and sizes are signed 64-bit numbers in every interface a guest has."""

_ZEROS = memoryview(bytes(1 << 16))


class SeekableDescription(Description):
    """An open regular file. Subclasses have `read_at` and `size`."""

    filetype = Filetype.REGULAR_FILE
    seekable = True

    def __init__(self, node: Node, flags: OpenFlags) -> None:
        super().__init__(node, flags.fdflags)
        self.readable = flags.read
        self.writable = flags.write
        self._offset = 0
        self._lock = threading.Lock()

    def read_at(self, buffers: Buffers, offset: int) -> int:
        """Fill the buffers from `offset` as far as the file goes; returns the number of bytes."""
        raise NotImplementedError

    def size(self) -> int:
        """The file's size in bytes now."""
        raise NotImplementedError

    def read(self, caller: Caller, buffers: Buffers) -> int:
        """See Description.read; EBADF unless opened for reading."""
        if not self.readable:
            raise GuestError(Errno.EBADF)
        with self._lock:
            count = self.read_at(buffers, self._offset)
            self._offset += count
        return count

    def pread(self, caller: Caller, buffers: Buffers, offset: int) -> int:
        """See Description.pread; EBADF unless opened for reading."""
        if not self.readable:
            raise GuestError(Errno.EBADF)
        if not 0 <= offset <= MAX_OFFSET:
            raise GuestError(Errno.EINVAL)
        return self.read_at(buffers, offset)

    def pwrite(self, caller: Caller, buffers: Buffers, offset: int) -> int:
        """EBADF: read only, unless a subclass writes."""
        raise GuestError(Errno.EBADF)

    def allocate(self, offset: int, length: int) -> None:
        """EBADF: read only, unless a subclass writes."""
        raise GuestError(Errno.EBADF)

    def seek(self, offset: int, whence: Whence) -> int:
        """See Description.seek; beyond the end is allowed."""
        with self._lock:
            if whence == Whence.CUR:
                offset += self._offset
            elif whence == Whence.END:
                offset += self.size()
            if not 0 <= offset <= MAX_OFFSET:
                raise GuestError(Errno.EINVAL)
            self._offset = offset
        return offset


def clear(buffer: memoryview) -> None:
    """Fill a buffer with zeros; guests choose its size, so none of that size is made to copy."""
    for start in range(0, len(buffer), len(_ZEROS)):
        piece = buffer[start : start + len(_ZEROS)]
        piece[:] = _ZEROS[: len(piece)]


def scatter(data: bytes | bytearray | memoryview, buffers: Buffers, offset: int) -> int:
    """Copy `data` from `offset` on into the buffers, as far as either goes; returns the number of
    bytes.
    """
    start = offset
    end = len(data)
    for buffer in buffers:
        count = min(len(buffer), end - offset)
        if count <= 0:
            continue
        buffer[:count] = data[offset : offset + count]
        offset += count
    return offset - start
