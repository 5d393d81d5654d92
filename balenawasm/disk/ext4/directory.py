"""Directory blocks: lists of `ext4_dir_entry_2`, written plainly and read in any form.

A block is filled by its entries: the last one's `rec_len` reaches to the block's end, and no entry
crosses it. Hashed directories (htree) keep this form for old kernels' sake: their index blocks look
like one unused entry, so reading all blocks in turn finds every name. Checksum tails look alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.disk.ext4.errors import CorruptImageError
from balenawasm.disk.ext4.layout import DIR_ENTRY, Ext4DirEntry2, Filetype
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LARGEST_REC_LEN = 1 << 16


class Name(NamedTuple):
    """One entry of a directory."""

    name: bytes
    ino: int
    filetype: Filetype


def blocks_needed(names: Sequence[bytes], block_size: int) -> int:
    """Return the number of blocks that `pack_directory` makes of entries with these names."""
    blocks = 1
    used = 0
    for name in names:
        length = _entry_length(name)
        if used + length > block_size:
            blocks += 1
            used = 0
        used += length
    return blocks


def pack_directory(entries: Sequence[Name], block_size: int) -> bytes:
    """Return a directory's blocks with these entries, `.` and `..` included, in this order."""
    packed = bytearray()
    last_start = used = 0
    for name, ino, filetype in entries:
        length = _entry_length(name)
        if used + length > block_size:
            _stretch_last(packed, last_start, block_size - used)
            used = 0
        last_start = len(packed)
        packed += DIR_ENTRY.pack(Ext4DirEntry2(ino, length, len(name), filetype))
        packed += name.ljust(length - DIR_ENTRY.size, b"\0")
        used += length
    _stretch_last(packed, last_start, block_size - used)
    return bytes(packed)


def parse_block(block: bytes, offset: int, inodes_count: int) -> Iterator[Name]:
    """Yield the entries of one block that lies at `offset` in the image, without `.` and `..`."""
    end = len(block)
    position = 0
    while position < end:
        if end - position < DIR_ENTRY.size:
            problem = "the block ends inside an entry"
            raise CorruptImageError("rec_len", end - position, offset + position, problem)
        ino, rec_len, name_len, file_type = DIR_ENTRY.unpack(block, position)
        if end == _LARGEST_REC_LEN and rec_len in (0, _LARGEST_REC_LEN - 1):
            rec_len = _LARGEST_REC_LEN  # 16 bits cannot say 65,536
        if rec_len & 3 or not DIR_ENTRY.size + name_len <= rec_len <= end - position:
            problem = f"wrong for a name of {name_len} bytes, {end - position} before the end"
            raise CorruptImageError("rec_len", rec_len, offset + position, problem)
        if ino:
            start = position + DIR_ENTRY.size
            name = block[start : start + name_len]
            if name not in (b".", b".."):
                _check_name(name, ino, file_type, inodes_count, offset + position)
                yield Name(name, ino, _FILETYPES[file_type])
        position += rec_len


_FILETYPES = tuple(Filetype)


def _check_name(name: bytes, ino: int, file_type: int, inodes_count: int, where: int) -> None:
    if not name or b"/" in name or b"\0" in name:
        raise CorruptImageError("name", ascii(name), where, "no file can be called so")
    if ino > inodes_count:
        raise CorruptImageError("inode", ino, where, f"there are only {inodes_count} inodes")
    if file_type >= len(_FILETYPES):
        raise CorruptImageError("file_type", file_type, where, "no such type is known")


def _entry_length(name: bytes) -> int:
    return DIR_ENTRY.size + (len(name) + 3 & ~3)


def _stretch_last(packed: bytearray, start: int, room: int) -> None:
    """Let the entry at `start` take up the rest of its block, `room` bytes."""
    at = start + DIR_ENTRY.offsets["rec_len"]
    rec_len = int.from_bytes(packed[at : at + 2], "little") + room
    packed[at : at + 2] = rec_len.to_bytes(2, "little")
    packed += bytes(room)
