"""What is particular to files in memory: the limit and what counts against it."""

from __future__ import annotations

import pytest

from balenawasm.vfs.filesystems.tmpfs import NODE_COST, Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import APPEND

BOTH = OpenFlags(write=True)
LIMIT = 100_000


@pytest.fixture
def fs():
    return Tmpfs(LIMIT)


def opened(node, flags=BOTH):
    description = node.open(NOBODY, flags)
    description.retain()
    return description


def write(description, data: bytes) -> int:
    return description.write(NOBODY, [memoryview(data)])


def test_no_more_than_the_limit(fs) -> None:
    file = opened(fs.root.create(b"f"))
    room = LIMIT - fs.used
    assert write(file, b"x" * (room + 500)) == room
    with pytest.raises(GuestError) as caught:
        write(file, b"x")
    assert caught.value.errno is Errno.ENOSPC
    assert file.stat().size == room
    for make in (fs.root.create, fs.root.mkdir, lambda name: fs.root.symlink(name, b"x")):
        with pytest.raises(GuestError) as caught:
            make(b"more")
        assert caught.value.errno is Errno.ENOSPC
    file.truncate(room - NODE_COST)
    fs.root.mkdir(b"more")
    assert fs.used == LIMIT


def test_everything_is_given_back(fs) -> None:
    before = fs.used
    file = fs.root.create(b"f")
    description = opened(file)
    write(description, b"x" * 5000)
    fs.root.link(b"g", file)
    fs.root.unlink(b"f")
    assert fs.used == before + NODE_COST + 5000
    fs.root.unlink(b"g")
    assert fs.used == before + NODE_COST + 5000
    description.release()
    assert fs.used == before
    fs.root.mkdir(b"d")
    fs.root.symlink(b"l", b"t" * 100)
    assert fs.used == before + 2 * NODE_COST + 100
    fs.root.rmdir(b"d")
    fs.root.unlink(b"l")
    assert fs.used == before
    fs.root.create(b"a")
    fs.root.create(b"b")
    fs.root.rename(b"a", fs.root, b"b")
    fs.root.unlink(b"b")
    assert fs.used == before


def test_what_was_never_written_costs_nothing(fs) -> None:
    file = opened(fs.root.create(b"f"))
    used = fs.used
    file.truncate(1 << 50)
    assert fs.used == used
    buffer = memoryview(bytearray(b"x" * 10))
    assert file.pread(NOBODY, [buffer], (1 << 50) - 4) == 4
    assert bytes(buffer[:4]) == b"\0" * 4
    assert file.pread(NOBODY, [buffer], 5) == 10
    file.pwrite(NOBODY, [memoryview(b"abc")], 2)
    assert file.pread(NOBODY, [buffer], 0) == 10
    assert bytes(buffer) == b"\0\0abc\0\0\0\0\0"
    assert fs.used == used + 5
    with pytest.raises(GuestError) as caught:
        file.pwrite(NOBODY, [memoryview(b"abc")], 1 << 49)
    assert caught.value.errno is Errno.ENOSPC
    with pytest.raises(GuestError) as caught:
        file.allocate(0, LIMIT)
    assert caught.value.errno is Errno.ENOSPC
    assert fs.used == used + 5
    with pytest.raises(GuestError) as caught:
        fs.root.lookup(NOBODY, b"f").content()
    assert caught.value.errno is Errno.EFBIG


def test_overlapping_writes(fs) -> None:
    file = opened(fs.root.create(b"f"))
    model = bytearray()
    for offset, data in (
        (0, b"0123456789"),
        (8, b"abcd"),
        (2, b"XY"),
        (20, b"end"),
        (12, b"-" * 9),
    ):
        file.pwrite(NOBODY, [memoryview(data[:3]), memoryview(data[3:])], offset)
        model.extend(bytes(max(0, offset + len(data) - len(model))))
        model[offset : offset + len(data)] = data
    buffer = bytearray(100)
    count = file.pread(NOBODY, [memoryview(buffer)], 0)
    assert buffer[:count] == model


def test_nothing_is_opened_after_it_is_gone(fs) -> None:
    node = fs.root.create(b"f")
    fs.root.unlink(b"f")
    with pytest.raises(GuestError) as caught:
        node.open(NOBODY, BOTH)
    assert caught.value.errno is Errno.ENOENT
    with pytest.raises(GuestError) as caught:
        fs.root.link(b"again", node)
    assert caught.value.errno is Errno.ENOENT


def test_pwrite_appends_as_linux_does(fs) -> None:
    file = opened(fs.root.create(b"f"), OpenFlags(write=True, fdflags=APPEND))
    write(file, b"0123")
    file.pwrite(NOBODY, [memoryview(b"ab")], 0)
    assert bytes(fs.root.lookup(NOBODY, b"f").content().data) == b"0123ab"


def test_two_file_systems_are_two_devices(fs) -> None:
    other = Tmpfs(LIMIT, mode=0o1777)
    assert other.root.stat().dev != fs.root.stat().dev
    assert other.root.stat().mode == 0o1777
    with pytest.raises(GuestError) as caught:
        fs.root.rename(b"x", other.root, b"x")
    assert caught.value.errno is Errno.EXDEV


def test_link_counts_of_directories(fs) -> None:
    fs.root.mkdir(b"a")
    fs.root.mkdir(b"b").mkdir(b"c")
    assert fs.root.stat().nlink == 4
    fs.root.lookup(NOBODY, b"b").rename(b"c", fs.root, b"c")
    assert (fs.root.stat().nlink, fs.root.lookup(NOBODY, b"b").stat().nlink) == (5, 2)
