"""The structures of ext4 on disk, by the names of the kernel's `fs/ext4/ext4.h`, and nothing else.

Spec: the kernel's Documentation/filesystems/ext4. Everything is little-endian. A structure is a
NamedTuple whose fields are annotated with their width; `Record` makes the codec from it, so each
layout is written once, for the reader and the writer. Fields at the end that neither side uses are
one field of zeros. No I/O and no checks: those belong to the reader.

Annotations are evaluated here, unlike elsewhere: to evaluate their texts afterwards took 2 ms, at
every start of a container.
"""

import stat
import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, TypeVar

from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

u8 = Annotated[int, "B"]
le16 = Annotated[int, "H"]
le32 = Annotated[int, "I"]
le64 = Annotated[int, "Q"]
bytes16 = Annotated[bytes, "16s"]

T = TypeVar("T", bound=tuple[Any, ...])


class Record(Generic[T]):
    """Packs and unpacks one structure; `offsets` are its fields' places in bytes."""

    def __init__(self, shape: type[T]) -> None:
        self._make: Callable[[Iterable[Any]], T] = shape._make  # type: ignore[attr-defined]
        self.offsets: dict[str, int] = {}
        codes = "<"
        for name, hint in shape.__annotations__.items():
            self.offsets[name] = struct.calcsize(codes)
            codes += hint.__metadata__[0]
        self._struct = struct.Struct(codes)
        self.size = self._struct.size

    def pack(self, value: T) -> bytes:
        """Return the structure's `size` bytes; struct.error when a value does not fit its field."""
        return self._struct.pack(*value)

    def unpack(self, buffer: Any, offset: int) -> T:  # noqa: ANN401 - whatever struct reads from
        """Return the structure at `offset`; the caller has checked that it lies in the buffer."""
        return self._make(self._struct.unpack_from(buffer, offset))

    def unpack_each(self, buffer: bytes) -> list[T]:
        """Return every structure of a buffer whose length is a multiple of `size`."""
        return [self._make(fields) for fields in self._struct.iter_unpack(buffer)]


class Ext4SuperBlock(NamedTuple):
    """`struct ext4_super_block`, 1,024 bytes at byte 1,024 of the image."""

    s_inodes_count: le32
    s_blocks_count_lo: le32
    s_r_blocks_count_lo: le32
    s_free_blocks_count_lo: le32
    s_free_inodes_count: le32
    s_first_data_block: le32
    s_log_block_size: le32
    s_log_cluster_size: le32
    s_blocks_per_group: le32
    s_clusters_per_group: le32
    s_inodes_per_group: le32
    s_mtime: le32
    s_wtime: le32
    s_mnt_count: le16
    s_max_mnt_count: le16
    s_magic: le16
    s_state: le16
    s_errors: le16
    s_minor_rev_level: le16
    s_lastcheck: le32
    s_checkinterval: le32
    s_creator_os: le32
    s_rev_level: le32
    s_def_resuid: le16
    s_def_resgid: le16
    s_first_ino: le32
    s_inode_size: le16
    s_block_group_nr: le16
    s_feature_compat: le32
    s_feature_incompat: le32
    s_feature_ro_compat: le32
    s_uuid: bytes16
    s_volume_name: bytes16
    s_last_mounted: Annotated[bytes, "64s"]
    s_algorithm_usage_bitmap: le32
    s_prealloc_blocks: u8
    s_prealloc_dir_blocks: u8
    s_reserved_gdt_blocks: le16
    s_journal_uuid: bytes16
    s_journal_inum: le32
    s_journal_dev: le32
    s_last_orphan: le32
    s_hash_seed: bytes16
    s_def_hash_version: u8
    s_jnl_backup_type: u8
    s_desc_size: le16
    s_default_mount_opts: le32
    s_first_meta_bg: le32
    s_mkfs_time: le32
    s_jnl_blocks: Annotated[bytes, "68s"]
    s_blocks_count_hi: le32
    s_r_blocks_count_hi: le32
    s_free_blocks_count_hi: le32
    s_min_extra_isize: le16
    s_want_extra_isize: le16
    s_flags: le32
    s_raid_stride: le16
    s_mmp_interval: le16
    s_mmp_block: le64
    s_raid_stripe_width: le32
    s_log_groups_per_flex: u8
    s_checksum_type: u8
    s_remaining: Annotated[bytes, "650s"]


