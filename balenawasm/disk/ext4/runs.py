"""Where a file's bytes lie: reads extent trees and the older block maps of ext2 and ext3.

The image may be hostile. What bounds the work is that extents must come in rising order of file
blocks, that every node below the root of a tree holds at least one, and that a file cannot occupy
more blocks than the image has: a tree that leads to the same node twice is refused at once.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from balenawasm.disk.ext4.errors import CorruptImageError
from balenawasm.disk.ext4.layout import (
    EXT4_EXT_MAGIC,
    EXT4_N_BLOCKS,
    EXT4_NDIR_BLOCKS,
    EXT_INIT_MAX_LEN,
    EXTENT,
    EXTENT_HEADER,
    EXTENT_IDX,
    INODE,
)
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.disk.ext4.volume import Volume

_DEEPEST_TREE: Final = 5
_I_BLOCK_SIZE: Final = 60


class Run(NamedTuple):
    """Bytes of a file that lie together in the image at `offset`; None is a hole, read as zeros."""

    offset: int | None
    length: int


class _Piece(NamedTuple):
    """`blocks` of a file from `logical` on, in the image from `physical` on, or unwritten."""

    logical: int
    physical: int | None
    blocks: int


class _Node(NamedTuple):
    """A node of an extent tree: its place, its length in bytes and its level, None for the root."""

    offset: int
    room: int
    depth: int | None


def extent_runs(volume: Volume, inode_offset: int, size: int) -> tuple[Run, ...]:
    """Return runs that cover `size` bytes of the file with an extent tree in the inode there."""
    return _cover(volume, _extents(volume, inode_offset + INODE.offsets["i_block"]), size)


def block_map_runs(volume: Volume, inode_offset: int, size: int) -> tuple[Run, ...]:
    """Return runs that cover `size` bytes of the file with a block map in the inode there."""
    return _cover(volume, _mapped(volume, inode_offset + INODE.offsets["i_block"], size), size)


def _cover(volume: Volume, pieces: Iterator[_Piece], size: int) -> tuple[Run, ...]:
    """Turn pieces in rising order into runs without gaps, as long as the file; join neighbours."""
    runs: list[Run] = []

    def add(offset: int | None, length: int) -> None:
        if runs:
            last = runs[-1]
            end = None if last.offset is None else last.offset + last.length
            if offset == end:
                runs[-1] = Run(last.offset, last.length + length)
                return
        runs.append(Run(offset, length))

    position = 0
    for logical, physical, blocks in pieces:
        start = logical * volume.block_size
        if start >= size:
            break
        if start > position:
            add(None, start - position)
        length = min(blocks * volume.block_size, size - start)
        add(None if physical is None else physical * volume.block_size, length)
        position = start + length
    if position < size:
        add(None, size - position)
    return tuple(runs)


def _extents(volume: Volume, root: int) -> Iterator[_Piece]:
    """Yield a tree's extents in order of file blocks."""
    stack = [_Node(root, _I_BLOCK_SIZE, None)]
    expected = occupied = 0
    while stack:
        node = stack.pop()
        depth, body = _node_body(volume, node)
        start = node.offset + EXTENT_HEADER.size
        if depth:
            stack += reversed(_children(volume, body, start, depth))
            continue
        for index, extent in enumerate(EXTENT.unpack_each(body)):
            where = start + index * EXTENT.size
            if extent.ee_block < expected:
                problem = f"file block {expected} or a later one comes next"
                raise CorruptImageError("ee_block", extent.ee_block, where, problem)
            written = extent.ee_len <= EXT_INIT_MAX_LEN
            count = extent.ee_len if written else extent.ee_len - EXT_INIT_MAX_LEN
            if count == 0:
                raise CorruptImageError("ee_len", 0, where, "an extent has at least one block")
            first = extent.ee_start_hi << 32 | extent.ee_start_lo
            volume.block_range("ee_start", first, count, where)
            expected = extent.ee_block + count
            occupied += count
            if occupied > volume.blocks_count:
                problem = f"the file has more blocks than the image's {volume.blocks_count}"
                raise CorruptImageError("ee_len", extent.ee_len, where, problem)
            yield _Piece(extent.ee_block, first if written else None, count)


def _node_body(volume: Volume, node: _Node) -> tuple[int, bytes]:
    """Return the depth of a node and its entries' bytes."""
    header = EXTENT_HEADER.unpack(volume.buffer, node.offset)
    if header.eh_magic != EXT4_EXT_MAGIC:
        problem = f"an extent node has {EXT4_EXT_MAGIC:#x} there"
        raise CorruptImageError("eh_magic", hex(header.eh_magic), node.offset, problem)
    where = node.offset + EXTENT_HEADER.offsets["eh_depth"]
    if header.eh_depth > _DEEPEST_TREE:
        problem = f"extent trees have at most {_DEEPEST_TREE} levels"
        raise CorruptImageError("eh_depth", header.eh_depth, where, problem)
    if node.depth is not None and header.eh_depth != node.depth:
        problem = f"its parent says {node.depth}"
        raise CorruptImageError("eh_depth", header.eh_depth, where, problem)
    where = node.offset + EXTENT_HEADER.offsets["eh_entries"]
    length = header.eh_entries * EXTENT.size
    if EXTENT_HEADER.size + length > node.room:
        problem = f"more than fit in {node.room} bytes"
        raise CorruptImageError("eh_entries", header.eh_entries, where, problem)
    if header.eh_entries == 0 and (node.depth is not None or header.eh_depth):
        raise CorruptImageError("eh_entries", 0, where, "only an empty file's root may be empty")
    start = node.offset + EXTENT_HEADER.size
    return header.eh_depth, volume.buffer[start : start + length]


def _children(volume: Volume, body: bytes, start: int, depth: int) -> list[_Node]:
    """Return the nodes that an index node's entries name."""
    nodes = []
    for index, entry in enumerate(EXTENT_IDX.unpack_each(body)):
        leaf = entry.ei_leaf_hi << 32 | entry.ei_leaf_lo
        offset = volume.block_range("ei_leaf", leaf, 1, start + index * EXTENT_IDX.size)
        nodes.append(_Node(offset, volume.block_size, depth - 1))
    return nodes


def _mapped(volume: Volume, i_block: int, size: int) -> Iterator[_Piece]:
    """Yield the blocks of a block map in order; pointers of 0 are holes and yield nothing."""
    fan_out = volume.block_size // 4
    blocks = -(-size // volume.block_size)
    stack: list[tuple[int, int, int, int]] = []  # block, place of its pointer, level, file block
    logical = 0
    pointers = struct.unpack_from(f"<{EXT4_N_BLOCKS}I", volume.buffer, i_block)
    for index, pointer in enumerate(pointers):
        level = max(0, index - EXT4_NDIR_BLOCKS + 1)
        stack.append((pointer, i_block + 4 * index, level, logical))
        logical += fan_out**level
    stack.reverse()
    visited = 0
    while stack:
        block, where, level, logical = stack.pop()
        if block == 0 or logical >= blocks:
            continue
        offset = volume.block_range("i_block", block, 1, where)
        visited += 1
        if visited > volume.blocks_count:
            problem = f"the file has more blocks than the image's {volume.blocks_count}"
            raise CorruptImageError("i_block", block, where, problem)
        if level == 0:
            yield _Piece(logical, block, 1)
            continue
        step = fan_out ** (level - 1)
        below = struct.unpack_from(f"<{fan_out}I", volume.buffer, offset)
        stack += [
            (below[index], offset + 4 * index, level - 1, logical + index * step)
            for index in range(fan_out - 1, -1, -1)
            if below[index]
        ]
