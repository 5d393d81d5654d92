"""A layer image as a read-only file system: a tree of nodes over `disk.ext4.reader`.

File data is never copied but into the guest's buffers: a read is a slice of the image's mmap. Nodes
are made once for each inode and kept, so looking a name up again is one dictionary access.

Whiteouts and opaque directories are shown as what they are in the image; `vfs.filesystems.overlay`
gives them their meaning. Images are checked no further than they are used; a damaged one gives EIO.
Locks: none. The image never changes; two threads that meet a new inode at once agree through
`dict.setdefault`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.disk.ext4.errors import CorruptImageError
from balenawasm.vfs.description import FAST_MAPPED, FastForm
from balenawasm.vfs.directory import open_directory
from balenawasm.vfs.filesystems.anonymous import new_device
from balenawasm.vfs.filesystems.seekable import SeekableDescription, clear
from balenawasm.vfs.node import (
    FILETYPE_OF_MODE,
    MAX_CONTENT,
    Caller,
    Content,
    DirEntry,
    Node,
    OpenFlags,
    Stat,
)
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from balenawasm.disk.ext4.reader import Ext4Image, Inode
    from balenawasm.disk.ext4.reader import Filetype as Ext4Filetype
    from balenawasm.vfs.description import Buffers, Description

_FORMAT_MASK = 0o170000


class ImageFs:
    """The tree of one image. `identity` names its content for ever: the layer's digest."""

    def __init__(self, image: Ext4Image, identity: str) -> None:
        self.image = image
        self.identity = identity
        self.device = new_device()
        self.view = memoryview(image.buffer)
        self._nodes: dict[int, ImageNode] = {}
        self.root: Node = self.node(image.root_ino)

    def node(self, number: int) -> ImageNode:
        """Return the node of an inode number; EIO when the image is damaged there."""
        node = self._nodes.get(number)
        if node is not None:
            return node
        try:
            inode = self.image.inode(number)
        except CorruptImageError:
            raise GuestError(Errno.EIO) from None
        kind = FILETYPE_OF_MODE.get(inode.mode & _FORMAT_MASK, Filetype.UNKNOWN)
        return self._nodes.setdefault(number, _CLASSES.get(kind, ImageNode)(self, inode, kind))


class ImageNode(Node):
    """A file of the image; this class itself serves devices, sockets and FIFOs, which cannot be
    opened.
    """

    def __init__(self, fs: ImageFs, inode: Inode, filetype: Filetype) -> None:
        self.fs = fs
        self.inode = inode
        self.filetype = filetype

    def stat(self) -> Stat:
        """See Node.stat."""
        inode = self.inode
        return Stat(
            self.fs.device,
            inode.ino,
            self.filetype,
            inode.nlink,
            inode.size,
            inode.atime_ns,
            inode.mtime_ns,
            inode.ctime_ns,
            inode.mode & 0o7777,
            inode.uid,
            inode.gid,
            inode.rdev,
        )

    def xattr(self, name: bytes) -> bytes | None:
        """See Node.xattr."""
        try:
            return self.fs.image.xattrs(self.inode.ino).get(name)
        except CorruptImageError:
            raise GuestError(Errno.EIO) from None

    def truncate(self, size: int) -> None:
        """EROFS."""
        raise GuestError(Errno.EROFS)


class ImageLink(ImageNode):
    """A symbolic link."""

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """ELOOP: links are followed, not opened."""
        raise GuestError(Errno.ELOOP)

    def readlink(self, caller: Caller) -> bytes:
        """See Node.readlink."""
        if not self.inode.target:
            raise GuestError(Errno.EIO)
        return self.inode.target


class ImageDirectory(ImageNode):
    """A directory; names found once are kept."""

    def __init__(self, fs: ImageFs, inode: Inode, filetype: Filetype) -> None:
        super().__init__(fs, inode, filetype)
        self._found: dict[bytes, ImageNode] = {}

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """See Node.open."""
        return open_directory(self, flags)

    def lookup(self, caller: Caller, name: bytes) -> Node:
        """See Node.lookup."""
        node = self._found.get(name)
        if node is None:
            entry = self._directory().get(name)
            if entry is None:
                raise GuestError(Errno.ENOENT)
            node = self._found[name] = self.fs.node(entry[0])
        return node

    def entries(self, caller: Caller) -> list[DirEntry]:
        """See Node.entries."""
        node = self.fs.node
        return [
            DirEntry(name, number, node(number).filetype)
            for name, (number, _) in self._directory().items()
        ]

    def _directory(self) -> dict[bytes, tuple[int, Ext4Filetype]]:
        try:
            return self.fs.image.directory(self.inode.ino)
        except CorruptImageError:
            raise GuestError(Errno.EIO) from None


