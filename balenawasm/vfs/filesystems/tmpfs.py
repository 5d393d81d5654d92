"""A file system in memory.

Each file is one bytearray; `size` may be larger than what is stored, so that a file grown by
truncate costs nothing until it is written. Every byte stored, and a flat sum for each file, counts
against the limit: ENOSPC. Like Linux's tmpfs mounted `noatime`, reading does not change the access
time.

Invariants: `Tmpfs.used` is the sum of all files' `cost` and of NODE_COST for each further name; a
file lives as long as it has a name or an open description. Locks: one for the whole file system,
taken last. Data is copied to and from guest buffers under it, because a bytearray must not be
resized while a view of it exists.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

from balenawasm.vfs.directory import open_directory
from balenawasm.vfs.filesystems.anonymous import new_device
from balenawasm.vfs.filesystems.attributes import KeptAttributes
from balenawasm.vfs.filesystems.seekable import MAX_OFFSET, SeekableDescription, clear, scatter
from balenawasm.vfs.node import MAX_CONTENT, Caller, Content, DirEntry, Node, OpenFlags, Stat
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import APPEND, Filetype

if TYPE_CHECKING:
    from balenawasm.vfs.description import Buffers, Description

NODE_COST = 1024
"""Bytes charged for each name besides the data: about what its objects take in this process."""


class Tmpfs:
    """An empty file system that holds up to `limit_bytes`. `root` is its root directory."""

    def __init__(self, limit_bytes: int, *, mode: int = 0o755) -> None:
        self.limit = limit_bytes
        self.used = 0
        self.device = new_device()
        self.lock = threading.RLock()
        self._numbers = itertools.count(1)
        self.root: Node = TmpfsDirectory(self, mode, None)

    def next_number(self) -> int:
        """Return an inode number never used before here."""
        return next(self._numbers)

    def charge(self, size: int) -> None:
        """Count `size` more bytes, or fewer when it is negative; ENOSPC. The lock is held."""
        if size > 0 and self.used + size > self.limit:
            raise GuestError(Errno.ENOSPC)
        self.used += size


class TmpfsNode(KeptAttributes):
    """What all kinds of files share."""

    def __init__(self, fs: Tmpfs, mode: int, cost: int) -> None:
        fs.charge(cost)
        super().__init__(fs, mode)
        self.fs = fs
        self.cost = cost
        self.ino = fs.next_number()
        self.nlink = 1
        self.opened = 0

    def size(self) -> int:
        """The size in bytes."""
        return 0

    def stat(self) -> Stat:
        """See Node.stat."""
        return Stat(
            self.fs.device,
            self.ino,
            self.filetype,
            self.nlink,
            self.size(),
            self.atim,
            self.mtim,
            self.ctim,
            self.mode,
            self.uid,
            self.gid,
        )

    def dropped(self) -> None:
        """Give the memory back once neither a name nor a description is left. The lock is held."""
        if self.nlink == 0 and self.opened == 0:
            self.fs.charge(-self.cost)
            self.cost = 0


class TmpfsFile(TmpfsNode):
    """A regular file."""

    filetype = Filetype.REGULAR_FILE

    def __init__(self, fs: Tmpfs, mode: int) -> None:
        super().__init__(fs, mode, NODE_COST)
        self.data = bytearray()
        self.length = 0

    def size(self) -> int:
        """The size in bytes; what is not stored reads as zeros."""
        return self.length

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """See Node.open."""
        with self.fs.lock:
            if self.nlink == 0 and self.opened == 0:
                raise GuestError(Errno.ENOENT)  # removed between lookup and open
            self.opened += 1
            if flags.truncate:
                self.truncate(0)
        return TmpfsDescription(self, flags)

    def truncate(self, size: int) -> None:
        """See Node.truncate; EINVAL, EFBIG."""
        if size < 0:
            raise GuestError(Errno.EINVAL)
        if size > MAX_OFFSET:
            raise GuestError(Errno.EFBIG)
        with self.fs.lock:
            surplus = len(self.data) - size
            if surplus > 0:
                del self.data[size:]
                self._charge(-surplus)
            self.length = size
            self.changed()

    def read_at(self, buffers: Buffers, offset: int) -> int:
        """Copy from the file into the buffers."""
        with self.fs.lock:
            if offset >= self.length:
                return 0
            if self.length == len(self.data):
                with memoryview(self.data) as view:
                    return scatter(view, buffers, offset)
            return self._read_sparse(buffers, offset)

    def _read_sparse(self, buffers: Buffers, offset: int) -> int:
        start = offset
        for buffer in buffers:
            count = min(len(buffer), self.length - offset)
            if count <= 0:
                break
            with memoryview(self.data) as view:
                stored = scatter(view, [buffer[:count]], offset)
            clear(buffer[stored:count])
            offset += count
        return offset - start

    def write_at(self, buffers: Buffers, offset: int | None) -> tuple[int, int]:
        """Copy the buffers into the file at `offset`, or at its end; returns where it began and how
        many bytes fitted.

        EFBIG, and ENOSPC when not even one byte fits.
        """
        total = sum(map(len, buffers))
        with self.fs.lock:
            begin = self.length if offset is None else offset
            if total == 0:
                return begin, 0
            if begin + total > MAX_OFFSET:
                raise GuestError(Errno.EFBIG)
            end = self._reserve(begin, total)
            offset = begin
            for buffer in buffers:
                count = min(len(buffer), end - offset)
                self._store(buffer if count == len(buffer) else buffer[:count], offset)
                offset += count
            self.length = max(self.length, end)
            self.changed()
            return begin, end - begin

    def allocate(self, offset: int, length: int) -> None:
        """See Description.allocate; ENOSPC without having done anything."""
        if offset < 0 or length <= 0:
            raise GuestError(Errno.EINVAL)
        end = offset + length
        if end > MAX_OFFSET:
            raise GuestError(Errno.EFBIG)
        with self.fs.lock:
            missing = end - len(self.data)
            if missing > 0:
                self._charge(missing)
                self.data.extend(bytes(missing))
            if end > self.length:
                self.length = end
                self.changed()

    def content(self) -> Content:
        """A copy of the file; EFBIG above MAX_CONTENT."""
        with self.fs.lock:
            if self.length > MAX_CONTENT:
                raise GuestError(Errno.EFBIG)
            return Content(None, memoryview(bytes(self.data).ljust(self.length, b"\0")))

    def changed(self) -> None:
        """Note that the content changed. The lock is held."""
        self.mtim = self.ctim = time.time_ns()

    def dropped(self) -> None:
        """See TmpfsNode.dropped."""
        super().dropped()
        if self.cost == 0:
            self.data = bytearray()

    def _charge(self, size: int) -> None:
        self.fs.charge(size)
        self.cost += size

    def _reserve(self, begin: int, total: int) -> int:
        """Charge for as much of [begin, begin + total) as fits and fill a gap before it; returns
        the end.
        """
        stored = len(self.data)
        end = begin + total
        if end > stored:
            end = min(end, stored + self.fs.limit - self.fs.used)
            if end <= begin:
                raise GuestError(Errno.ENOSPC)
            if end > stored:
                self._charge(end - stored)
        if begin > stored:
            self.data.extend(bytes(begin - stored))
        return end

    def _store(self, buffer: memoryview, offset: int) -> None:
        stored = len(self.data)
        inside = min(len(buffer), stored - offset)
        if inside > 0:
            with memoryview(self.data) as view:
                view[offset : offset + inside] = buffer[:inside]
        if inside < len(buffer):
            self.data += buffer[max(0, inside) :]


class TmpfsDescription(SeekableDescription):
    """An open file in memory."""

    def __init__(self, file: TmpfsFile, flags: OpenFlags) -> None:
        super().__init__(file, flags)
        self._file = file

    def close(self) -> None:
        """Let go of the file."""
        with self._file.fs.lock:
            self._file.opened -= 1
            self._file.dropped()

    def read_at(self, buffers: Buffers, offset: int) -> int:
        """See SeekableDescription.read_at."""
        return self._file.read_at(buffers, offset)

    def size(self) -> int:
        """See SeekableDescription.size."""
        return self._file.length

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """See Description.write."""
        self._check_writable()
        with self._lock:
            at = None if self.flags & APPEND else self._offset
            begin, count = self._file.write_at(buffers, at)
            self._offset = begin + count
        return count

    def pwrite(self, caller: Caller, buffers: Buffers, offset: int) -> int:
        """See Description.pwrite; with APPEND at the end, as on Linux."""
        self._check_writable()
        if not 0 <= offset <= MAX_OFFSET:
            raise GuestError(Errno.EINVAL)
        return self._file.write_at(buffers, None if self.flags & APPEND else offset)[1]

    def truncate(self, size: int) -> None:
        """See Description.truncate."""
        if not self.writable:
            raise GuestError(Errno.EINVAL)
        self._file.truncate(size)

    def allocate(self, offset: int, length: int) -> None:
        """See Description.allocate."""
        self._check_writable()
        self._file.allocate(offset, length)

    def _check_writable(self) -> None:
        if not self.writable:
            raise GuestError(Errno.EBADF)


class TmpfsLink(TmpfsNode):
    """A symbolic link."""

    filetype = Filetype.SYMBOLIC_LINK

    def __init__(self, fs: Tmpfs, target: bytes) -> None:
        super().__init__(fs, 0o777, NODE_COST + len(target))
        self.target = target

    def size(self) -> int:
        """The target's length."""
        return len(self.target)

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """ELOOP: links are followed, not opened."""
        raise GuestError(Errno.ELOOP)

    def readlink(self, caller: Caller) -> bytes:
        """See Node.readlink."""
        return self.target


