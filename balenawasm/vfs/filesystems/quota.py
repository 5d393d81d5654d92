"""How much an overlay's upper directory may hold, and open files that are counted against it.

Counted are 4096 bytes for every name, and every file's size rounded up to 4096 bytes, whether it
has holes or not: what it could come to take. Markers and unfinished copies are not counted. A file
that was removed while it is open counts until it is closed. What does not fit is ENOSPC; a write
that fits in part is cut short. A directory of a layer that gets a part in the upper directory is
counted but never refused, so that names can always be removed.

Lock order: `lock` is a leaf, taken after the overlay's; it is held over the host's writes, so that
two that make one file grow cannot both be counted short.
"""

from __future__ import annotations

import fcntl
import os
import stat as stat_mode
import threading
from typing import TYPE_CHECKING, Final

from balenawasm.layer.whiteout import is_reserved_name
from balenawasm.vfs.filesystems.hostfile import HostDescription, host_errors, truncate_fd
from balenawasm.vfs.filesystems.seekable import MAX_OFFSET
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import APPEND, Whence

if TYPE_CHECKING:
    from pathlib import Path

    from balenawasm.vfs.description import Buffers, Description
    from balenawasm.vfs.filesystems.hostdir import HostFile
    from balenawasm.vfs.node import Caller, Capacity, Stat

BLOCK: Final = 4096
"""What a name costs, and what sizes are rounded up to."""


