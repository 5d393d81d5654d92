"""Reads ext4 images through a buffer, usually an mmap: attributes, names, and where bytes lie.

File content is never copied here: `Inode.runs` say where it is in `Ext4Image.buffer`. Opening
reads the superblock alone; inodes and directories are read when asked for and kept. Images of
ext2, ext3 and ext4 as mke2fs makes them are read: 64-bit, extents or block maps, hashed
directories. Checksums of metadata are not verified: a layer is verified by the digest of the whole
image. Refused: inline data, encryption, meta_bg, a journal that waits for recovery.

The image may be hostile: whatever its bytes, only CorruptImageError comes out, and each call's work
stays in proportion to the image's size. Threads may share an Ext4Image: two may read the same inode
at once, and then keep equal results.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from balenawasm.disk.ext4 import xattrs
from balenawasm.disk.ext4.directory import parse_block
from balenawasm.disk.ext4.errors import CorruptImageError, UnsupportedImageError
from balenawasm.disk.ext4.layout import (
    EXT4_ENCRYPT_FL,
    EXT4_EXTENTS_FL,
    EXT4_GOOD_OLD_INODE_SIZE,
    EXT4_INLINE_DATA_FL,
    EXT4_ROOT_INO,
    FILETYPE_OF_MODE,
    INODE,
    INODE_EXTRA,
    NANOSECONDS,
    Ext4Inode,
    Ext4InodeExtra,
    Filetype,
    decode_rdev,
    decode_time,
)
from balenawasm.disk.ext4.runs import Run, block_map_runs, extent_runs
from balenawasm.disk.ext4.volume import Buffer, read_volume
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Buffer", "Ext4Image", "Filetype", "Inode", "Run"]

PATH_MAX: Final = 4096
"""Bytes of the longest path that `walk` follows; a longer one could not be opened anyway."""
_FAST_SYMLINK_MAX: Final = 59
_NO_EXTRA: Final = Ext4InodeExtra(0, 0, 0, 0, 0, 0, 0, 0, 0)


class Inode(NamedTuple):
    """A file's attributes.

    `mode` is a whole st_mode. `runs` cover exactly `size` bytes of a regular file, directory or
    long symbolic link. `rdev` is (major, minor) of a device, `target` a symbolic link's content.
    """

    ino: int
    mode: int
    uid: int
    gid: int
    nlink: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    rdev: tuple[int, int]
    runs: tuple[Run, ...]
    target: bytes | None


class Ext4Image:
    """An ext4 file system in a buffer, read only. CorruptImageError when it is none."""

    root_ino: Final = EXT4_ROOT_INO

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self._volume = read_volume(buffer)
        self._inodes: dict[int, Inode] = {}
        self._directories: dict[int, dict[bytes, tuple[int, Filetype]]] = {}

    @property
    def uuid(self) -> bytes:
        """The volume's UUID, 16 bytes."""
        return self._volume.uuid

    @property
    def label(self) -> bytes:
        """The volume's name, at most 16 bytes."""
        return self._volume.label

    @property
    def block_size(self) -> int:
        """Bytes in a block."""
        return self._volume.block_size

    def inode(self, ino: int) -> Inode:
        """Return an inode by number; CorruptImageError when there is none in use."""
        inode = self._inodes.get(ino)
        if inode is None:
            inode = self._inodes[ino] = self._read_inode(ino)
        return inode

    def directory(self, ino: int) -> dict[bytes, tuple[int, Filetype]]:
        """Return name → (inode number, type) without `.` and `..`; the caller must not change it.

        The type is what the directory says; the inode's mode is what counts (see `check`).
        """
        names = self._directories.get(ino)
        if names is None:
            names = self._directories[ino] = self._read_directory(ino)
        return names

    def xattrs(self, ino: int) -> dict[bytes, bytes]:
        """Return an inode's extended attributes by full name; ACLs have their on-disk form."""
        volume = self._volume
        offset = volume.inode_offset(ino)
        raw = INODE.unpack(self.buffer, offset)
        found: dict[bytes, bytes] = {}
        block = raw.l_i_file_acl_high << 32 | raw.i_file_acl_lo
        if block:
            where = offset + INODE.offsets["i_file_acl_lo"]
            start = volume.block_range("i_file_acl", block, 1, where)
            found.update(xattrs.parse_block(self.buffer, start, volume.block_size))
        tail = offset + EXT4_GOOD_OLD_INODE_SIZE + self._read_extra(offset).i_extra_isize
        end = offset + volume.inode_size
        if tail < end:
            found.update(xattrs.parse_in_inode(self.buffer, tail, end))
        return found

    def walk(self) -> Iterator[tuple[bytes, int]]:
        """Yield (path, inode number) of everything but the root: parents first, names sorted.

        CorruptImageError when a directory has two names, which is how a loop would look.
        """
        seen = {self.root_ino}
        stack = [(b"", self.root_ino)]
        while stack:
            path, ino = stack.pop()
            if ino != self.root_ino:
                yield path, ino
                if not stat.S_ISDIR(self.inode(ino).mode):
                    continue
                if ino in seen:
                    where = self._volume.inode_offset(ino)
                    raise CorruptImageError("inode", ino, where, "a directory has two names")
                seen.add(ino)
            prefix = path + b"/" if path else b""
            names = self.directory(ino)
            if names and len(prefix) + max(map(len, names)) > PATH_MAX:
                where = self._volume.inode_offset(ino)
                raise CorruptImageError("path", len(prefix), where, f"longer than {PATH_MAX} bytes")
            stack += [(prefix + name, names[name][0]) for name in sorted(names, reverse=True)]

    def _read_inode(self, ino: int) -> Inode:
        offset = self._volume.inode_offset(ino)
        raw = INODE.unpack(self.buffer, offset)
        extra = self._read_extra(offset)
        self._check_in_use(raw, offset)
        size = 0
        rdev = (0, 0)
        runs: tuple[Run, ...] = ()
        target = None
        kind = stat.S_IFMT(raw.i_mode)
        if kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            size = self._size(raw, offset)
            if kind == stat.S_IFLNK:
                runs, target = self._read_target(raw, offset, size)
            else:
                runs = self._runs(raw, offset, size)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            rdev = decode_rdev(raw.i_block)
        return Inode(
            ino=ino,
            mode=raw.i_mode,
            uid=raw.l_i_uid_high << 16 | raw.i_uid,
            gid=raw.l_i_gid_high << 16 | raw.i_gid,
            nlink=raw.i_links_count,
            size=size,
            atime_ns=decode_time(raw.i_atime, extra.i_atime_extra),
            mtime_ns=decode_time(raw.i_mtime, extra.i_mtime_extra),
            ctime_ns=decode_time(raw.i_ctime, extra.i_ctime_extra),
            rdev=rdev,
            runs=runs,
            target=target,
        )

    def _read_extra(self, offset: int) -> Ext4InodeExtra:
        """Return the second part of an inode, with zeros for what is not in use."""
        room = self._volume.inode_size - EXT4_GOOD_OLD_INODE_SIZE
        if room < INODE_EXTRA.size:
            return _NO_EXTRA
        where = offset + EXT4_GOOD_OLD_INODE_SIZE
        extra = INODE_EXTRA.unpack(self.buffer, where)
        if extra.i_extra_isize > room or extra.i_extra_isize & 3:
            problem = f"not a multiple of 4 up to {room}"
            raise CorruptImageError("i_extra_isize", extra.i_extra_isize, where, problem)
        if extra.i_extra_isize < INODE_EXTRA.offsets["i_crtime"]:
            return _NO_EXTRA._replace(i_extra_isize=extra.i_extra_isize)
        for field in ("i_atime_extra", "i_mtime_extra", "i_ctime_extra"):
            if getattr(extra, field) >> 2 >= NANOSECONDS:
                place = where + INODE_EXTRA.offsets[field]
                problem = "more nanoseconds than a second has"
                raise CorruptImageError(field, getattr(extra, field), place, problem)
        return extra

    def _check_in_use(self, raw: Ext4Inode, offset: int) -> None:
        if stat.S_IFMT(raw.i_mode) not in FILETYPE_OF_MODE:
            raise CorruptImageError("i_mode", oct(raw.i_mode), offset, "no known kind of file")
        if raw.i_links_count == 0:
            where = offset + INODE.offsets["i_links_count"]
            raise CorruptImageError("i_links_count", 0, where, "the inode is not in use")
        for flag, what in (
            (EXT4_INLINE_DATA_FL, "inline data is not supported"),
            (EXT4_ENCRYPT_FL, "encrypted files are not supported"),
        ):
            if raw.i_flags & flag:
                where = offset + INODE.offsets["i_flags"]
                raise UnsupportedImageError("i_flags", hex(raw.i_flags), where, what)

    def _size(self, raw: Ext4Inode, offset: int) -> int:
        size = raw.i_size_high << 32 | raw.i_size_lo
        if size > self._volume.block_size << 32:
            where = offset + INODE.offsets["i_size_high"]
            raise CorruptImageError("i_size", size, where, "more than 2**32 blocks")
        return size

    def _runs(self, raw: Ext4Inode, offset: int, size: int) -> tuple[Run, ...]:
        if raw.i_flags & EXT4_EXTENTS_FL:
            return extent_runs(self._volume, offset, size)
        return block_map_runs(self._volume, offset, size)

    def _read_target(self, raw: Ext4Inode, offset: int, size: int) -> tuple[tuple[Run, ...], bytes]:
        """Return a symbolic link's runs, if its target has blocks, and the target."""
        where = offset + INODE.offsets["i_size_lo"]
        if size == 0 or size >= self._volume.block_size:
            raise CorruptImageError("i_size", size, where, "no length for a symbolic link's target")
        runs: tuple[Run, ...] = ()
        target = raw.i_block[:size]
        if raw.i_flags & EXT4_EXTENTS_FL or size > _FAST_SYMLINK_MAX:
            runs = self._runs(raw, offset, size)
            target = b"".join(self._bytes_of(run, where) for run in runs)
        if b"\0" in target:
            raise CorruptImageError("target", ascii(target), where, "contains a zero byte")
        return runs, target

    def _read_directory(self, ino: int) -> dict[bytes, tuple[int, Filetype]]:
        volume = self._volume
        inode = self.inode(ino)
        where = volume.inode_offset(ino)
        if not stat.S_ISDIR(inode.mode):
            raise CorruptImageError("i_mode", oct(inode.mode), where, "not a directory")
        if inode.size % volume.block_size:
            where += INODE.offsets["i_size_lo"]
            raise CorruptImageError("i_size", inode.size, where, "a directory has whole blocks")
        names: dict[bytes, tuple[int, Filetype]] = {}
        for offset, block in self._directory_blocks(inode, where):
            for name, child, filetype in parse_block(block, offset, volume.inodes_count):
                if name in names:
                    raise CorruptImageError("name", ascii(name), offset, "occurs twice")
                names[name] = child, filetype
        if not volume.has_filetype:
            return {
                name: (child, FILETYPE_OF_MODE[stat.S_IFMT(self.inode(child).mode)])
                for name, (child, _) in names.items()
            }
        return names

    def _directory_blocks(self, inode: Inode, where: int) -> Iterator[tuple[int, bytes]]:
        """Yield offset and content of each block of a directory."""
        step = self._volume.block_size
        for run in inode.runs:
            data = self._bytes_of(run, where)
            for start in range(0, run.length, step):
                yield (run.offset or 0) + start, data[start : start + step]

    def _bytes_of(self, run: Run, where: int) -> bytes:
        """Return the bytes of a run of a directory or link, where holes are not allowed."""
        if run.offset is None:
            raise CorruptImageError("hole", run.length, where, "only regular files have holes")
        return self.buffer[run.offset : run.offset + run.length]
