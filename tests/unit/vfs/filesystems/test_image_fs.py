"""Layer images as file systems: attributes, holes, pieces, damage, programs."""

from __future__ import annotations

import io
import mmap
import stat

import pytest

from balenawasm.disk.entry import Entry
from balenawasm.disk.ext4.errors import CorruptImageError
from balenawasm.disk.ext4.reader import Ext4Image, Inode, Run
from balenawasm.disk.ext4.writer import write_image
from balenawasm.vfs.filesystems.image import ImageFs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

BLOCK = 4096


def refused(errno):
    return pytest.raises(GuestError, match=f"^{errno.value}$")


def image_of(*entries: Entry) -> Ext4Image:
    out = io.BytesIO()
    write_image([Entry(path=b"", mode=stat.S_IFDIR | 0o755), *entries], out)
    return Ext4Image(out.getvalue())


def pread(node, size, offset=0):
    buffer = memoryview(bytearray(b"\xee" * size))
    count = node.open(NOBODY, OpenFlags()).pread(NOBODY, [buffer], offset)
    return bytes(buffer[:count])


def test_attributes() -> None:
    image = image_of(
        Entry(
            path=b"f",
            mode=stat.S_IFREG | 0o4751,
            uid=70_000,
            gid=80_000,
            mtime_ns=1_700_000_000_123_456_789,
            source=b"data",
            xattrs={b"user.colour": b"blue"},
        ),
        Entry(path=b"null", mode=stat.S_IFCHR | 0o666, rdev=(1, 3)),
        Entry(path=b"fifo", mode=stat.S_IFIFO | 0o600),
        Entry(path=b"hard", mode=stat.S_IFREG, hardlink=b"f"),
    )
    root = ImageFs(image, "sha256:1").root
    node = root.lookup(NOBODY, b"f")
    found = node.stat()
    assert (found.mode, found.uid, found.gid) == (0o4751, 70_000, 80_000)
    assert (found.nlink, found.size, found.mtim) == (2, 4, 1_700_000_000_123_456_789)
    assert root.lookup(NOBODY, b"hard") is node
    assert node.xattr(b"user.colour") == b"blue"
    assert node.xattr(b"user.size") is None
    device = root.lookup(NOBODY, b"null")
    assert device.filetype is Filetype.CHARACTER_DEVICE
    assert device.stat().rdev == (1, 3)
    for name in (b"null", b"fifo"):
        with refused(Errno.EACCES):
            root.lookup(NOBODY, name).open(NOBODY, OpenFlags())
    assert ImageFs(image, "sha256:1").root.stat().dev != found.dev


def test_programs_are_named_by_where_they_lie(tmp_path) -> None:
    data = b"\0asm" + bytes(10_000)
    with open(tmp_path / "image", "w+b") as file:
        write_image(
            [
                Entry(path=b"", mode=stat.S_IFDIR | 0o755),
                Entry(path=b"prog", mode=stat.S_IFREG | 0o755, source=data),
            ],
            file,
        )
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    content = ImageFs(Ext4Image(mapped), "sha256:abc").root.lookup(NOBODY, b"prog").content()
    assert bytes(content.data) == data
    assert content.data.readonly
    digest, _, place = content.identity.partition("@")
    offset, _, size = place.partition("+")
    assert digest == "sha256:abc"
    assert mapped[int(offset) : int(offset) + int(size)] == data


class Pieces:
    """An image of one directory with one file, whose runs the test chooses."""

    root_ino = 2

    def __init__(self, runs: tuple[Run, ...], size: int) -> None:
        self.buffer = b"".join(bytes([number]) * BLOCK for number in range(1, 9))
        self.runs = runs
        self.size = size

    def inode(self, ino: int) -> Inode:
        mode = stat.S_IFDIR | 0o755 if ino == 2 else stat.S_IFREG | 0o644
        return Inode(ino, mode, 0, 0, 1, self.size, 0, 0, 0, (0, 0), self.runs, None)

    def directory(self, ino: int):
        return {b"f": (11, 1)}

    def xattrs(self, ino: int):
        return {}


def test_holes_and_pieces() -> None:
    runs = (Run(BLOCK, BLOCK), Run(None, 2 * BLOCK), Run(5 * BLOCK, 100))
    image = Pieces(runs, 3 * BLOCK + 100)
    node = ImageFs(image, "sha256:1").root.lookup(NOBODY, b"f")
    whole = b"\x02" * BLOCK + bytes(2 * BLOCK) + b"\x06" * 100
    assert pread(node, 1 << 16) == whole
    for offset in (0, 1, BLOCK - 1, BLOCK, 3 * BLOCK - 5, 3 * BLOCK, 3 * BLOCK + 99, 1 << 20):
        for size in (0, 1, 7, BLOCK, 2 * BLOCK + 1, 1 << 14):
            assert pread(node, size, offset) == whole[offset : offset + size]
    content = node.content()
    assert bytes(content.data) == whole
    assert content.identity is None
    description = node.open(NOBODY, OpenFlags())
    buffers = [memoryview(bytearray(n)) for n in (5, 0, BLOCK, 9)]
    assert description.read(NOBODY, buffers) == BLOCK + 14
    assert b"".join(buffers) == whole[: BLOCK + 14]


def test_what_no_run_covers_is_zero() -> None:
    node = ImageFs(Pieces((Run(0, 10),), 30), "sha256:1").root.lookup(NOBODY, b"f")
    assert pread(node, 100) == b"\x01" * 10 + bytes(20)
    empty = ImageFs(Pieces((), 0), "sha256:1").root.lookup(NOBODY, b"f")
    assert pread(empty, 100) == b""
    assert bytes(empty.content().data) == b""


def test_one_long_hole_is_no_program() -> None:
    node = ImageFs(Pieces((Run(None, 1 << 40),), 1 << 40), "sha256:1").root.lookup(NOBODY, b"f")
    assert pread(node, 10, (1 << 40) - 3) == bytes(3)
    with refused(Errno.EFBIG):
        node.content()


def test_damage_is_an_error_for_the_guest() -> None:
    image = Pieces((Run(7 * BLOCK, 2 * BLOCK),), 2 * BLOCK)
    root = ImageFs(image, "sha256:1").root
    with refused(Errno.EIO):
        root.lookup(NOBODY, b"f")

    def damaged(*_: object):
        raise CorruptImageError("ee_block", 1, 0, "test")

    image.inode = damaged
    with refused(Errno.EIO):
        root.lookup(NOBODY, b"f")
    image.xattrs = damaged
    with refused(Errno.EIO):
        root.xattr(b"user.x")
    image.directory = damaged
    for call in (lambda: root.lookup(NOBODY, b"f"), lambda: root.entries(NOBODY)):
        with refused(Errno.EIO):
            call()


def test_nodes_are_made_once() -> None:
    fs = ImageFs(image_of(Entry(path=b"f", mode=stat.S_IFREG | 0o644, source=b"")), "sha256:1")
    assert fs.root.lookup(NOBODY, b"f") is fs.root.lookup(NOBODY, b"f")
    with refused(Errno.ENOENT):
        fs.root.lookup(NOBODY, b"none")