class TmpfsDirectory(TmpfsNode):
    """A directory; its entries keep the order in which they were made."""

    filetype = Filetype.DIRECTORY

    def __init__(self, fs: Tmpfs, mode: int, parent: TmpfsDirectory | None) -> None:
        super().__init__(fs, mode, NODE_COST)
        self.parent = parent
        self.nlink = 2
        self._children: dict[bytes, TmpfsNode] = {}

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
        with self.fs.lock:
            return [DirEntry(name, n.ino, n.filetype) for name, n in self._children.items()]

    def create(self, name: bytes, mode: int = 0o644) -> Node:
        """See Node.create; ENOSPC."""
        with self.fs.lock:
            self._check_free(name)
            return self._add(name, TmpfsFile(self.fs, mode))

    def mkdir(self, name: bytes, mode: int = 0o755) -> Node:
        """See Node.mkdir; ENOSPC."""
        with self.fs.lock:
            self._check_free(name)
            return self._add(name, TmpfsDirectory(self.fs, mode, self))

    def symlink(self, name: bytes, target: bytes) -> Node:
        """See Node.symlink; ENOSPC."""
        with self.fs.lock:
            self._check_free(name)
            return self._add(name, TmpfsLink(self.fs, target))

    def mkfifo(self, name: bytes, mode: int = 0o644) -> Node:
        """See Node.mkfifo; ENOSPC."""
        from balenawasm.vfs.filesystems.tmpfs_fifo import TmpfsFifo  # noqa: PLC0415 - seldom used

        with self.fs.lock:
            self._check_free(name)
            return self._add(name, TmpfsFifo(self.fs, mode))

    def mksocket(self, name: bytes, mode: int = 0o755) -> Node:
        """See Node.mksocket; ENOSPC."""
        from balenawasm.vfs.filesystems.tmpfs_fifo import TmpfsSocket  # noqa: PLC0415 - as above

        with self.fs.lock:
            self._check_free(name)
            return self._add(name, TmpfsSocket(self.fs, mode, NODE_COST))

    def link(self, name: bytes, node: Node) -> None:
        """See Node.link."""
        if not isinstance(node, TmpfsNode) or node.fs is not self.fs:
            raise GuestError(Errno.EXDEV)
        with self.fs.lock:
            self._check_free(name)
            if isinstance(node, TmpfsDirectory):
                raise GuestError(Errno.EPERM)
            if node.nlink == 0:
                raise GuestError(Errno.ENOENT)
            self.fs.charge(NODE_COST)
            node.nlink += 1
            node.ctim = time.time_ns()
            self._add(name, node)

    def unlink(self, name: bytes) -> None:
        """See Node.unlink."""
        with self.fs.lock:
            if isinstance(self._get(name), TmpfsDirectory):
                raise GuestError(Errno.EISDIR)
            self._forget(self._take(name))

    def rmdir(self, name: bytes) -> None:
        """See Node.rmdir."""
        with self.fs.lock:
            node = self._get(name)
            if not isinstance(node, TmpfsDirectory):
                raise GuestError(Errno.ENOTDIR)
            if node.entries_left():
                raise GuestError(Errno.ENOTEMPTY)
            self._forget(self._take(name))

    def rename(self, name: bytes, directory: Node, new_name: bytes) -> None:
        """See Node.rename."""
        if not isinstance(directory, TmpfsDirectory) or directory.fs is not self.fs:
            raise GuestError(Errno.EXDEV)
        with self.fs.lock:
            node = self._get(name)
            directory._check_alive()
            replaced = directory._children.get(new_name)
            if replaced is node:
                return
            _check_replaceable(self, node, directory, replaced)
            if replaced is not None:
                self._forget(directory._take(new_name))
            self._take(name)
            directory._add(new_name, node)
            node.ctim = time.time_ns()

    def entries_left(self) -> bool:
        """Tell whether anything is in it."""
        return bool(self._children)

    # The lock is held in all of these.

    def is_or_is_below(self, other: TmpfsDirectory) -> bool:
        """Tell whether it is `other` or somewhere in it."""
        here: TmpfsDirectory | None = self
        while here is not None and here is not other:
            here = here.parent
        return here is not None

    def _check_alive(self) -> None:
        if self.nlink == 0:
            raise GuestError(Errno.ENOENT)  # removed while somebody was in it

    def _check_free(self, name: bytes) -> None:
        self._check_alive()
        if name in self._children:
            raise GuestError(Errno.EEXIST)

    def _get(self, name: bytes) -> TmpfsNode:
        node = self._children.get(name)
        if node is None:
            raise GuestError(Errno.ENOENT)
        return node

    def _add(self, name: bytes, node: TmpfsNode) -> TmpfsNode:
        self._children[name] = node
        if isinstance(node, TmpfsDirectory):
            node.parent = self
            self.nlink += 1
        self.mtim = self.ctim = time.time_ns()
        return node

    def _take(self, name: bytes) -> TmpfsNode:
        node = self._children.pop(name)
        if isinstance(node, TmpfsDirectory):
            self.nlink -= 1
        self.mtim = self.ctim = time.time_ns()
        return node

    def _forget(self, node: TmpfsNode) -> None:
        if isinstance(node, TmpfsDirectory):
            node.nlink = 0
        else:
            node.nlink -= 1
            if node.nlink:
                self.fs.charge(-NODE_COST)
        node.ctim = time.time_ns()
        node.dropped()


def _check_replaceable(
    old: TmpfsDirectory, node: TmpfsNode, new: TmpfsDirectory, replaced: TmpfsNode | None
) -> None:
    """Raise what Linux answers, in Linux's order, when `node` may not replace it."""
    if isinstance(node, TmpfsDirectory) and new.is_or_is_below(node):
        raise GuestError(Errno.EINVAL)
    if not isinstance(replaced, TmpfsDirectory):
        if replaced is not None and isinstance(node, TmpfsDirectory):
            raise GuestError(Errno.ENOTDIR)
        return
    if old.is_or_is_below(replaced):
        raise GuestError(Errno.ENOTEMPTY)
    if not isinstance(node, TmpfsDirectory):
        raise GuestError(Errno.EISDIR)
    if replaced.entries_left():
        raise GuestError(Errno.ENOTEMPTY)
