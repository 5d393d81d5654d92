"""The geometry of an ext4 image: what its superblock and group descriptors say, checked.

A Volume is where every number from the image becomes an offset into the buffer. After
`read_volume` any block number below `blocks_count` lies inside the buffer, so the other parts of
the reader only ask `block_range` and never slice outside.
"""

from __future__ import annotations

import mmap
from typing import Final

from balenawasm.disk.ext4.errors import CorruptImageError, UnsupportedImageError
from balenawasm.disk.ext4.layout import (
    EXT4_DYNAMIC_REV,
    EXT4_GOOD_OLD_INODE_SIZE,
    EXT4_SUPER_MAGIC,
    GROUP_DESC,
    GROUP_DESC_HIGH,
    INCOMPAT_64BIT,
    INCOMPAT_CSUM_SEED,
    INCOMPAT_EA_INODE,
    INCOMPAT_EXTENTS,
    INCOMPAT_FILETYPE,
    INCOMPAT_FLEX_BG,
    INCOMPAT_INLINE_DATA,
    INCOMPAT_LARGEDIR,
    INCOMPAT_MMP,
    INCOMPAT_RECOVER,
    SUPER_BLOCK,
    SUPER_BLOCK_OFFSET,
    Ext4SuperBlock,
)
from balenawasm.record import NamedTuple

Buffer = bytes | mmap.mmap

_READABLE: Final = (
    INCOMPAT_FILETYPE
    | INCOMPAT_EXTENTS
    | INCOMPAT_64BIT
    | INCOMPAT_MMP
    | INCOMPAT_FLEX_BG
    | INCOMPAT_EA_INODE
    | INCOMPAT_CSUM_SEED
    | INCOMPAT_LARGEDIR
    | INCOMPAT_INLINE_DATA
)
"""Features that change nothing for a reader, or only inodes that are refused one by one."""

_LARGEST_LOG_BLOCK_SIZE: Final = 6


