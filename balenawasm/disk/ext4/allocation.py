"""The writer's second step: the place of everything, fixed before the first byte is written.

    block 0            boot sector and superblock
    then               group descriptors, block bitmaps, inode bitmaps, inode tables of all groups
    then, by inode     blocks of extended attributes and extent leaves
    then, by inode     directories and long symbolic links
    then, by inode     content of regular files, each in one piece

FLEX_BG allows the metadata of all groups to stand in front, and SPARSE_SUPER2 to have no backups of
the superblock; so nothing interrupts the content and used blocks are simply the first ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from balenawasm.disk.ext4.directory import blocks_needed
from balenawasm.disk.ext4.errors import ImageTooLargeError, InvalidEntryError
from balenawasm.disk.ext4.extents import largest_file, leaves_needed
from balenawasm.disk.ext4.layout import (
    EXT4_GOOD_OLD_INODE_SIZE,
    GROUP_DESC,
    INODE_EXTRA,
    Filetype,
)
from balenawasm.disk.ext4.xattrs import PackedXattrs, pack_xattrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balenawasm.disk.ext4.file_tree import FileNode

BLOCK_SIZE: Final = 4096
INODE_SIZE: Final = 256
XATTR_TAIL: Final = INODE_SIZE - EXT4_GOOD_OLD_INODE_SIZE - INODE_EXTRA.size
"""Bytes of an inode that are left for extended attributes."""
FAST_SYMLINK_MAX: Final = 59
"""Bytes of the longest target that stands in the inode."""

_BITS_PER_BLOCK: Final = 8 * BLOCK_SIZE
_INODES_PER_BLOCK: Final = BLOCK_SIZE // INODE_SIZE
_BLOCKS_MAX: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Geometry:
    """Counts that the superblock and the group descriptors are made of."""

    groups: int
    blocks_per_group: int
    inodes_per_group: int
    blocks_count: int
    used_blocks: int
    used_inodes: int

    @property
    def desc_blocks(self) -> int:
        """Blocks of group descriptors, from block 1 on."""
        return _blocks(self.groups * GROUP_DESC.size)

    @property
    def block_bitmaps(self) -> int:
        """The first block bitmap's block; one per group."""
        return 1 + self.desc_blocks

    @property
    def inode_bitmaps(self) -> int:
        """The first inode bitmap's block; one per group."""
        return self.block_bitmaps + self.groups

    @property
    def inode_tables(self) -> int:
        """The first inode table's block."""
        return self.inode_bitmaps + self.groups

    @property
    def inode_table_blocks(self) -> int:
        """Blocks of one group's inode table."""
        return self.inodes_per_group // _INODES_PER_BLOCK

    @property
    def content(self) -> int:
        """The first block after the inode tables."""
        return self.inode_tables + self.groups * self.inode_table_blocks


@dataclass(slots=True, eq=False)
class Placement:
    """What one inode occupies; block numbers of things it does not have are 0."""

    node: FileNode
    blocks: int
    leaves: int
    xattrs: PackedXattrs
    first_block: int = 0
    first_leaf: int = 0
    xattr_block: int = 0

    @property
    def all_blocks(self) -> int:
        """Blocks that count as the file's: content, extent leaves, extended attributes."""
        return self.blocks + self.leaves + bool(self.xattr_block)


@dataclass(frozen=True, slots=True)
class Allocation:
    """The whole image: `metadata` and `files` are placements whose content follows, in order."""

    geometry: Geometry
    placements: list[Placement]
    metadata: list[Placement] = field(default_factory=list)
    files: list[Placement] = field(default_factory=list)


def allocate(nodes: list[FileNode]) -> Allocation:
    """Place every inode's blocks.

    InvalidEntryError when one file is too large, ImageTooLargeError when all together are.
    """
    placements = [_placement(node) for node in nodes]
    needed = sum(placed.blocks + placed.leaves + bool(placed.xattrs.block) for placed in placements)
    geometry = _geometry(nodes[-1].ino if len(nodes) > 1 else 10, needed)
    allocation = Allocation(geometry, placements)
    for placed in placements:
        if placed.node.filetype == Filetype.REG_FILE:
            allocation.files.append(placed)
        elif placed.blocks:
            allocation.metadata.append(placed)
    block = _place_side_blocks(placements, geometry.content)
    block = _place_content(allocation.metadata, block)
    _place_content(allocation.files, block)
    return allocation


def _placement(node: FileNode) -> Placement:
    entry = node.entry
    match node.filetype:
        case Filetype.REG_FILE:
            blocks = _blocks(entry.size)
        case Filetype.DIR:
            names = [b".", b"..", *(name for name, _ in node.children)]
            blocks = blocks_needed(names, BLOCK_SIZE)
        case Filetype.SYMLINK:
            blocks = len(entry.target or b"") > FAST_SYMLINK_MAX
        case _:
            blocks = 0
    if blocks > largest_file(BLOCK_SIZE):
        raise InvalidEntryError(
            entry.path,
            f"{entry.size} bytes are more than the {largest_file(BLOCK_SIZE) * BLOCK_SIZE}"
            " that the writer's extent trees reach",
        )
    xattrs = pack_xattrs(entry.path, entry.xattrs, XATTR_TAIL, BLOCK_SIZE)
    return Placement(node, blocks, leaves_needed(blocks, BLOCK_SIZE), xattrs)


def _place_side_blocks(placements: Iterable[Placement], block: int) -> int:
    """Place blocks of extended attributes and extent leaves; returns the next free block."""
    for placed in placements:
        if placed.xattrs.block:
            placed.xattr_block = block
            block += 1
        if placed.leaves:
            placed.first_leaf = block
            block += placed.leaves
    return block


def _place_content(placements: Iterable[Placement], block: int) -> int:
    """Place content; returns the next free block."""
    for placed in placements:
        placed.first_block = block
        block += placed.blocks
    return block


def _geometry(used_inodes: int, content_blocks: int) -> Geometry:
    """Return the smallest image that holds so many inodes and blocks of content.

    Groups are as large as their bitmaps allow. Only where the inodes need more groups than the
    blocks would fill, groups get smaller, so that the image need not be padded.
    """
    groups = -(-used_inodes // _BITS_PER_BLOCK)
    while True:
        inodes_per_group = _round_up(-(-used_inodes // groups), _INODES_PER_BLOCK)
        desc_blocks = _blocks(groups * GROUP_DESC.size)
        tables = groups * (inodes_per_group // _INODES_PER_BLOCK)
        used_blocks = 1 + desc_blocks + 2 * groups + tables + content_blocks
        if used_blocks <= groups * _BITS_PER_BLOCK:
            break
        groups = max(groups + 1, used_blocks // _BITS_PER_BLOCK)
    blocks_per_group = _BITS_PER_BLOCK
    if used_blocks <= (groups - 1) * _BITS_PER_BLOCK:
        blocks_per_group = _round_up(-(-used_blocks // groups), 8)
    blocks_count = max(used_blocks, (groups - 1) * blocks_per_group + 1)
    if blocks_count > _BLOCKS_MAX:
        raise ImageTooLargeError(
            f"the files need {blocks_count * BLOCK_SIZE} bytes,"
            f" an ext4 image without 64-bit block numbers has at most {_BLOCKS_MAX * BLOCK_SIZE}"
        )
    return Geometry(
        groups, blocks_per_group, inodes_per_group, blocks_count, used_blocks, used_inodes
    )


def _blocks(size: int) -> int:
    return -(-size // BLOCK_SIZE)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
