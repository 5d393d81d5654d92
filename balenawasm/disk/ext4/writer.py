"""Writes ext4 images: sequentially, deterministically, in one pass over the files' content.

The image holds no time, host name or random number of its own: equal entries give equal bytes on
any machine. Its UUID is a hash of the entries. `e2fsck -fn` finds it clean and Linux mounts it
(3.18 and later, for SPARSE_SUPER2). It is marked read-only and has no journal and no checksums: a
layer never changes, and the digest of the whole image covers it. Holes of host files are written
as zeros, because where a host file has holes is no part of its content.

Memory: the entries and about 500 bytes for each; content passes through in small pieces. Steps:
`file_tree` checks and numbers, `allocation` places, this module writes block after block.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from balenawasm.disk.ext4.allocation import (
    BLOCK_SIZE,
    INODE_SIZE,
    Allocation,
    Geometry,
    Placement,
    allocate,
)
from balenawasm.disk.ext4.directory import Name, pack_directory
from balenawasm.disk.ext4.errors import SourceChangedError, SourceReadError
from balenawasm.disk.ext4.extents import pack_extents
from balenawasm.disk.ext4.file_tree import FileNode, build_tree
from balenawasm.disk.ext4.layout import (
    COMPAT_EXT_ATTR,
    COMPAT_SPARSE_SUPER2,
    DIRHASH_HALF_MD4,
    EXT4_DYNAMIC_REV,
    EXT4_ERRORS_CONTINUE,
    EXT4_EXTENTS_FL,
    EXT4_GOOD_OLD_FIRST_INO,
    EXT4_LINK_MAX,
    EXT4_SUPER_MAGIC,
    EXT4_VALID_FS,
    GROUP_DESC,
    INCOMPAT_EXTENTS,
    INCOMPAT_FILETYPE,
    INCOMPAT_FLEX_BG,
    INODE,
    INODE_EXTRA,
    RO_COMPAT_DIR_NLINK,
    RO_COMPAT_EXTRA_ISIZE,
    RO_COMPAT_HUGE_FILE,
    RO_COMPAT_LARGE_FILE,
    RO_COMPAT_READONLY,
    SUPER_BLOCK,
    SUPER_BLOCK_OFFSET,
    Ext4GroupDesc,
    Ext4Inode,
    Ext4InodeExtra,
    Ext4SuperBlock,
    Filetype,
    encode_rdev,
    encode_time,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balenawasm.digest import Writable
    from balenawasm.disk.entry import Entry

LABEL_MAX: Final = 16
_PIECE: Final = 1 << 18
"""Bytes read or written at a time: large enough to amortise a call, small enough for a cache."""
_SECTORS_PER_BLOCK: Final = BLOCK_SIZE // 512
_LOG_GROUPS_PER_FLEX: Final = 31
"""One flexible group of 2**31 groups: all of them."""
_LET_WRITER_FINISH: Final = "let whatever writes the file finish first"


def write_image(entries: Iterable[Entry], out: Writable, *, label: bytes = b"layer") -> None:
    """Write an image of these entries, in any order, to `out`, whose `write` takes all it is given.

    Raises InvalidEntryError and ImageTooLargeError before the first byte is written; then
    SourceReadError when a host file cannot be read, SourceChangedError when it is not as its entry
    says; and whatever `out` raises.
    """
    if len(label) > LABEL_MAX:
        raise ValueError(f"an ext4 label has at most {LABEL_MAX} bytes")
    nodes = build_tree(entries)
    allocation = allocate(nodes)
    blocks = _BlockOutput(out)
    _write_superblock(allocation.geometry, _uuid(label, nodes), label, blocks)
    _write_groups(allocation, blocks)
    leaves = _write_inodes(allocation, blocks)
    _write_side_blocks(allocation.placements, leaves, blocks)
    for placed in allocation.metadata:
        blocks.write(_metadata_content(placed.node))
        blocks.fill_block()
    for placed in allocation.files:
        _write_content(placed.node.entry, blocks)
        blocks.fill_block()
    geometry = allocation.geometry
    blocks.write(bytes((geometry.blocks_count - geometry.used_blocks) * BLOCK_SIZE))
    blocks.flush()


class _BlockOutput:
    """Gathers small writes into large ones and fills blocks with zeros."""

    def __init__(self, out: Writable) -> None:
        self._out = out
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._position = 0

    def write(self, data: bytes) -> None:
        self._pieces.append(data)
        self._gathered += len(data)
        self._position += len(data)
        if self._gathered >= _PIECE:
            self.flush()

    def fill_block(self) -> None:
        if rest := self._position % BLOCK_SIZE:
            self.write(bytes(BLOCK_SIZE - rest))

    def flush(self) -> None:
        pieces, self._pieces, self._gathered = self._pieces, [], 0
        if pieces:
            self._out.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))


def _uuid(label: bytes, nodes: list[FileNode]) -> bytes:
    """Return a UUID of version 8 (RFC 9562) from all that is known before host files are read."""
    state = hashlib.sha256(label)
    for node in nodes:
        entry = node.entry
        names = [(name, child.ino) for name, child in node.children]
        xattrs = sorted(entry.xattrs.items())
        owner = (entry.mode, entry.uid, entry.gid, entry.mtime_ns)
        known = (node.ino, owner, entry.size, entry.target, entry.rdev, xattrs, names)
        state.update(repr(known).encode())
        if isinstance(entry.source, bytes):
            state.update(entry.source)
    uuid = bytearray(state.digest()[:16])
    uuid[6] = uuid[6] & 0x0F | 0x80
    uuid[8] = uuid[8] & 0x3F | 0x80
    return bytes(uuid)


def _write_superblock(geometry: Geometry, uuid: bytes, label: bytes, blocks: _BlockOutput) -> None:
    inodes = geometry.groups * geometry.inodes_per_group
    zeros = SUPER_BLOCK.unpack(bytes(SUPER_BLOCK.size), 0)
    superblock: Ext4SuperBlock = zeros._replace(
        s_inodes_count=inodes,
        s_blocks_count_lo=geometry.blocks_count,
        s_free_blocks_count_lo=geometry.blocks_count - geometry.used_blocks,
        s_free_inodes_count=inodes - geometry.used_inodes,
        s_log_block_size=(BLOCK_SIZE // 1024).bit_length() - 1,
        s_log_cluster_size=(BLOCK_SIZE // 1024).bit_length() - 1,
        s_blocks_per_group=geometry.blocks_per_group,
        s_clusters_per_group=geometry.blocks_per_group,
        s_inodes_per_group=geometry.inodes_per_group,
        s_max_mnt_count=0xFFFF,
        s_magic=EXT4_SUPER_MAGIC,
        s_state=EXT4_VALID_FS,
        s_errors=EXT4_ERRORS_CONTINUE,
        s_rev_level=EXT4_DYNAMIC_REV,
        s_first_ino=EXT4_GOOD_OLD_FIRST_INO,
        s_inode_size=INODE_SIZE,
        s_feature_compat=COMPAT_EXT_ATTR | COMPAT_SPARSE_SUPER2,
        s_feature_incompat=INCOMPAT_FILETYPE | INCOMPAT_EXTENTS | INCOMPAT_FLEX_BG,
        s_feature_ro_compat=RO_COMPAT_LARGE_FILE
        | RO_COMPAT_HUGE_FILE
        | RO_COMPAT_DIR_NLINK
        | RO_COMPAT_EXTRA_ISIZE
        | RO_COMPAT_READONLY,
        s_uuid=uuid,
        s_volume_name=label,
        s_def_hash_version=DIRHASH_HALF_MD4,
        s_min_extra_isize=INODE_EXTRA.size,
        s_want_extra_isize=INODE_EXTRA.size,
        s_flags=1,  # signed directory hashes; unused, but e2fsck wants one of the two set
        s_log_groups_per_flex=_LOG_GROUPS_PER_FLEX,
    )
    blocks.write(bytes(SUPER_BLOCK_OFFSET))
    blocks.write(SUPER_BLOCK.pack(superblock))
    blocks.fill_block()


def _write_groups(allocation: Allocation, blocks: _BlockOutput) -> None:
    """Write group descriptors, block bitmaps and inode bitmaps."""
    geometry = allocation.geometry
    directories = [0] * geometry.groups
    for placed in allocation.placements:
        if placed.node.filetype == Filetype.DIR:
            directories[(placed.node.ino - 1) // geometry.inodes_per_group] += 1
    block_bitmaps = []
    inode_bitmaps = []
    for group in range(geometry.groups):
        first = group * geometry.blocks_per_group
        size = min(geometry.blocks_per_group, geometry.blocks_count - first)
        used_blocks = max(0, min(size, geometry.used_blocks - first))
        first = group * geometry.inodes_per_group
        used_inodes = max(0, min(geometry.inodes_per_group, geometry.used_inodes - first))
        block_bitmaps.append(_bitmap(used_blocks, size))
        inode_bitmaps.append(_bitmap(used_inodes, geometry.inodes_per_group))
        desc = Ext4GroupDesc(
            bg_block_bitmap_lo=geometry.block_bitmaps + group,
            bg_inode_bitmap_lo=geometry.inode_bitmaps + group,
            bg_inode_table_lo=geometry.inode_tables + group * geometry.inode_table_blocks,
            bg_free_blocks_count_lo=size - used_blocks,
            bg_free_inodes_count_lo=geometry.inodes_per_group - used_inodes,
            bg_used_dirs_count_lo=directories[group],
            bg_flags=0,
            bg_exclude_bitmap_lo=0,
            bg_block_bitmap_csum_lo=0,
            bg_inode_bitmap_csum_lo=0,
            bg_itable_unused_lo=0,
            bg_checksum=0,
        )
        blocks.write(GROUP_DESC.pack(desc))
    blocks.fill_block()
    for bitmap in block_bitmaps + inode_bitmaps:
        blocks.write(bitmap)


def _bitmap(used: int, size: int) -> bytes:
    """Return a block with the first `used` bits set, and the meaningless ones from `size` on."""
    bits = (1 << used) - 1 | (1 << 8 * BLOCK_SIZE) - (1 << size)
    return bits.to_bytes(BLOCK_SIZE, "little")


def _write_inodes(allocation: Allocation, blocks: _BlockOutput) -> dict[int, list[bytes]]:
    """Write the inode tables; returns the extent leaves of the inodes that have some."""
    geometry = allocation.geometry
    leaves: dict[int, list[bytes]] = {}
    expected = 1
    for placed in allocation.placements:
        ino = placed.node.ino
        blocks.write(bytes((ino - expected) * INODE_SIZE))
        i_block = _i_block(placed, leaves)
        blocks.write(_pack_inode(placed, i_block))
        expected = ino + 1
    unused = geometry.groups * geometry.inodes_per_group - (expected - 1)
    blocks.write(bytes(unused * INODE_SIZE))
    return leaves


def _i_block(placed: Placement, leaves: dict[int, list[bytes]]) -> bytes:
    node = placed.node
    match node.filetype:
        case Filetype.CHRDEV | Filetype.BLKDEV:
            return encode_rdev(*node.entry.rdev)
        case Filetype.SYMLINK if not placed.blocks:
            return node.entry.target or b""
        case Filetype.REG_FILE | Filetype.DIR | Filetype.SYMLINK:
            tree = pack_extents(placed.first_block, placed.blocks, placed.first_leaf, BLOCK_SIZE)
            if tree.leaves:
                leaves[node.ino] = tree.leaves
            return tree.i_block
        case _:
            return b""


def _pack_inode(placed: Placement, i_block: bytes) -> bytes:
    node = placed.node
    entry = node.entry
    has_extents = node.filetype in (Filetype.REG_FILE, Filetype.DIR) or (
        node.filetype == Filetype.SYMLINK and placed.blocks
    )
    size = entry.size
    if node.filetype == Filetype.DIR:
        size = placed.blocks * BLOCK_SIZE
    elif node.filetype == Filetype.SYMLINK:
        size = len(entry.target or b"")
    low, extra = encode_time(entry.mtime_ns)
    is_crowded = stat.S_ISDIR(entry.mode) and node.links >= EXT4_LINK_MAX
    inode = Ext4Inode(
        i_mode=entry.mode,
        i_uid=entry.uid & 0xFFFF,
        i_size_lo=size & 0xFFFFFFFF,
        i_atime=low,
        i_ctime=low,
        i_mtime=low,
        i_dtime=0,
        i_gid=entry.gid & 0xFFFF,
        i_links_count=1 if is_crowded else node.links,  # DIR_NLINK: 1 means uncounted
        i_blocks_lo=placed.all_blocks * _SECTORS_PER_BLOCK,
        i_flags=EXT4_EXTENTS_FL if has_extents else 0,
        l_i_version=0,
        i_block=i_block,
        i_generation=0,
        i_file_acl_lo=placed.xattr_block,
        i_size_high=size >> 32,
        i_obso_faddr=0,
        l_i_blocks_high=0,
        l_i_file_acl_high=0,
        l_i_uid_high=entry.uid >> 16,
        l_i_gid_high=entry.gid >> 16,
        l_i_checksum_lo=0,
        l_i_reserved=0,
    )
    rest = Ext4InodeExtra(INODE_EXTRA.size, 0, extra, extra, extra, low, extra, 0, 0)
    packed = INODE.pack(inode) + INODE_EXTRA.pack(rest) + placed.xattrs.in_inode
    return packed.ljust(INODE_SIZE, b"\0")


def _write_side_blocks(
    placements: list[Placement], leaves: dict[int, list[bytes]], blocks: _BlockOutput
) -> None:
    """Write blocks of extended attributes and extent leaves, in the order of their placement."""
    for placed in placements:
        blocks.write(placed.xattrs.block)
        for leaf in leaves.get(placed.node.ino, ()):
            blocks.write(leaf)


def _metadata_content(node: FileNode) -> bytes:
    """Return a directory's blocks or a long symbolic link's target."""
    if node.filetype == Filetype.SYMLINK:
        return node.entry.target or b""
    names = [Name(b".", node.ino, Filetype.DIR), Name(b"..", node.parent_ino, Filetype.DIR)]
    names += [Name(name, child.ino, child.filetype) for name, child in node.children]
    return pack_directory(names, BLOCK_SIZE)


def _write_content(entry: Entry, blocks: _BlockOutput) -> None:
    """Write a regular file, which must have as many bytes as its entry says."""
    if isinstance(entry.source, Path):
        _copy_host_file(entry.source, entry.size, blocks)
    else:
        blocks.write(entry.source or b"")


def _copy_host_file(source: Path, size: int, blocks: _BlockOutput) -> None:
    fd = _open_source(source)
    try:
        left = size
        # One byte more than there should be, to see whether the file has grown.
        while piece := _read_source(source, fd, min(left + 1, _PIECE)):
            if len(piece) > left:
                raise SourceChangedError(
                    f"{source} grew beyond {size} bytes while it was being copied",
                    hint=_LET_WRITER_FINISH,
                )
            blocks.write(piece)
            left -= len(piece)
    finally:
        os.close(fd)
    if left:
        raise SourceChangedError(
            f"{source} shrank from {size} to {size - left} bytes while it was being copied",
            hint=_LET_WRITER_FINISH,
        )


def _open_source(source: Path) -> int:
    # NOFOLLOW and NONBLOCK: the name may stand for a link or a pipe by now.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(source, flags)
    except OSError as error:
        raise SourceReadError(f"cannot read {source}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SourceChangedError(f"{source} is no longer a regular file")
    return fd


def _read_source(source: Path, fd: int, size: int) -> bytes:
    try:
        return os.read(fd, size)
    except OSError as error:
        raise SourceReadError(f"cannot read {source}: {error.strerror}") from error