class Volume(NamedTuple):
    """A checked image. Sizes are in bytes unless they are called counts."""

    buffer: Buffer
    block_size: int
    blocks_count: int
    inodes_count: int
    inodes_per_group: int
    inode_size: int
    first_ino: int
    desc_size: int
    desc_offset: int
    has_filetype: bool
    uuid: bytes
    label: bytes

    def block_range(self, field: str, first: int, count: int, where: int) -> int:
        """Return the offset of block `first`; the field at offset `where` named these blocks."""
        if not 0 < first <= self.blocks_count - count:
            raise CorruptImageError(
                field, first, where, f"{count} blocks there are outside the {self.blocks_count}"
            )
        return first * self.block_size

    def inode_offset(self, ino: int) -> int:
        """Return where an inode lies; CorruptImageError when there is no such inode."""
        if not 0 < ino <= self.inodes_count:
            raise CorruptImageError("inode", ino, 0, f"there are only {self.inodes_count} inodes")
        group, index = divmod(ino - 1, self.inodes_per_group)
        where = self.desc_offset + group * self.desc_size
        table = GROUP_DESC.unpack(self.buffer, where).bg_inode_table_lo
        if self.desc_size >= 2 * GROUP_DESC.size:
            high = GROUP_DESC_HIGH.unpack(self.buffer, where + GROUP_DESC.size)
            table |= high.bg_inode_table_hi << 32
        blocks = -(-self.inodes_per_group * self.inode_size // self.block_size)
        where += GROUP_DESC.offsets["bg_inode_table_lo"]
        start = self.block_range("bg_inode_table", table, blocks, where)
        return start + index * self.inode_size


def read_volume(buffer: Buffer) -> Volume:
    """Return the geometry of the image in `buffer`; CorruptImageError when it makes no sense."""
    size = len(buffer)
    if size < SUPER_BLOCK_OFFSET + SUPER_BLOCK.size:
        raise CorruptImageError("image size", size, 0, "too short for a superblock")
    superblock = SUPER_BLOCK.unpack(buffer, SUPER_BLOCK_OFFSET)
    _check_identity(superblock)
    block_size, blocks_count = _check_blocks(superblock, size)
    inode_size, first_ino = _check_inodes(superblock, block_size)
    desc_size = _check_descriptors(superblock, block_size, blocks_count)
    return Volume(
        buffer=buffer,
        block_size=block_size,
        blocks_count=blocks_count,
        inodes_count=superblock.s_inodes_count,
        inodes_per_group=superblock.s_inodes_per_group,
        inode_size=inode_size,
        first_ino=first_ino,
        desc_size=desc_size,
        desc_offset=_desc_offset(block_size),
        has_filetype=bool(superblock.s_feature_incompat & INCOMPAT_FILETYPE),
        uuid=superblock.s_uuid,
        label=superblock.s_volume_name.rstrip(b"\0"),
    )


def _desc_offset(block_size: int) -> int:
    """Return where the group descriptors are: in the block after the superblock's."""
    return (SUPER_BLOCK_OFFSET // block_size + 1) * block_size


def _corrupt(superblock: Ext4SuperBlock, field: str, problem: str) -> CorruptImageError:
    where = SUPER_BLOCK_OFFSET + SUPER_BLOCK.offsets[field]
    return CorruptImageError(field, getattr(superblock, field), where, problem)


def _check_identity(superblock: Ext4SuperBlock) -> None:
    if superblock.s_magic != EXT4_SUPER_MAGIC:
        raise _corrupt(superblock, "s_magic", f"an ext4 image has {EXT4_SUPER_MAGIC:#x} there")
    if superblock.s_rev_level > EXT4_DYNAMIC_REV:
        raise _corrupt(superblock, "s_rev_level", "no such revision is known")
    features = superblock.s_feature_incompat
    where = SUPER_BLOCK_OFFSET + SUPER_BLOCK.offsets["s_feature_incompat"]
    if features & INCOMPAT_RECOVER:
        raise UnsupportedImageError(
            "s_feature_incompat",
            hex(features),
            where,
            "the journal holds changes that are not in place yet",
            hint="mount the image once, or run e2fsck -p on it",
        )
    if unknown := features & ~_READABLE:
        raise UnsupportedImageError(
            "s_feature_incompat", hex(features), where, f"features {unknown:#x} are not supported"
        )


def _check_blocks(superblock: Ext4SuperBlock, size: int) -> tuple[int, int]:
    """Return block size and count."""
    if superblock.s_log_block_size > _LARGEST_LOG_BLOCK_SIZE:
        raise _corrupt(superblock, "s_log_block_size", "blocks have at most 64 KiB")
    block_size = 1024 << superblock.s_log_block_size
    blocks_count = superblock.s_blocks_count_lo
    if superblock.s_feature_incompat & INCOMPAT_64BIT:
        blocks_count |= superblock.s_blocks_count_hi << 32
    if blocks_count * block_size > size:
        raise _corrupt(
            superblock,
            "s_blocks_count_lo",
            f"{blocks_count} blocks of {block_size} bytes do not fit in an image of {size} bytes",
        )
    # 1 where the superblock fills block 1, but 0 when such blocks are gathered in clusters.
    if superblock.s_first_data_block > (block_size == SUPER_BLOCK_OFFSET):
        raise _corrupt(superblock, "s_first_data_block", f"wrong for blocks of {block_size} bytes")
    return block_size, blocks_count


def _check_inodes(superblock: Ext4SuperBlock, block_size: int) -> tuple[int, int]:
    """Return inode size and the first inode that is not reserved."""
    if superblock.s_inodes_per_group == 0:
        raise _corrupt(superblock, "s_inodes_per_group", "a group has at least one inode")
    if superblock.s_inodes_per_group > 8 * block_size:
        raise _corrupt(superblock, "s_inodes_per_group", "more than the inode bitmap can count")
    if superblock.s_rev_level < EXT4_DYNAMIC_REV:
        return EXT4_GOOD_OLD_INODE_SIZE, 11
    inode_size = superblock.s_inode_size
    if not EXT4_GOOD_OLD_INODE_SIZE <= inode_size <= block_size or inode_size & (inode_size - 1):
        raise _corrupt(superblock, "s_inode_size", "not a power of two from 128 to a block")
    return inode_size, superblock.s_first_ino


def _check_descriptors(superblock: Ext4SuperBlock, block_size: int, blocks_count: int) -> int:
    """Return the size of a group descriptor."""
    if superblock.s_blocks_per_group == 0:
        raise _corrupt(superblock, "s_blocks_per_group", "a group has at least one block")
    data_blocks = blocks_count - superblock.s_first_data_block
    groups = -(-data_blocks // superblock.s_blocks_per_group)
    if superblock.s_inodes_count != groups * superblock.s_inodes_per_group:
        raise _corrupt(
            superblock,
            "s_inodes_count",
            f"{groups} groups of {superblock.s_inodes_per_group} inodes have another number",
        )
    desc_size = GROUP_DESC.size
    if superblock.s_feature_incompat & INCOMPAT_64BIT:
        desc_size = superblock.s_desc_size
        if not 2 * GROUP_DESC.size <= desc_size <= 1024 or desc_size & (desc_size - 1):
            raise _corrupt(superblock, "s_desc_size", "not a power of two from 64 to 1024")
    if _desc_offset(block_size) + groups * desc_size > blocks_count * block_size:
        raise _corrupt(superblock, "s_blocks_count_lo", "no room for the group descriptors")
    return desc_size
