"""Reads ext4 images through a buffer, usually an mmap (skeleton: the signatures are final, the bodies follow)."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

Buffer = bytes | mmap.mmap


class Filetype(IntEnum):
    """`ext4_dir_entry_2.file_type`."""

    UNKNOWN = 0
    REG_FILE = 1
    DIR = 2
    CHRDEV = 3
    BLKDEV = 4
    FIFO = 5
    SOCK = 6
    SYMLINK = 7


class Run(NamedTuple):
    """Bytes of a file that lie together in the image at `offset`; None is a hole, which reads as zeros."""

    offset: int | None
    length: int


class Inode(NamedTuple):
    """A file's attributes. `mode` is a whole st_mode; `runs` cover exactly `size` bytes of a regular file or directory."""

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
    """An ext4 file system in a buffer, read only."""

    root_ino = 2

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer

    def inode(self, ino: int) -> Inode:
        """Return an inode by number (cached)."""
        raise NotImplementedError

    def directory(self, ino: int) -> dict[bytes, tuple[int, Filetype]]:
        """Return name → (inode number, type), without `.` and `..` (cached: do not change it)."""
        raise NotImplementedError

    def xattrs(self, ino: int) -> dict[bytes, bytes]:
        """Return extended attributes by full name."""
        raise NotImplementedError

    def walk(self) -> Iterator[tuple[bytes, int]]:
        """Yield (path, inode number) of everything but the root, parents first."""
        raise NotImplementedError
