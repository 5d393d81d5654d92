"""The limit of an overlay's upper directory: what counts, what is refused, what is given back."""

from __future__ import annotations

import io
import stat

import pytest

from balenawasm.disk.entry import Entry
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.disk.ext4.writer import write_image
from balenawasm.vfs.filesystems.image import ImageFs
from balenawasm.vfs.filesystems.overlay import Overlay
from balenawasm.vfs.filesystems.quota import BLOCK, Quota
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import APPEND, Whence

WRITE = OpenFlags(write=True)
LIMIT = 16 * BLOCK
BIG = b"x" * (40 * BLOCK)


@pytest.fixture
def upper(tmp_path):
    return tmp_path / "upper"


@pytest.fixture
def lower():
    out = io.BytesIO()
    entries = [
        Entry(path=b"", mode=stat.S_IFDIR | 0o755),
        Entry(path=b"dir", mode=stat.S_IFDIR | 0o755),
        Entry(path=b"dir/small", mode=stat.S_IFREG | 0o644, source=b"s" * 100),
        Entry(path=b"dir/large", mode=stat.S_IFREG | 0o644, source=BIG),
    ]
    write_image(entries, out)
    return ImageFs(Ext4Image(out.getvalue()), "sha256:x").root


class Root:
    """An overlay with a limit, and what is done in its root directory."""

    def __init__(self, lower, upper):
        self.quota = Quota(LIMIT, upper)
        self.node = Overlay([lower], upper, durable=False, quota=self.quota).root

    def open(self, name, flags=WRITE, *, create=False):
        node = self.node.create(name) if create else self.node.lookup(NOBODY, name)
        description = node.open(NOBODY, flags)
        description.retain()
        return description

    @property
    def used(self):
        return self.quota.used // BLOCK


@pytest.fixture
def root(lower, upper):
    return Root(lower, upper)


def full():
    return pytest.raises(GuestError, match=f"^{Errno.ENOSPC.value}$")


def fill(description, data=BIG):
    return description.write(NOBODY, [memoryview(data)])


def test_a_write_is_cut_short_and_the_next_refused(root):
    file = root.open(b"f", create=True)
    assert root.used == 1
    assert fill(file) == 15 * BLOCK
    with full():
        fill(file)
    # What is there may be written over.
    file.seek(0, Whence.SET)
    assert fill(file, BIG[: 15 * BLOCK]) == 15 * BLOCK
    with full():
        root.node.create(b"g")
    with full():
        root.node.mkdir(b"g")
    with full():
        root.node.symlink(b"g", b"f")
    with full():
        root.node.link(b"g", root.node.lookup(NOBODY, b"f"))
    assert root.used == 16


def test_removing_gives_back_when_the_last_fd_is_closed(root):
    file, same = root.open(b"f", create=True), root.open(b"f", OpenFlags())
    fill(file)
    root.node.unlink(b"f")
    assert root.used == 15
    file.release()
    assert root.used == 15
    same.release()
    assert root.used == 0
    fill(root.open(b"g", create=True))
    assert root.used == 16


def test_a_removed_file_still_grows_against_the_limit(root):
    file = root.open(b"f", create=True)
    root.node.unlink(b"f")
    assert fill(file) == 16 * BLOCK
    with full():
        fill(file)
    file.release()
    assert root.used == 0


def test_truncating_allocating_and_holes(root):
    file = root.open(b"f", create=True)
    with full():
        file.truncate(16 * BLOCK)
    file.truncate(15 * BLOCK)
    assert root.used == 16
    file.truncate(1)
    assert root.used == 2
    with full():
        file.allocate(0, 16 * BLOCK)
    file.allocate(0, 3 * BLOCK)
    assert root.used == 4
    # A hole counts as if it were filled.
    assert file.pwrite(NOBODY, [memoryview(b"x")], 10 * BLOCK) == 1
    assert root.used == 12
    with full():
        file.pwrite(NOBODY, [memoryview(b"x")], 20 * BLOCK)
    file.release()
    root.open(b"f", OpenFlags(write=True, truncate=True)).release()
    assert root.used == 1
    root.node.lookup(NOBODY, b"f").truncate(5 * BLOCK)
    assert root.used == 6
    with full():
        root.node.lookup(NOBODY, b"f").truncate(50 * BLOCK)


def test_appending(root):
    file = root.open(b"f", OpenFlags(write=True, fdflags=APPEND), create=True)
    assert fill(file, b"x" * BLOCK) == BLOCK
    file.seek(0, Whence.SET)
    assert fill(file) == 14 * BLOCK
    with full():
        file.pwrite(NOBODY, [memoryview(b"x")], 0)


def test_names_and_links(root):
    root.node.mkdir(b"d")
    root.node.symlink(b"l", b"d")
    file = root.open(b"f", create=True)
    fill(file, b"x" * BLOCK)
    assert root.used == 4
    root.node.link(b"g", root.node.lookup(NOBODY, b"f"))
    assert root.used == 5
    root.node.unlink(b"f")
    assert root.used == 4  # the other name keeps the data
    root.node.rename(b"g", root.node.lookup(NOBODY, b"d"), b"h")
    assert root.used == 4
    file.release()
    root.open(b"k", create=True).release()
    root.node.rename(b"k", root.node.lookup(NOBODY, b"d"), b"h")
    assert root.used == 3  # the replaced file is gone with its data
    root.node.lookup(NOBODY, b"d").unlink(b"h")
    root.node.rmdir(b"d")
    root.node.unlink(b"l")
    assert root.used == 0


def test_files_of_layers(root):
    directory = root.node.lookup(NOBODY, b"dir")
    with full():
        directory.lookup(NOBODY, b"large").open(NOBODY, WRITE)
    assert root.used == 1  # the directory's part above the layer
    directory.lookup(NOBODY, b"small").set_times(0, 0)
    assert root.used == 3
    # Emptied at once, a large file need not be copied.
    directory.lookup(NOBODY, b"large").truncate(0)
    assert root.used == 4
    directory.unlink(b"large")
    directory.unlink(b"small")
    assert root.used == 1
    fill(root.open(b"f", create=True))
    # Full: what a layer has can be removed all the same.
    root.node.rmdir(b"dir")
    assert [entry.name for entry in root.node.entries(NOBODY)] == [b"f"]


def test_the_next_life_counts_the_same(root, lower, upper):
    file = root.open(b"f", create=True)
    fill(file, b"x" * (BLOCK + 1))
    root.node.link(b"g", root.node.lookup(NOBODY, b"f"))
    directory = root.node.lookup(NOBODY, b"dir")
    directory.lookup(NOBODY, b"small").set_times(0, 0)
    directory.unlink(b"large")
    root.node.mkdir(b"d")
    assert root.used == 8
    assert Quota(LIMIT, upper).used == 8 * BLOCK
    again = Root(lower, upper)
    again.node.unlink(b"f")
    again.node.unlink(b"g")
    assert again.used == 4


def test_what_is_free(root):
    root.open(b"f", create=True).release()
    capacity = root.node.capacity()
    assert (capacity.block_size, capacity.blocks, capacity.available) == (BLOCK, 16, 15)