class ImageFile(ImageNode):
    """A regular file: its runs as (offset in the file, view of the data or None for a hole,
    length).
    """

    def __init__(self, fs: ImageFs, inode: Inode, filetype: Filetype) -> None:
        super().__init__(fs, inode, filetype)
        self.size = inode.size
        self.runs: list[tuple[int, memoryview | None, int]] = []
        at = 0
        for run in inode.runs:
            data = None if run.offset is None else fs.view[run.offset : run.offset + run.length]
            if data is not None and len(data) != run.length:
                raise GuestError(Errno.EIO)
            self.runs.append((at, data, run.length))
            at += run.length
        whole = self.runs[0][1] if len(self.runs) == 1 else None
        self.whole = whole[: self.size] if whole is not None and len(whole) >= self.size else None

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """See Node.open; EROFS for writing."""
        if flags.write or flags.truncate:
            raise GuestError(Errno.EROFS)
        if self.whole is not None:
            return WholeDescription(self, flags, self.whole)
        return PiecesDescription(self, flags, self)

    def content(self) -> Content:
        """A slice of the image when the file lies in one piece, else a copy (EFBIG above
        MAX_CONTENT).
        """
        if self.whole is not None:
            offset = self.inode.runs[0].offset
            return Content(f"{self.fs.identity}@{offset}+{self.size}", self.whole)
        if self.size > MAX_CONTENT:
            raise GuestError(Errno.EFBIG)
        data = bytearray(self.size)
        self.read_at([memoryview(data)], 0)
        return Content(None, memoryview(data).toreadonly())

    def read_at(self, buffers: Buffers, offset: int) -> int:
        """Copy from `offset` on; holes and what no run covers are zeros."""
        start = offset
        for buffer in buffers:
            if offset >= self.size:
                break
            count = min(len(buffer), self.size - offset)
            self._fill(buffer[:count], offset)
            offset += count
        return offset - start

    def _fill(self, buffer: memoryview, offset: int) -> None:
        end = offset + len(buffer)
        covered = 0
        for at, data, length in self.runs:
            if at + length <= offset:
                continue
            if at >= end:
                break
            begin, stop = max(at, offset), min(at + length, end)
            target = buffer[begin - offset : stop - offset]
            if data is None:
                clear(target)
            else:
                target[:] = data[begin - at : stop - at]
            covered = stop - offset
        if covered < len(buffer):
            clear(buffer[covered:])


class WholeDescription(SeekableDescription):
    """An open file that lies in one piece: reading is copying from a slice."""

    def __init__(self, node: Node, flags: OpenFlags, data: memoryview) -> None:
        super().__init__(node, flags)
        self._data = data
        self._size = len(data)

    @property
    def _offset(self) -> int:
        """The offset; native code has it while it reads the file."""
        fast = self.fast
        return self._own_offset if fast is None or fast.kind != FAST_MAPPED else fast.offset

    @_offset.setter
    def _offset(self, offset: int) -> None:
        self._own_offset = offset
        if self.fast is not None:
            self.fast.offset = offset

    def fast_form(self) -> FastForm | None:
        """See Description.fast_form: only while one fd stands for it, for the offset takes no lock
        there.
        """
        if self._references != 1 or not self.readable:
            return None
        return FastForm(FAST_MAPPED, writable=False, data=self._data, offset=self._offset)

    def forget_fast(self) -> None:
        """See Description.forget_fast."""
        self._own_offset = self._offset
        super().forget_fast()

    def read(self, caller: Caller, buffers: Buffers) -> int:
        """See Description.read. Hot: the common case is one buffer that the file fills."""
        if len(buffers) != 1 or not self.readable:
            return super().read(caller, buffers)
        buffer = buffers[0]
        with self._lock:
            offset = self._offset
            end = offset + len(buffer)
            if end <= self._size:
                buffer[:] = self._data[offset:end]
                self._offset = end
                return end - offset
            count = self.read_at(buffers, offset)
            self._offset += count
            return count

    def read_at(self, buffers: Buffers, offset: int) -> int:
        """See SeekableDescription.read_at."""
        start = offset
        for buffer in buffers:
            if offset >= self._size:
                break
            count = min(len(buffer), self._size - offset)
            buffer[:count] = self._data[offset : offset + count]
            offset += count
        return offset - start

    def size(self) -> int:
        """See SeekableDescription.size."""
        return self._size


class PiecesDescription(SeekableDescription):
    """An open file with holes or in several pieces."""

    def __init__(self, node: Node, flags: OpenFlags, file: ImageFile) -> None:
        super().__init__(node, flags)
        self._file = file

    def read_at(self, buffers: Buffers, offset: int) -> int:
        """See SeekableDescription.read_at."""
        return self._file.read_at(buffers, offset)

    def size(self) -> int:
        """See SeekableDescription.size."""
        return self._file.size


_CLASSES: dict[Filetype, type[ImageNode]] = {
    Filetype.DIRECTORY: ImageDirectory,
    Filetype.REGULAR_FILE: ImageFile,
    Filetype.SYMBOLIC_LINK: ImageLink,
}