class Ext4GroupDesc(NamedTuple):
    """`struct ext4_group_desc` without the second half that INCOMPAT_64BIT adds."""

    bg_block_bitmap_lo: le32
    bg_inode_bitmap_lo: le32
    bg_inode_table_lo: le32
    bg_free_blocks_count_lo: le16
    bg_free_inodes_count_lo: le16
    bg_used_dirs_count_lo: le16
    bg_flags: le16
    bg_exclude_bitmap_lo: le32
    bg_block_bitmap_csum_lo: le16
    bg_inode_bitmap_csum_lo: le16
    bg_itable_unused_lo: le16
    bg_checksum: le16


class Ext4GroupDescHigh(NamedTuple):
    """The start of the second half of `struct ext4_group_desc`."""

    bg_block_bitmap_hi: le32
    bg_inode_bitmap_hi: le32
    bg_inode_table_hi: le32


class Ext4Inode(NamedTuple):
    """The first 128 bytes of `struct ext4_inode`: all of it in old file systems."""

    i_mode: le16
    i_uid: le16
    i_size_lo: le32
    i_atime: le32
    i_ctime: le32
    i_mtime: le32
    i_dtime: le32
    i_gid: le16
    i_links_count: le16
    i_blocks_lo: le32
    i_flags: le32
    l_i_version: le32
    i_block: Annotated[bytes, "60s"]
    i_generation: le32
    i_file_acl_lo: le32
    i_size_high: le32
    i_obso_faddr: le32
    l_i_blocks_high: le16
    l_i_file_acl_high: le16
    l_i_uid_high: le16
    l_i_gid_high: le16
    l_i_checksum_lo: le16
    l_i_reserved: le16


class Ext4InodeExtra(NamedTuple):
    """The rest of `struct ext4_inode`, of which `i_extra_isize` bytes are in use."""

    i_extra_isize: le16
    i_checksum_hi: le16
    i_ctime_extra: le32
    i_mtime_extra: le32
    i_atime_extra: le32
    i_crtime: le32
    i_crtime_extra: le32
    i_version_hi: le32
    i_projid: le32


class Ext4ExtentHeader(NamedTuple):
    """`struct ext4_extent_header`, at the start of every node of an extent tree."""

    eh_magic: le16
    eh_entries: le16
    eh_max: le16
    eh_depth: le16
    eh_generation: le32


class Ext4Extent(NamedTuple):
    """`struct ext4_extent`: `ee_len` file blocks from `ee_block` lie at the start block."""

    ee_block: le32
    ee_len: le16
    ee_start_hi: le16
    ee_start_lo: le32


class Ext4ExtentIdx(NamedTuple):
    """`struct ext4_extent_idx`: the node for file blocks from `ei_block` is the leaf block."""

    ei_block: le32
    ei_leaf_lo: le32
    ei_leaf_hi: le16
    ei_unused: le16


class Ext4DirEntry2(NamedTuple):
    """`struct ext4_dir_entry_2` up to the name."""

    inode: le32
    rec_len: le16
    name_len: u8
    file_type: u8


class Ext4XattrHeader(NamedTuple):
    """`struct ext4_xattr_header`, at the start of a block of extended attributes."""

    h_magic: le32
    h_refcount: le32
    h_blocks: le32
    h_hash: le32
    h_checksum: le32
    h_reserved: Annotated[bytes, "12s"]


class Ext4XattrEntry(NamedTuple):
    """`struct ext4_xattr_entry` up to the name."""

    e_name_len: u8
    e_name_index: u8
    e_value_offs: le16
    e_value_inum: le32
    e_value_size: le32
    e_hash: le32


SUPER_BLOCK: Final = Record(Ext4SuperBlock)
GROUP_DESC: Final = Record(Ext4GroupDesc)
GROUP_DESC_HIGH: Final = Record(Ext4GroupDescHigh)
INODE: Final = Record(Ext4Inode)
INODE_EXTRA: Final = Record(Ext4InodeExtra)
EXTENT_HEADER: Final = Record(Ext4ExtentHeader)
EXTENT: Final = Record(Ext4Extent)
EXTENT_IDX: Final = Record(Ext4ExtentIdx)
DIR_ENTRY: Final = Record(Ext4DirEntry2)
XATTR_HEADER: Final = Record(Ext4XattrHeader)
XATTR_ENTRY: Final = Record(Ext4XattrEntry)

