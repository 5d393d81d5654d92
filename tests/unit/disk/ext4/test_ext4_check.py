from __future__ import annotations

import struct

import pytest
from ext4_examples import file, open_written, rich_entries, write

from balenawasm.disk.entry import directory
from balenawasm.disk.ext4 import layout
from balenawasm.disk.ext4.check import check_image
from balenawasm.disk.ext4.errors import CorruptImageError
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.disk.ext4.volume import read_volume

ENTRIES = [directory(b"d"), file(b"d/one", b"1"), file(b"two", b"22"), directory(b"e")]


def changed(offset, data):
    image = bytearray(write(ENTRIES))
    image[offset : offset + len(data)] = data
    return Ext4Image(bytes(image))


@pytest.fixture(scope="module")
def places():
    """Inode number and offset of the inode, by path."""
    data = write(ENTRIES)
    volume = read_volume(data)
    found = {path: (ino, volume.inode_offset(ino)) for path, ino in Ext4Image(data).walk()}
    return found, data


def test_sound_images_pass():
    entries = rich_entries()
    contents = check_image(open_written(entries))
    assert contents.inodes == len([entry for entry in entries if entry.hardlink is None])
    assert contents.size == sum(entry.size for entry in entries)


def test_shared_blocks(places):
    found, data = places
    i_block = layout.INODE.offsets["i_block"]
    theirs = data[found[b"d/one"][1] + i_block :][:60]
    with pytest.raises(CorruptImageError, match="another file than /two"):
        check_image(changed(found[b"two"][1] + i_block, theirs))


def test_directories_that_share_blocks_are_not_read_twice(places):
    found, data = places
    i_block = layout.INODE.offsets["i_block"]
    with pytest.raises(CorruptImageError, match="another file than /e"):
        check_image(changed(found[b"e"][1] + i_block, data[found[b"d"][1] + i_block :][:60]))


def test_link_counts(places):
    found, _ = places
    where = found[b"two"][1] + layout.INODE.offsets["i_links_count"]
    with pytest.raises(CorruptImageError, match="1 links"):
        check_image(changed(where, struct.pack("<H", 2)))
    where = found[b"d"][1] + layout.INODE.offsets["i_links_count"]
    check_image(changed(where, struct.pack("<H", 1)))  # a directory need not count


def test_types_in_directories(places):
    _, data = places
    root = Ext4Image(data).inode(2).runs[0].offset
    where = data.index(b"two", root) - 1
    with pytest.raises(CorruptImageError, match=r"'two' in / has type REG_FILE"):
        check_image(changed(where, b"\2"))


def test_faults_that_only_deep_reading_finds(places):
    found, _ = places
    with pytest.raises(CorruptImageError, match="i_mode"):
        check_image(changed(found[b"d/one"][1], b"\0\0"))
    where = found[b"d/one"][1] + layout.INODE.offsets["i_file_acl_lo"]
    with pytest.raises(CorruptImageError, match="i_file_acl"):
        check_image(changed(where, b"\xff\xff"))