def cost(size: int) -> int:
    """What a file of this size counts for."""
    return -(-size // BLOCK) * BLOCK


class _Inode:
    """A file that is open: how often, and whether its last name is gone."""

    __slots__ = ("count", "removed")

    def __init__(self) -> None:
        self.count = 0
        self.removed = False


class Quota:
    """The limit of one upper directory, and what it holds."""

    def __init__(self, limit: int, directory: Path) -> None:
        """Count what is in the directory; it need not exist. OSError."""
        self.limit = limit
        self.lock = threading.Lock()
        self.used = _measure(directory)
        self._open: dict[tuple[int, int], _Inode] = {}

    def limited(self, host: Capacity) -> Capacity:
        """What there is to fill: no more than the host has."""
        free = max(0, self.limit - self.used) // BLOCK
        return host._replace(
            block_size=BLOCK,
            blocks=self.limit // BLOCK,
            free=min(free, host.free * host.block_size // BLOCK),
            available=min(free, host.available * host.block_size // BLOCK),
        )

    # Names.

    def check_name(self) -> None:
        """ENOSPC unless there is room for one more name."""
        if self.used + BLOCK > self.limit:
            raise GuestError(Errno.ENOSPC)

    def add_name(self) -> None:
        """Count a name, which is there already."""
        with self.lock:
            self.used += BLOCK

    def remove_name(self) -> None:
        """A name is gone."""
        with self.lock:
            self.used -= BLOCK

    # Data.

    def reserve(self, size: int) -> None:
        """Count the data of a file that is going to be copied: ENOSPC."""
        with self.lock:
            if self.used + cost(size) > self.limit:
                raise GuestError(Errno.ENOSPC)
            self.used += cost(size)

    def give_back(self, size: int) -> None:
        """The copy failed."""
        with self.lock:
            self.used -= cost(size)

    def resize(self, fd: int, size: int) -> None:
        """Set an open file's size: EINVAL, EFBIG, ENOSPC, and what the host answers."""
        with self.lock:
            with host_errors:
                before = os.fstat(fd).st_size
            if 0 <= size <= MAX_OFFSET:
                self.fit(cost(size) - cost(before))
            truncate_fd(fd, size)
            self.used += cost(size) - cost(before)

    def truncate(self, file: HostFile, size: int) -> None:
        """Set the size of a file that is not open."""
        description = file.open_file(OpenFlags(write=True))
        try:
            self.resize(description.fd, size)
        finally:
            description.close()

    def removed(self, stat: Stat) -> None:
        """A name of this file is about to go; with the last one, and when nobody has it open, its
        data.
        """
        if stat.nlink > 1:
            return
        with self.lock:
            inode = self._open.get((stat.dev, stat.ino))
            if inode is not None:
                inode.removed = True
            else:
                self.used -= cost(stat.size)

    def opened(self, description: HostDescription, flags: OpenFlags) -> Description:
        """Count what is done with an open file; answers the description to use."""
        fd, description.fd = description.fd, -1
        assert description.node is not None  # noqa: S101 - it was opened by name
        return _CountedFile(description, flags, fd, self)

    # For open files.

    def hold(self, fd: int) -> tuple[int, int]:
        """A file is open once more; answers what it is known by."""
        status = os.fstat(fd)
        key = (status.st_dev, status.st_ino)
        with self.lock:
            self._open.setdefault(key, _Inode()).count += 1
        return key

    def let_go(self, key: tuple[int, int], fd: int) -> None:
        """A description is about to close its fd."""
        with self.lock:
            inode = self._open[key]
            inode.count -= 1
            if inode.count == 0:
                del self._open[key]
                if inode.removed:
                    self.used -= cost(os.fstat(fd).st_size)

    def room(self, size: int, start: int, length: int) -> int:
        """How much of `length` bytes at `start` fits a file of `size`: ENOSPC for nothing of it."""
        most = cost(size) + max(0, self.limit - self.used) // BLOCK * BLOCK
        if start + length <= most:
            return length
        if start >= most:
            raise GuestError(Errno.ENOSPC)
        return most - start

    def fit(self, more: int) -> None:
        """ENOSPC unless there is room for more. The lock is held."""
        if more > 0 and self.used + more > self.limit:
            raise GuestError(Errno.ENOSPC)


class _CountedFile(HostDescription):
    """An open file of the upper directory; reads are the host's own."""

    def __init__(self, opened: HostDescription, flags: OpenFlags, fd: int, quota: Quota) -> None:
        assert opened.node is not None  # noqa: S101 - it was opened by name
        super().__init__(opened.node, flags, fd)
        self.identity = opened.identity
        self._quota = quota
        self._key = quota.hold(fd)

    def close(self) -> None:
        """Close the host fd."""
        if self.fd >= 0:
            self._quota.let_go(self._key, self.fd)
        super().close()

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """See HostDescription.write; ENOSPC at the limit."""
        if not self.writable:
            raise GuestError(Errno.EBADF)
        return self._write(caller, buffers, None)

    def pwrite(self, caller: Caller, buffers: Buffers, offset: int) -> int:
        """See HostDescription.pwrite; ENOSPC at the limit."""
        if not self.writable:
            raise GuestError(Errno.EBADF)
        return self._write(caller, buffers, offset)

    def truncate(self, size: int) -> None:
        """See HostDescription.truncate; ENOSPC at the limit."""
        if not self.writable:
            raise GuestError(Errno.EINVAL)
        self._quota.resize(self.fd, size)

    def allocate(self, offset: int, length: int) -> None:
        """See HostDescription.allocate; ENOSPC without having done anything."""
        quota = self._quota
        with quota.lock:
            before = os.fstat(self.fd).st_size
            end = max(before, offset + max(0, length))
            if end <= MAX_OFFSET:
                quota.fit(cost(end) - cost(before))
            super().allocate(offset, length)
            quota.used += cost(os.fstat(self.fd).st_size) - cost(before)

    def _write(self, caller: Caller, buffers: Buffers, offset: int | None) -> int:
        total = sum(len(buffer) for buffer in buffers)
        quota = self._quota
        with quota.lock:
            with host_errors:
                size = os.fstat(self.fd).st_size
                start = self._start(size, offset)
            if size < start + total <= MAX_OFFSET:
                buffers = _first(buffers, quota.room(size, start, total))
            if offset is None:
                written = super().write(caller, buffers)
            else:
                written = super().pwrite(caller, buffers, offset)
            if start + written > size:
                quota.used += cost(start + written) - cost(size)
        return written

    def _start(self, size: int, offset: int | None) -> int:
        """Where a write begins; an appending one at the end, as on Linux."""
        if self.flags & APPEND or fcntl.fcntl(self.fd, fcntl.F_GETFL) & os.O_APPEND:
            return size
        return os.lseek(self.fd, 0, Whence.CUR) if offset is None else offset


def _first(buffers: Buffers, limit: int) -> Buffers:
    """The first `limit` bytes of the buffers."""
    taken = []
    for buffer in buffers:
        taken.append(buffer[:limit])
        limit -= len(taken[-1])
        if limit <= 0:
            break
    return taken


def _measure(directory: Path) -> int:
    """What a directory holds. Files with several names count once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    pending = [os.fsencode(directory)]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except FileNotFoundError:
            continue
        for entry in entries:
            if is_reserved_name(entry.name):
                continue
            total += BLOCK
            status = entry.stat(follow_symlinks=False)
            if stat_mode.S_ISDIR(status.st_mode):
                pending.append(entry.path)
            elif stat_mode.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
                total += cost(status.st_size)
                if status.st_nlink > 1:
                    seen.add((status.st_dev, status.st_ino))
    return total