SUPER_BLOCK_OFFSET: Final = 1024
EXT4_SUPER_MAGIC: Final = 0xEF53
EXT4_EXT_MAGIC: Final = 0xF30A
EXT4_XATTR_MAGIC: Final = 0xEA020000
EXT4_VALID_FS: Final = 1
EXT4_ERRORS_CONTINUE: Final = 1
EXT4_DYNAMIC_REV: Final = 1
EXT4_GOOD_OLD_INODE_SIZE: Final = 128
EXT4_ROOT_INO: Final = 2
EXT4_GOOD_OLD_FIRST_INO: Final = 11
EXT4_NAME_LEN: Final = 255
EXT4_LINK_MAX: Final = 65000
EXT4_N_BLOCKS: Final = 15
EXT4_NDIR_BLOCKS: Final = 12
EXT_INIT_MAX_LEN: Final = 1 << 15
"""Blocks of the longest extent; a greater `ee_len` is that many more blocks, not yet written."""
DIRHASH_HALF_MD4: Final = 1

COMPAT_EXT_ATTR: Final = 0x0008
COMPAT_SPARSE_SUPER2: Final = 0x0200
INCOMPAT_FILETYPE: Final = 0x0002
INCOMPAT_RECOVER: Final = 0x0004
INCOMPAT_EXTENTS: Final = 0x0040
INCOMPAT_64BIT: Final = 0x0080
INCOMPAT_MMP: Final = 0x0100
INCOMPAT_FLEX_BG: Final = 0x0200
INCOMPAT_EA_INODE: Final = 0x0400
INCOMPAT_CSUM_SEED: Final = 0x2000
INCOMPAT_LARGEDIR: Final = 0x4000
INCOMPAT_INLINE_DATA: Final = 0x8000
RO_COMPAT_LARGE_FILE: Final = 0x0002
RO_COMPAT_HUGE_FILE: Final = 0x0008
RO_COMPAT_DIR_NLINK: Final = 0x0020
RO_COMPAT_EXTRA_ISIZE: Final = 0x0040
RO_COMPAT_READONLY: Final = 0x1000

EXT4_EXTENTS_FL: Final = 0x00080000
EXT4_INLINE_DATA_FL: Final = 0x10000000
EXT4_ENCRYPT_FL: Final = 0x00000800

XATTR_INDEXES: Final = {b"user.": 1, b"trusted.": 4, b"security.": 6}
"""Prefix of a name → `e_name_index`, for the attributes that may be written."""
XATTR_PREFIXES: Final = {
    1: b"user.",
    2: b"system.posix_acl_access",
    3: b"system.posix_acl_default",
    4: b"trusted.",
    6: b"security.",
    7: b"system.",
    8: b"system.richacl",
}
"""`e_name_index` → prefix of the full name; ACL values stay in their on-disk form."""


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


FILETYPE_OF_MODE: Final = {
    stat.S_IFREG: Filetype.REG_FILE,
    stat.S_IFDIR: Filetype.DIR,
    stat.S_IFCHR: Filetype.CHRDEV,
    stat.S_IFBLK: Filetype.BLKDEV,
    stat.S_IFIFO: Filetype.FIFO,
    stat.S_IFSOCK: Filetype.SOCK,
    stat.S_IFLNK: Filetype.SYMLINK,
}
"""`S_IFMT` bits of a mode → type in a directory entry."""

NANOSECONDS: Final = 10**9
EARLIEST_SECOND: Final = -(1 << 31)
LATEST_SECOND: Final = EARLIEST_SECOND + (1 << 34) - 1


def encode_time(time_ns: int) -> tuple[int, int]:
    """Return `i_?time` and `i_?time_extra`; the second counts from 1970 must be in the range above.

    The low word is signed; the two low bits of the extra word count the times 2**32 was dropped.
    """
    seconds, nanoseconds = divmod(time_ns, NANOSECONDS)
    low = seconds & 0xFFFFFFFF
    signed = low - ((low & 0x80000000) << 1)
    return low, (seconds - signed) >> 32 | nanoseconds << 2


def decode_time(low: int, extra: int) -> int:
    """Return the time in nanoseconds since 1970."""
    seconds = low - ((low & 0x80000000) << 1) + ((extra & 3) << 32)
    return seconds * NANOSECONDS + (extra >> 2)


def encode_rdev(major: int, minor: int) -> bytes:
    """Return `i_block` of a device: the old 8:8 form where it fits, else the new 12:20 form."""
    if major < 256 and minor < 256:
        return struct.pack("<I", major << 8 | minor)
    return struct.pack("<II", 0, (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12)


def decode_rdev(i_block: bytes) -> tuple[int, int]:
    """Return (major, minor) of a device's `i_block`."""
    old, new = struct.unpack_from("<II", i_block)
    if old:
        return old >> 8 & 0xFF, old & 0xFF
    return new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00
