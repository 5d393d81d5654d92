"""The reader against images that were changed byte by byte; tests/oracle has mke2fs's."""

from __future__ import annotations

import struct

import pytest
from ext4_examples import content, file, open_written, rich_entries, write

from balenawasm.disk.entry import directory, symbolic_link
from balenawasm.disk.ext4 import layout
from balenawasm.disk.ext4.errors import CorruptImageError, UnsupportedImageError
from balenawasm.disk.ext4.reader import Ext4Image, Filetype, Run
from balenawasm.disk.ext4.volume import read_volume

BLOCK = 4096
HOLE = None


class Forgery:
    """An image to be changed: by field of the superblock or of an inode, or at an offset."""

    def __init__(self, entries):
        self.data = bytearray(write(entries))
        self.original = Ext4Image(bytes(self.data))
        self.volume = read_volume(bytes(self.data))

    def ino(self, name):
        return self.original.directory(2)[name][0]

    def offset_of_content(self, name):
        return self.original.inode(self.ino(name)).runs[0].offset

    def superblock(self, **fields):
        record = layout.SUPER_BLOCK.unpack(self.data, 1024)._replace(**fields)
        self.data[1024:2048] = layout.SUPER_BLOCK.pack(record)
        return self

    def inode(self, ino, **fields):
        at = self.volume.inode_offset(ino)
        record = layout.INODE.unpack(self.data, at)._replace(**fields)
        self.data[at : at + 128] = layout.INODE.pack(record)
        return self

    def put(self, offset, data):
        self.data[offset : offset + len(data)] = data
        return self

    def open(self):
        return Ext4Image(bytes(self.data))


def small():
    return Forgery(
        [
            directory(b"d"),
            file(b"d/inside", b"x"),
            file(b"f", bytes(range(256)) * 16 * 20),
            file(b"spare", bytes(6 * BLOCK)),
            symbolic_link(b"l", b"target"),
            symbolic_link(b"long", b"t" * 100),
            file(b"x", xattrs={b"user.a": b"v" * 200}),
        ]
    )


# Opening.


@pytest.mark.parametrize("data", [b"", b"x", bytes(2047), bytes(2048), b"\xff" * 8192])
def test_not_an_image(data):
    with pytest.raises(CorruptImageError):
        Ext4Image(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("s_magic", 0),
        ("s_rev_level", 2),
        ("s_log_block_size", 7),
        ("s_log_block_size", 0xFFFFFFFF),
        ("s_blocks_count_lo", 10_000),
        ("s_blocks_count_lo", 0),
        ("s_first_data_block", 1),
        ("s_inodes_per_group", 0),
        ("s_inodes_per_group", 32_769),
        ("s_inode_size", 0),
        ("s_inode_size", 64),
        ("s_inode_size", 257),
        ("s_inode_size", 8192),
        ("s_blocks_per_group", 0),
        ("s_blocks_per_group", 1),
        ("s_inodes_count", 17),
        ("s_inodes_count", 0),
    ],
)
def test_superblocks_that_make_no_sense(field, value):
    with pytest.raises(CorruptImageError) as caught:
        small().superblock(**{field: value}).open()
    assert caught.value.field.startswith("s_")
    assert caught.value.offset >= 1024
    assert str(caught.value.value) in caught.value.message


@pytest.mark.parametrize("feature", [0x1, 0x8, 0x10, 0x10000, 0x20000, 1 << 31])
def test_unknown_features_are_refused(feature):
    with pytest.raises(UnsupportedImageError, match="not supported"):
        small().superblock(s_feature_incompat=0x242 | feature).open()


def test_a_waiting_journal_is_refused_with_a_hint():
    with pytest.raises(UnsupportedImageError) as caught:
        small().superblock(s_feature_incompat=0x242 | layout.INCOMPAT_RECOVER).open()
    assert "e2fsck" in caught.value.hint


@pytest.mark.parametrize("desc_size", [0, 32, 65, 2048])
def test_descriptor_sizes_of_64_bit_images(desc_size):
    forgery = small().superblock(s_feature_incompat=0x2C2, s_desc_size=desc_size)
    with pytest.raises(CorruptImageError, match="s_desc_size"):
        forgery.open()


