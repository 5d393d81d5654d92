"""Extended attributes: in the inode's tail when they fit there, else all of them in one block.

Spec: the kernel's `fs/ext4/xattr.c` and `xattr.h`. Entries grow up from the front of the area,
values down from its end. Offsets of values count from the block's start, or, in an inode, from the
first entry. Four zero bytes end the entries.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from balenawasm.disk.ext4.errors import (
    CorruptImageError,
    InvalidEntryError,
    UnsupportedImageError,
)
from balenawasm.disk.ext4.layout import (
    EXT4_XATTR_MAGIC,
    XATTR_ENTRY,
    XATTR_HEADER,
    XATTR_INDEXES,
    XATTR_PREFIXES,
    Ext4XattrEntry,
    Ext4XattrHeader,
)
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.disk.ext4.volume import Buffer

_LIST_END: Final = bytes(4)
_IN_INODE_HEADER: Final = struct.Struct("<I")
"""`struct ext4_xattr_ibody_header`: the magic number alone."""


class PackedXattrs(NamedTuple):
    """Attributes ready to be written: for the inode's tail or for a block; the other is empty."""

    in_inode: bytes
    block: bytes


class _Attribute(NamedTuple):
    """Sorts as the kernel keeps them: by index, length of the name, name."""

    name_index: int
    name_len: int
    name: bytes
    value: bytes


def pack_xattrs(
    path: bytes, xattrs: Mapping[bytes, bytes], tail_size: int, block_size: int
) -> PackedXattrs:
    """Pack attributes by full name; InvalidEntryError naming `path` when they cannot be written."""
    if not xattrs:
        return PackedXattrs(b"", b"")
    attributes = sorted(_attribute(path, name, value) for name, value in xattrs.items())
    header = _IN_INODE_HEADER.size
    if area := _pack_area(attributes, tail_size - header, 0):
        return PackedXattrs(_IN_INODE_HEADER.pack(EXT4_XATTR_MAGIC) + area, b"")
    area = _pack_area(attributes, block_size - XATTR_HEADER.size, XATTR_HEADER.size)
    if not area:
        raise InvalidEntryError(
            path, f"its extended attributes do not fit in one block of {block_size} bytes"
        )
    block_hash = 0
    for attribute in attributes:
        block_hash = _rotate(block_hash, 16) ^ _entry_hash(attribute)
    head = Ext4XattrHeader(EXT4_XATTR_MAGIC, 1, 1, block_hash, 0, bytes(12))
    return PackedXattrs(b"", XATTR_HEADER.pack(head) + area)


def parse_in_inode(buffer: Buffer, start: int, end: int) -> dict[bytes, bytes]:
    """Return the attributes in an inode's tail, which lies between these offsets of the image."""
    first = start + _IN_INODE_HEADER.size
    if first > end or _IN_INODE_HEADER.unpack_from(buffer, start)[0] != EXT4_XATTR_MAGIC:
        return {}
    return _parse_entries(buffer, first, first, end)


def parse_block(buffer: Buffer, start: int, block_size: int) -> dict[bytes, bytes]:
    """Return the attributes in the block at offset `start`."""
    header = XATTR_HEADER.unpack(buffer, start)
    if header.h_magic != EXT4_XATTR_MAGIC:
        problem = f"a block of extended attributes has {EXT4_XATTR_MAGIC:#x} there"
        raise CorruptImageError("h_magic", hex(header.h_magic), start, problem)
    if header.h_blocks != 1:
        where = start + XATTR_HEADER.offsets["h_blocks"]
        raise CorruptImageError("h_blocks", header.h_blocks, where, "it is always one block")
    return _parse_entries(buffer, start + XATTR_HEADER.size, start, start + block_size)


def _parse_entries(buffer: Buffer, first: int, base: int, end: int) -> dict[bytes, bytes]:
    found = {}
    position = first
    while position + len(_LIST_END) <= end and buffer[position : position + 4] != _LIST_END:
        if position + XATTR_ENTRY.size > end:
            raise CorruptImageError("xattr entry", "cut off", position, f"its area ends at {end}")
        entry = XATTR_ENTRY.unpack(buffer, position)
        name_end = position + XATTR_ENTRY.size + entry.e_name_len
        if name_end > end:
            problem = f"its area ends at {end}"
            raise CorruptImageError("e_name_len", entry.e_name_len, position, problem)
        prefix = XATTR_PREFIXES.get(entry.e_name_index)
        if prefix is None:
            problem = "no such kind of attribute is known"
            raise CorruptImageError("e_name_index", entry.e_name_index, position, problem)
        if entry.e_value_inum:
            problem = "values in inodes of their own are not supported"
            raise UnsupportedImageError("e_value_inum", entry.e_value_inum, position, problem)
        value = base + entry.e_value_offs
        if value + entry.e_value_size > end:
            problem = f"from {value} on it would pass the area's end at {end}"
            raise CorruptImageError("e_value_size", entry.e_value_size, position, problem)
        name = prefix + buffer[position + XATTR_ENTRY.size : name_end]
        found[name] = buffer[value : value + entry.e_value_size]
        position += _aligned(XATTR_ENTRY.size + entry.e_name_len)
    return found


def _attribute(path: bytes, full_name: bytes, value: bytes) -> _Attribute:
    for prefix, index in XATTR_INDEXES.items():
        name = full_name.removeprefix(prefix)
        if name != full_name and 0 < len(name) <= 255 and b"\0" not in name:
            return _Attribute(index, len(name), name, value)
    known = ", ".join(prefix.decode() for prefix in XATTR_INDEXES)
    raise InvalidEntryError(
        path,
        f"extended attribute {full_name!a} cannot be stored",
        hint=f"names start with one of {known} and have at most 255 bytes after that",
    )


def _pack_area(attributes: list[_Attribute], room: int, header: int) -> bytes:
    """Return entries and values in exactly `room` bytes after a header, or b"" when too many."""
    entries = b""
    values = b""
    for attribute in attributes:
        value = attribute.value.ljust(_aligned(len(attribute.value)), b"\0")
        values = value + values
        entry = Ext4XattrEntry(
            e_name_len=attribute.name_len,
            e_name_index=attribute.name_index,
            e_value_offs=header + room - len(values) if value else 0,
            e_value_inum=0,
            e_value_size=len(attribute.value),
            e_hash=_entry_hash(attribute),
        )
        if len(entries) + XATTR_ENTRY.size + attribute.name_len + len(values) > room:
            return b""
        packed = XATTR_ENTRY.pack(entry) + attribute.name
        entries += packed.ljust(_aligned(len(packed)), b"\0")
    gap = room - len(entries) - len(values)
    return entries + bytes(gap) + values if gap >= len(_LIST_END) else b""


def _entry_hash(attribute: _Attribute) -> int:
    """The kernel's `ext4_xattr_hash_entry`."""
    state = 0
    for byte in attribute.name:
        state = _rotate(state, 5) ^ byte
    padded = attribute.value.ljust(_aligned(len(attribute.value)), b"\0")
    for (word,) in struct.iter_unpack("<I", padded):
        state = _rotate(state, 16) ^ word
    return state


def _rotate(word: int, bits: int) -> int:
    return (word << bits | word >> 32 - bits) & 0xFFFFFFFF


def _aligned(length: int) -> int:
    return length + 3 & ~3
