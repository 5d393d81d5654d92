"""The extent trees that the writer makes: every file lies in one piece of the image.

An extent has at most 32,768 blocks (128 MiB). Up to four extents, 512 MiB, stand in the inode;
larger files get up to four leaf blocks of 340 extents: 170 GiB, the largest file.
"""

from __future__ import annotations

from typing import Final

from balenawasm.disk.ext4.layout import (
    EXT4_EXT_MAGIC,
    EXT_INIT_MAX_LEN,
    EXTENT,
    EXTENT_HEADER,
    EXTENT_IDX,
    Ext4Extent,
    Ext4ExtentHeader,
    Ext4ExtentIdx,
)
from balenawasm.record import NamedTuple

_I_BLOCK_SIZE: Final = 60
_IN_INODE: Final = (_I_BLOCK_SIZE - EXTENT_HEADER.size) // EXTENT.size


class ExtentTree(NamedTuple):
    """`i_block` of an inode and the leaf blocks it refers to, in order."""

    i_block: bytes
    leaves: list[bytes]


def _per_leaf(block_size: int) -> int:
    return (block_size - EXTENT_HEADER.size) // EXTENT.size


def largest_file(block_size: int) -> int:
    """Return the greatest number of blocks that a file may have."""
    return _IN_INODE * _per_leaf(block_size) * EXT_INIT_MAX_LEN


def leaves_needed(blocks: int, block_size: int) -> int:
    """Return the number of leaf blocks in the tree of a file with so many blocks."""
    extents = -(-blocks // EXT_INIT_MAX_LEN)
    return 0 if extents <= _IN_INODE else -(-extents // _per_leaf(block_size))


def pack_extents(first: int, blocks: int, first_leaf: int, block_size: int) -> ExtentTree:
    """Return the tree of a file whose blocks start at `first`, with its leaves at `first_leaf`."""
    extents = [
        EXTENT.pack(
            Ext4Extent(
                ee_block=start,
                ee_len=min(EXT_INIT_MAX_LEN, blocks - start),
                ee_start_hi=0,
                ee_start_lo=first + start,
            )
        )
        for start in range(0, blocks, EXT_INIT_MAX_LEN)
    ]
    if len(extents) <= _IN_INODE:
        return ExtentTree(_node(extents, _IN_INODE, 0).ljust(_I_BLOCK_SIZE, b"\0"), [])
    step = _per_leaf(block_size)
    leaves = [
        _node(extents[start : start + step], step, 0).ljust(block_size, b"\0")
        for start in range(0, len(extents), step)
    ]
    indexes = [
        EXTENT_IDX.pack(
            Ext4ExtentIdx(
                ei_block=number * step * EXT_INIT_MAX_LEN,
                ei_leaf_lo=first_leaf + number,
                ei_leaf_hi=0,
                ei_unused=0,
            )
        )
        for number in range(len(leaves))
    ]
    return ExtentTree(_node(indexes, _IN_INODE, 1).ljust(_I_BLOCK_SIZE, b"\0"), leaves)


def _node(entries: list[bytes], most: int, depth: int) -> bytes:
    header = Ext4ExtentHeader(EXT4_EXT_MAGIC, len(entries), most, depth, 0)
    return EXTENT_HEADER.pack(header) + b"".join(entries)