def test_cut_off_images_are_refused():
    data = bytes(small().data)
    for length in (1024, 4096, len(data) // 2, len(data) - 1):
        with pytest.raises(CorruptImageError):
            Ext4Image(data[:length])


# Laziness and caching.


def test_reading_one_directory_reads_nothing_else():
    forgery = small()
    forgery.inode(forgery.ino(b"d"), i_mode=0)
    forgery.inode(forgery.ino(b"f"), i_links_count=0)
    image = forgery.open()
    assert set(image.directory(2)) == {b"d", b"f", b"spare", b"l", b"long", b"x"}
    with pytest.raises(CorruptImageError, match="i_mode"):
        image.inode(forgery.ino(b"d"))
    with pytest.raises(CorruptImageError, match="not in use"):
        image.inode(forgery.ino(b"f"))


def test_inodes_and_directories_are_kept():
    image = small().open()
    assert image.inode(2) is image.inode(2)
    assert image.directory(2) is image.directory(2)


def test_directories_say_types():
    image = small().open()
    assert image.directory(2)[b"d"][1] is Filetype.DIR
    assert image.directory(2)[b"l"][1] is Filetype.SYMLINK


def test_without_filetypes_inodes_are_asked():
    forgery = small().superblock(s_feature_incompat=0x240)
    start = forgery.original.inode(2).runs[0].offset
    forgery.put(bytes(forgery.data).index(b"spare", start) - 1, b"\0")
    assert forgery.open().directory(2)[b"spare"][1] is Filetype.REG_FILE


# Inodes.


@pytest.mark.parametrize("ino", [0, -1, 1 << 32, 33])
def test_there_is_no_such_inode(ino):
    with pytest.raises(CorruptImageError, match="inode"):
        small().open().inode(ino)


def test_a_file_is_no_directory():
    forgery = small()
    with pytest.raises(CorruptImageError, match="not a directory"):
        forgery.open().directory(forgery.ino(b"f"))


@pytest.mark.parametrize(
    ("name", "fields", "problem"),
    [
        (b"f", {"i_flags": layout.EXT4_INLINE_DATA_FL}, "inline data"),
        (b"f", {"i_flags": layout.EXT4_ENCRYPT_FL}, "encrypted"),
        (b"f", {"i_size_high": 1 << 20}, "2\\*\\*32 blocks"),
        (b"f", {"i_block": bytes(60)}, "eh_magic"),
        (b"d", {"i_size_lo": 100}, "whole blocks"),
        (b"d", {"i_size_lo": 2 * BLOCK}, "only regular files have holes"),
        (b"l", {"i_size_lo": 0}, "no length"),
        (b"l", {"i_size_lo": 5000}, "no length"),
        (b"l", {"i_size_lo": 7}, "zero byte"),
        (b"long", {"i_size_lo": 101}, "zero byte"),
        (b"x", {"i_file_acl_lo": 9999}, "outside"),
        (b"x", {"l_i_file_acl_high": 1}, "outside"),
        (b"x", {"i_file_acl_lo": 1}, "h_magic"),
    ],
)
def test_inodes_that_make_no_sense(name, fields, problem):
    forgery = small()
    ino = forgery.ino(name)
    image = forgery.inode(ino, **fields).open()
    with pytest.raises(CorruptImageError, match=problem):
        image.xattrs(ino), image.inode(ino), image.directory(ino)


def test_inode_tables_outside_the_image():
    forgery = small().put(BLOCK + 8, struct.pack("<I", 1 << 30))
    with pytest.raises(CorruptImageError, match="bg_inode_table"):
        forgery.open().inode(2)


@pytest.mark.parametrize("size", [1, 2, 130, 0xFFFC])
def test_extra_sizes_that_make_no_sense(size):
    forgery = small()
    forgery.put(forgery.volume.inode_offset(2) + 128, struct.pack("<H", size))
    with pytest.raises(CorruptImageError, match="i_extra_isize"):
        forgery.open().inode(2)


def test_without_extra_fields_times_have_no_fraction():
    forgery = small()
    forgery.put(forgery.volume.inode_offset(2) + 128, struct.pack("<H", 0))
    assert forgery.open().inode(2).mtime_ns % 10**9 == 0


def test_too_many_nanoseconds():
    forgery = small()
    forgery.put(forgery.volume.inode_offset(2) + 128 + 8, struct.pack("<I", 10**9 << 2))
    with pytest.raises(CorruptImageError, match="i_mtime_extra"):
        forgery.open().inode(2)


# Extents.


def node(depth, entries, *, magic=layout.EXT4_EXT_MAGIC, count=None):
    header = (magic, len(entries) if count is None else count, 340, depth, 0)
    return layout.EXTENT_HEADER.pack(layout.Ext4ExtentHeader(*header)) + b"".join(entries)


def extent(block, length, start):
    return layout.EXTENT.pack(layout.Ext4Extent(block, length, start >> 32, start & 0xFFFFFFFF))


def index(block, leaf):
    return layout.EXTENT_IDX.pack(layout.Ext4ExtentIdx(block, leaf, 0, 0))


def with_tree(root, blocks=20, **nodes):
    """The image of `small` with this tree in `f`; nodes go to the blocks of `spare`: n0, n1, …"""
    forgery = small()
    ino = forgery.ino(b"f")
    forgery.inode(ino, i_block=root, i_size_lo=blocks * BLOCK)
    for name, body in nodes.items():
        forgery.put(forgery.offset_of_content(b"spare") + int(name[1:]) * BLOCK, body)
    return forgery.open().inode(ino)


FORGED = small()
SPARE = FORGED.offset_of_content(b"spare") // BLOCK
DATA = FORGED.offset_of_content(b"f") // BLOCK


def test_holes_and_unwritten_extents_read_as_zeros():
    root = node(0, [extent(2, 3, DATA), extent(5, 32768 + 2, DATA + 9), extent(9, 1, DATA + 4)])
    assert with_tree(root).runs == (
        Run(HOLE, 2 * BLOCK),
        Run(DATA * BLOCK, 3 * BLOCK),
        Run(HOLE, 4 * BLOCK),
        Run((DATA + 4) * BLOCK, BLOCK),
        Run(HOLE, 10 * BLOCK),
    )


def test_neighbouring_extents_are_one_run():
    root = node(0, [extent(0, 4, DATA), extent(4, 6, DATA + 4), extent(10, 10, DATA + 11)])
    assert with_tree(root).runs == (
        Run(DATA * BLOCK, 10 * BLOCK),
        Run((DATA + 11) * BLOCK, 10 * BLOCK),
    )


def test_extents_beyond_the_end_are_cut():
    assert with_tree(node(0, [extent(0, 20, DATA)]), blocks=3).runs == (
        Run(DATA * BLOCK, 3 * BLOCK),
    )
    assert with_tree(node(0, [extent(0, 20, DATA)]), blocks=0).runs == ()


def test_deep_trees():
    inode = with_tree(
        node(2, [index(0, SPARE), index(8, SPARE + 1)]),
        n0=node(1, [index(0, SPARE + 2), index(4, SPARE + 3)]),
        n1=node(1, [index(8, SPARE + 4)]),
        n2=node(0, [extent(0, 4, DATA + 10)]),
        n3=node(0, [extent(4, 2, DATA)]),
        n4=node(0, [extent(8, 12, DATA + 2)]),
    )
    assert inode.runs == (
        Run((DATA + 10) * BLOCK, 4 * BLOCK),
        Run(DATA * BLOCK, 2 * BLOCK),
        Run(HOLE, 2 * BLOCK),
        Run((DATA + 2) * BLOCK, 12 * BLOCK),
    )


@pytest.mark.parametrize(
    ("root", "nodes", "field"),
    [
        (node(0, [], magic=1), {}, "eh_magic"),
        (node(6, [index(0, SPARE)]), {}, "eh_depth"),
        (node(0, [], count=5), {}, "eh_entries"),
        (node(1, []), {}, "eh_entries"),
        (node(1, [index(0, SPARE)]), {"n0": node(0, [])}, "eh_entries"),
        (node(1, [index(0, SPARE)]), {"n0": node(0, [], count=400)}, "eh_entries"),
        (node(1, [index(0, SPARE)]), {"n0": node(1, [index(0, SPARE)])}, "eh_depth"),
        (node(1, [index(0, SPARE)]), {"n0": bytes(12)}, "eh_magic"),
        (node(1, [index(0, 0)]), {}, "ei_leaf"),
        (node(1, [index(0, 1 << 31)]), {}, "ei_leaf"),
        (node(0, [extent(0, 1, 0)]), {}, "ee_start"),
        (node(0, [extent(0, 1, 1 << 40)]), {}, "ee_start"),
        (node(0, [extent(0, 30_000, DATA)]), {}, "ee_start"),
        (node(0, [extent(0, 0, DATA)]), {}, "ee_len"),
        (node(0, [extent(3, 2, DATA), extent(4, 1, DATA)]), {}, "ee_block"),
        (node(0, [extent(3, 2, DATA), extent(0, 1, DATA)]), {}, "ee_block"),
        # The same leaf twice: rising file blocks make that impossible.
        (
            node(1, [index(0, SPARE), index(9, SPARE)]),
            {"n0": node(0, [extent(0, 4, DATA)])},
            "ee_block",
        ),
        # More blocks than the image has, by naming the same ones again and again.
        (
            node(1, [index(0, SPARE)]),
            {"n0": node(0, [extent(20 * i, 20, DATA) for i in range(300)])},
            "ee_len",
        ),
    ],
)
def test_damaged_trees(root, nodes, field):
    with pytest.raises(CorruptImageError) as caught:
        with_tree(root, blocks=10_000, **nodes)
    assert caught.value.field == field


# Block maps.


def with_map(pointers, blocks, **nodes):
    forgery = small()
    ino = forgery.ino(b"f")
    i_block = struct.pack("<15I", *pointers, *[0] * (15 - len(pointers)))
    size = blocks * BLOCK
    forgery.inode(
        ino, i_block=i_block, i_flags=0, i_size_lo=size & 0xFFFFFFFF, i_size_high=size >> 32
    )
    for name, below in nodes.items():
        place = forgery.offset_of_content(b"spare") + int(name[1:]) * BLOCK
        forgery.put(place, b"".join(struct.pack("<I", pointer) for pointer in below))
    return forgery.open().inode(ino)


def test_direct_blocks_and_holes():
    assert with_map([DATA, DATA + 1, 0, DATA + 5], 5).runs == (
        Run(DATA * BLOCK, 2 * BLOCK),
        Run(HOLE, BLOCK),
        Run((DATA + 5) * BLOCK, BLOCK),
        Run(HOLE, BLOCK),
    )


def test_indirect_blocks():
    inode = with_map([0] * 12 + [SPARE], 20, n0=[DATA, DATA + 1, 0, DATA + 3])
    assert inode.runs == (
        Run(HOLE, 12 * BLOCK),
        Run(DATA * BLOCK, 2 * BLOCK),
        Run(HOLE, BLOCK),
        Run((DATA + 3) * BLOCK, BLOCK),
        Run(HOLE, 4 * BLOCK),
    )


def test_double_and_triple_indirect_blocks():
    per_block = BLOCK // 4
    first_of_triple = 12 + per_block + per_block**2
    inode = with_map(
        [0] * 13 + [SPARE, SPARE + 2],
        first_of_triple + 2 * per_block + 5,
        n0=[0, SPARE + 1],
        n1=[0, DATA],
        n2=[SPARE + 3],
        n3=[0, 0, SPARE + 4],
        n4=[0, DATA + 7],
    )
    start = 12 + per_block + per_block + 1
    assert inode.runs == (
        Run(HOLE, start * BLOCK),
        Run(DATA * BLOCK, BLOCK),
        Run(HOLE, (first_of_triple + 2 * per_block + 1 - start - 1) * BLOCK),
        Run((DATA + 7) * BLOCK, BLOCK),
        Run(HOLE, 3 * BLOCK),
    )


def test_pointers_outside_the_image():
    for pointers in ([1 << 31], [0] * 12 + [1 << 31]):
        with pytest.raises(CorruptImageError, match="i_block"):
            with_map(pointers, 20)


def test_a_map_that_leads_to_itself_is_refused_quickly():
    itself = [SPARE] * (BLOCK // 4)
    with pytest.raises(CorruptImageError, match="more blocks than the image"):
        with_map([0] * 14 + [SPARE], 1 << 29, n0=itself)


# Walking.


def test_walk_is_sorted_and_parents_come_first():
    paths = [path for path, _ in open_written(rich_entries()).walk()]
    assert paths == sorted(paths, key=lambda path: path.split(b"/"))


def test_a_directory_that_contains_itself():
    forgery = small()
    start = forgery.offset_of_content(b"d")
    position = bytes(forgery.data).index(b"inside", start) - 8
    forgery.put(position, struct.pack("<I", forgery.ino(b"d")))
    with pytest.raises(CorruptImageError, match="two names"):
        list(forgery.open().walk())


def test_a_directory_that_contains_the_root():
    forgery = small()
    position = bytes(forgery.data).index(b"inside", forgery.offset_of_content(b"d")) - 8
    forgery.put(position, struct.pack("<I", 2))
    with pytest.raises(CorruptImageError, match="two names"):
        list(forgery.open().walk())


def test_two_entries_of_one_name():
    forgery = Forgery([file(b"aa"), file(b"ab")])
    position = bytes(forgery.data).index(b"ab\0\0", forgery.original.inode(2).runs[0].offset)
    with pytest.raises(CorruptImageError, match="twice"):
        forgery.put(position, b"aa").open().directory(2)


def test_content_of_a_long_link_is_read():
    image = small().open()
    ino = image.directory(2)[b"long"][0]
    assert image.inode(ino).target == content(image, ino) == b"t" * 100
