"""Deep check of an ext4 image: reads every name and every inode that has one.

It finds whatever could make reading a file fail later, and what the reader alone would let pass:
blocks that two files share, link counts and types that disagree. Bitmaps, free counts and checksums
say nothing about files and are left to e2fsck.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from balenawasm.disk.ext4.errors import CorruptImageError, ascii_path
from balenawasm.disk.ext4.layout import FILETYPE_OF_MODE, Filetype

if TYPE_CHECKING:
    from balenawasm.disk.ext4.reader import Ext4Image, Inode


@dataclass(frozen=True, slots=True)
class Contents:
    """What an image holds, the root included; `size` adds up regular files' bytes, each once."""

    inodes: int
    size: int


def check_image(image: Ext4Image) -> Contents:
    """Read all of an image but the files' content; CorruptImageError at the first fault.

    Work and memory are in proportion to the image, whatever it says, as no block is read twice.
    """
    claimed = bytearray(len(image.buffer) // image.block_size + 1)
    links: dict[int, int] = {}
    size = 0
    for path, ino in chain([(b"", image.root_ino)], image.walk()):
        inode = image.inode(ino)
        if ino not in links:
            # `walk` reads a directory's blocks after this, so none is read under two names.
            _claim_blocks(image, inode, path, claimed)
            image.xattrs(ino)
            size += inode.size if stat.S_ISREG(inode.mode) else 0
        if stat.S_ISDIR(inode.mode):
            links[ino] = 2 + _check_types(image, ino, path)
        else:
            links[ino] = links.get(ino, 0) + 1
    for ino, found in links.items():
        _check_links(image.inode(ino), found)
    return Contents(len(links), size)


def _claim_blocks(image: Ext4Image, inode: Inode, path: bytes, claimed: bytearray) -> None:
    """Mark the blocks of an inode, each of which no other inode may have; one byte per block."""
    for offset, length in inode.runs:
        if offset is None:
            continue
        first = offset // image.block_size
        end = -(-(offset + length) // image.block_size)
        if claimed.find(1, first, end) >= 0:
            problem = f"another file than {ascii_path(path)} has these {length} bytes too"
            raise CorruptImageError("block", first, offset, problem)
        claimed[first:end] = b"\1" * (end - first)


def _check_types(image: Ext4Image, ino: int, path: bytes) -> int:
    """Compare a directory's word for its files' types with the files'; returns its directories."""
    directories = 0
    for name, (child, said) in image.directory(ino).items():
        filetype = FILETYPE_OF_MODE[stat.S_IFMT(image.inode(child).mode)]
        if said not in (filetype, Filetype.UNKNOWN):
            where = image.inode(ino).runs[0].offset or 0
            problem = f"{name!a} in {ascii_path(path)} has type {filetype.name}"
            raise CorruptImageError("file_type", said.name, where, problem)
        directories += filetype == Filetype.DIR
    return directories


def _check_links(inode: Inode, found: int) -> None:
    # A directory with too many to count says 1 (DIR_NLINK).
    if inode.nlink != found and not (stat.S_ISDIR(inode.mode) and inode.nlink == 1):
        problem = f"inode {inode.ino} has {found} links"
        raise CorruptImageError("i_links_count", inode.nlink, 0, problem)
