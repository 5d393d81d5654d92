"""Entries and images that the tests of several folders share."""

from __future__ import annotations

import io
import os
import stat
import struct
from dataclasses import replace

from balenawasm.disk.entry import Entry, directory, regular_file, symbolic_link
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.disk.ext4.writer import write_image

CAPABILITY = struct.pack("<5I", 0x0200_0001, 1 << 10, 0, 0, 0)
HUGE = 600 << 20
WHEN = 1_700_000_123_123_456_789


def file(path, content=b"", *, permissions=0o644, **attributes):
    return replace(
        regular_file(path, content, permissions=permissions, mtime_ns=WHEN), **attributes
    )


def device(path, kind, major, minor):
    return Entry(path=path, mode=kind | 0o600, mtime_ns=WHEN, rdev=(major, minor))


def rich_entries():
    """One of everything that an image can hold, and its limits."""
    return [
        directory(b"", permissions=0o711, mtime_ns=WHEN),
        directory(b"empty dir", permissions=0o1777, mtime_ns=WHEN + 1),
        directory(b"a"),
        directory(b"a/b"),
        file(b"a/b/c", b"nested"),
        file(b"a.file", b"x"),
        file(b"\xff\xfe not UTF-8 \n", b"bytes"),
        file(b"n" * 255, b"longest name"),
        file(b"empty"),
        file(b"one block", b"B" * 4096),
        file(b"one byte more", b"B" * 4097),
        file(b"setuid", b"#!", permissions=0o4755, uid=70_000, gid=0xFFFFFFFE),
        file(b"epoch", mtime_ns=0),
        file(b"1938", mtime_ns=-(10**18) + 1),
        file(b"1901", mtime_ns=-(2**31) * 10**9),
        file(b"2038", mtime_ns=2**31 * 10**9 + 7),
        file(b"2446", mtime_ns=(2**34 - 2**31 - 1) * 10**9 + 999_999_999),
        file(b"small xattr", b"x", xattrs={b"user.mime": b"text/plain", b"trusted.empty": b""}),
        file(
            b"large xattrs",
            b"x",
            xattrs={
                b"user.big": b"Z" * 2000,
                b"user.odd": b"123",
                b"security.capability": CAPABILITY,
                b"trusted.overlay.opaque": b"y",
            },
        ),
        symbolic_link(b"link", b"a/b/c", mtime_ns=WHEN),
        symbolic_link(b"link of 59", b"t" * 59, mtime_ns=WHEN),
        symbolic_link(b"link of 60", b"t" * 60, mtime_ns=WHEN),
        symbolic_link(b"link of 4095", b"t" * 4095, mtime_ns=WHEN),
        Entry(path=b"hard link", mode=0, hardlink=b"a/b/c"),
        Entry(path=b"Another link sorts before", mode=0, hardlink=b"a/b/c"),
        device(b"whiteout", stat.S_IFCHR, 0, 0),
        device(b"tty", stat.S_IFCHR, 5, 1),
        device(b"disk", stat.S_IFBLK, 259, 70_000),
        Entry(path=b"pipe", mode=stat.S_IFIFO | 0o640, mtime_ns=WHEN),
        Entry(path=b"socket", mode=stat.S_IFSOCK | 0o755, mtime_ns=WHEN),
        directory(b"many"),
        *(file(b"many/a name of some length %04d" % index, b"%d" % index) for index in range(300)),
    ]


def write(entries, **options):
    out = io.BytesIO()
    write_image(entries, out, **options)
    return out.getvalue()


def content(image, ino):
    """The bytes of a file, put together from its runs."""
    return b"".join(
        bytes(length) if offset is None else image.buffer[offset : offset + length]
        for offset, length in image.inode(ino).runs
    )


def read_everything(image):
    """Path → inode, attributes and, of a regular file, content; asserts that runs are sound."""
    found = {}
    for path, ino in [(b"", image.root_ino), *image.walk()]:
        inode = image.inode(ino)
        for offset, length in inode.runs:
            assert length > 0
            assert offset is None or 0 <= offset <= len(image.buffer) - length
        if stat.S_IFMT(inode.mode) in (stat.S_IFREG, stat.S_IFDIR):
            assert sum(run.length for run in inode.runs) == inode.size
        found[path] = inode, image.xattrs(ino)
    return found


def open_written(entries, **options):
    return Ext4Image(write(entries, **options))


def huge_entry(directory_of_source):
    """A file of 600 MiB, nearly all of it a hole on the host: five extents."""
    source = directory_of_source / "huge"
    with source.open("wb") as out:
        out.seek(HUGE - 3)
        out.write(b"end")
    return Entry(path=b"huge", mode=stat.S_IFREG | 0o644, size=HUGE, source=source)


class SparseSink:
    """Keeps a large image by seeking over zeros, so that it takes no room on the host."""

    def __init__(self, path):
        self._file = path.open("wb", buffering=0)

    def write(self, data, /):
        if data.count(0) == len(data):
            self._file.seek(len(data), os.SEEK_CUR)
        else:
            self._file.write(data)
        return len(data)

    def close(self):
        self._file.truncate(self._file.tell())
        self._file.close()
