from __future__ import annotations

import struct

import pytest

from balenawasm.disk.ext4 import layout


def test_structures_have_the_kernels_sizes():
    sizes = {
        layout.SUPER_BLOCK: 1024,
        layout.GROUP_DESC: 32,
        layout.INODE: 128,
        layout.INODE_EXTRA: 32,
        layout.EXTENT_HEADER: 12,
        layout.EXTENT: 12,
        layout.EXTENT_IDX: 12,
        layout.DIR_ENTRY: 8,
        layout.XATTR_HEADER: 32,
        layout.XATTR_ENTRY: 16,
    }
    assert {record: record.size for record in sizes} == sizes


@pytest.mark.parametrize(
    ("field", "offset"),
    [
        ("s_magic", 0x38),
        ("s_first_ino", 0x54),
        ("s_feature_incompat", 0x60),
        ("s_uuid", 0x68),
        ("s_desc_size", 0xFE),
        ("s_blocks_count_hi", 0x150),
        ("s_log_groups_per_flex", 0x174),
    ],
)
def test_superblock_fields_have_the_kernels_offsets(field, offset):
    assert layout.SUPER_BLOCK.offsets[field] == offset


def test_inode_fields_have_the_kernels_offsets():
    assert layout.INODE.offsets["i_block"] == 0x28
    assert layout.INODE.offsets["i_file_acl_lo"] == 0x68
    assert layout.INODE.offsets["l_i_uid_high"] == 0x78
    assert layout.INODE_EXTRA.offsets["i_crtime"] == 0x90 - 0x80


def test_a_record_packs_what_it_unpacks():
    packed = struct.pack("<IHBB", 12, 16, 3, 1)
    entry = layout.DIR_ENTRY.unpack(b"??" + packed, 2)
    assert entry == layout.Ext4DirEntry2(inode=12, rec_len=16, name_len=3, file_type=1)
    assert layout.DIR_ENTRY.pack(entry) == packed
    assert layout.DIR_ENTRY.unpack_each(packed * 2) == [entry, entry]


@pytest.mark.parametrize(
    "time_ns",
    [
        0,
        -1,
        -(2**31) * 10**9,
        2**31 * 10**9,
        2**32 * 10**9 + 5,
        (2**34 - 2**31) * 10**9 - 1,
        1_700_000_000_123_456_789,
    ],
)
def test_times_survive(time_ns):
    assert layout.decode_time(*layout.encode_time(time_ns)) == time_ns


def test_times_before_2038_have_a_plain_low_word():
    assert layout.encode_time(-1_000_000_000) == (0xFFFFFFFF, 0)
    assert layout.encode_time(2**31 * 10**9) == (0x80000000, 1)


@pytest.mark.parametrize(
    "rdev", [(0, 0), (1, 3), (255, 255), (256, 0), (8, 256), (4095, 2**20 - 1)]
)
def test_device_numbers_survive(rdev):
    assert layout.decode_rdev(layout.encode_rdev(*rdev).ljust(60, b"\0")) == rdev
