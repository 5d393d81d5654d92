"""Directory blocks, extent trees and extended attributes, packed."""

from __future__ import annotations

import pytest

from balenawasm.disk.ext4 import layout, xattrs
from balenawasm.disk.ext4.directory import Name, blocks_needed, pack_directory, parse_block
from balenawasm.disk.ext4.errors import CorruptImageError, InvalidEntryError, UnsupportedImageError
from balenawasm.disk.ext4.extents import largest_file, leaves_needed, pack_extents
from balenawasm.disk.ext4.layout import Filetype

BLOCK = 4096


def names(*, count, length):
    return [
        Name(b"%0*d" % (length, index), index + 11, Filetype.REG_FILE) for index in range(count)
    ]


@pytest.mark.parametrize(("count", "length"), [(1, 1), (255, 8), (256, 8), (257, 8), (40, 255)])
def test_directories_fill_whole_blocks(count, length):
    entries = names(count=count, length=length)
    packed = pack_directory(entries, BLOCK)
    assert len(packed) == BLOCK * blocks_needed([entry.name for entry in entries], BLOCK)
    found = []
    for start in range(0, len(packed), BLOCK):
        found += parse_block(packed[start : start + BLOCK], start, 10_000)
    assert found == entries


def test_dot_and_dot_dot_are_not_names():
    entries = [Name(b".", 2, Filetype.DIR), Name(b"..", 2, Filetype.DIR), *names(count=1, length=3)]
    assert list(parse_block(pack_directory(entries, BLOCK), 0, 100)) == entries[2:]


def test_unused_entries_are_skipped():
    index_block = layout.DIR_ENTRY.pack(layout.Ext4DirEntry2(0, BLOCK, 0, 0)).ljust(BLOCK, b"\xaa")
    assert list(parse_block(index_block, 0, 100)) == []


@pytest.mark.parametrize(
    ("at", "value", "field"),
    [
        (4, 0, "rec_len"),
        (4, 10, "rec_len"),
        (5, 0x20, "rec_len"),
        (6, 255, "rec_len"),
        (6, 0, "name"),
        (8, ord("/"), "name"),
        (8, 0, "name"),
        (3, 1, "inode"),
        (7, 8, "file_type"),
    ],
)
def test_damaged_entries_are_named(at, value, field):
    block = bytearray(pack_directory(names(count=3, length=5), BLOCK))
    block[at] = value
    with pytest.raises(CorruptImageError) as caught:
        list(parse_block(bytes(block), 8192, 100))
    assert caught.value.field == field
    assert caught.value.offset == 8192


def extent_list(body):
    header = layout.EXTENT_HEADER.unpack(body, 0)
    end = 12 + 12 * header.eh_entries
    return header, layout.EXTENT.unpack_each(body[12:end])


def test_small_files_need_no_leaf():
    tree = pack_extents(1000, 4 * 32768, 0, BLOCK)
    header, extents = extent_list(tree.i_block)
    assert tree.leaves == []
    assert (header.eh_entries, header.eh_max, header.eh_depth) == (4, 4, 0)
    assert [extent.ee_start_lo for extent in extents] == [1000 + 32768 * i for i in range(4)]
    assert {extent.ee_len for extent in extents} == {32768}


def test_empty_files_have_an_empty_tree():
    header, _ = extent_list(pack_extents(0, 0, 0, BLOCK).i_block)
    assert header.eh_entries == 0


@pytest.mark.parametrize(
    ("blocks", "leaves"),
    [
        (4 * 32768, 0),
        (4 * 32768 + 1, 1),
        (340 * 32768, 1),
        (340 * 32768 + 1, 2),
        (4 * 340 * 32768, 4),
    ],
)
def test_larger_files_get_leaves(blocks, leaves):
    assert leaves_needed(blocks, BLOCK) == leaves
    tree = pack_extents(5000, blocks, 77, BLOCK)
    assert len(tree.leaves) == leaves
    assert len(tree.i_block) == 60
    expected = 0
    for leaf in tree.leaves:
        assert len(leaf) == BLOCK
        for extent in extent_list(leaf)[1]:
            assert extent.ee_block == expected
            assert extent.ee_start_lo == 5000 + expected
            expected += extent.ee_len
    if leaves:
        assert expected == blocks
        assert layout.EXTENT_IDX.unpack(tree.i_block, 12).ei_leaf_lo == 77
        assert layout.EXTENT_HEADER.unpack(tree.i_block, 0).eh_depth == 1


def test_the_largest_file_has_170_gib():
    assert largest_file(BLOCK) * BLOCK == 170 * 2**30


def round_trip(attributes, tail=96):
    packed = xattrs.pack_xattrs(b"f", attributes, tail, BLOCK)
    if packed.in_inode:
        assert len(packed.in_inode) == tail
        return xattrs.parse_in_inode(packed.in_inode, 0, tail)
    if packed.block:
        assert len(packed.block) == BLOCK
        return xattrs.parse_block(packed.block, 0, BLOCK)
    return {}


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {b"user.a": b""},
        {b"user.a": b"1", b"user.b": b"22", b"trusted.c": b"333"},
        {b"user.a": b"v" * 64},
        {b"user.a": b"v" * 68},
        {b"user.a": b"v" * 4000},
        {b"user." + b"n" * 255: b"v" * 300, b"security.x": b"\0" * 9},
    ],
)
def test_attributes_survive(attributes):
    assert round_trip(attributes) == attributes


def test_small_attributes_stay_in_the_inode():
    assert xattrs.pack_xattrs(b"f", {b"trusted.overlay.opaque": b"y"}, 96, BLOCK).block == b""


@pytest.mark.parametrize(
    "attributes", [{b"user.a": b"v" * 4096}, {b"user.a%d" % i: b"v" * 50 for i in range(60)}]
)
def test_too_many_attributes_are_refused(attributes):
    with pytest.raises(InvalidEntryError, match="do not fit"):
        xattrs.pack_xattrs(b"f", attributes, 96, BLOCK)


@pytest.mark.parametrize("name", [b"user.", b"system.posix_acl_access", b"nothing", b"user.a\0b"])
def test_other_attributes_are_refused(name):
    with pytest.raises(InvalidEntryError, match="cannot be stored"):
        xattrs.pack_xattrs(b"f", {name: b""}, 96, BLOCK)


@pytest.mark.parametrize(
    ("at", "value", "error"),
    [
        (0, 1, CorruptImageError),  # h_magic
        (8, 2, CorruptImageError),  # h_blocks
        (32, 255, None),  # e_name_len: a longer name runs into zeros and stays inside
        (33, 99, CorruptImageError),  # e_name_index
        (35, 0xFF, CorruptImageError),  # e_value_offs
        (36, 1, UnsupportedImageError),  # e_value_inum
        (42, 1, CorruptImageError),  # e_value_size
    ],
)
def test_damaged_attributes_are_refused(at, value, error):
    block = bytearray(xattrs.pack_xattrs(b"f", {b"user.big": b"v" * 200}, 96, BLOCK).block)
    block[at] = value
    if error is None:
        xattrs.parse_block(bytes(block), 0, BLOCK)
        return
    with pytest.raises(error):
        xattrs.parse_block(bytes(block), 0, BLOCK)
