"""What reading answers, the same on every file system."""

from __future__ import annotations

import pytest
from filesystem_suite import (
    BOTH,
    READ,
    READ_ONLY,
    TIME,
    WRITABLE,
    Files,
    Link,
    Tree,
    pread,
    read,
    read_all,
    refused,
    tell,
)

from balenawasm.vfs.mounts import NOBODY
from balenawasm.wasi.errno import Errno
from balenawasm.wasi.flags import O_CREAT, O_DIRECTORY, O_EXCL, Filetype, Whence

BIG = bytes(range(256)) * 1031
TREE: Tree = {
    b"dir": None,
    b"dir/file": b"hello\n",
    b"dir/nested": None,
    b"dir/nested/deep": b"d",
    b"big": BIG,
    b"empty": b"",
    b"to-file": Link(b"dir/file"),
    b"to-dir": Link(b"dir"),
    b"absolute": Link(b"/dir/file"),
    b"up": Link(b"../../../dir/file"),
    b"chain": Link(b"to-file"),
    b"loop": Link(b"loop"),
    b"dangling": Link(b"nowhere"),
    b"through-file": Link(b"big/x"),
    b"dir/back": Link(b"../big"),
    b"bad\xff\xfename": b"bytes",
}


@pytest.fixture(params=[*WRITABLE, *READ_ONLY])
def files(request, tmp_path):
    maker = {**WRITABLE, **READ_ONLY}[request.param]
    files = Files(maker(tmp_path, TREE))
    yield files
    files.close_all()


def test_whole_tree(files) -> None:
    assert files.tree() == TREE


def test_resolution(files) -> None:
    for path in (
        b"dir/file",
        b"/dir/file",
        b"dir//./nested/../file",
        b"dir/.//nested/../../dir/nested/.././/file",
        b"../../dir/file",
        b"to-dir/file",
        b"chain",
        b"absolute",
        b"up",
    ):
        assert files.read(path) == b"hello\n", path
    assert files.read(b"dir/back") == BIG
    assert files.at(b"to-dir/nested").path() == b"/dir/nested"
    assert files.at(b"..").path() == b"/"


@pytest.mark.parametrize(
    ("path", "errno"),
    [
        (b"", Errno.ENOENT),
        (b"nowhere", Errno.ENOENT),
        (b"nowhere/x", Errno.ENOENT),
        (b"nowhere/../big", Errno.ENOENT),
        (b"dangling", Errno.ENOENT),
        (b"big/", Errno.ENOTDIR),
        (b"big///", Errno.ENOTDIR),
        (b"big/.", Errno.ENOTDIR),
        (b"big/..", Errno.ENOTDIR),
        (b"big/x", Errno.ENOTDIR),
        (b"to-file/", Errno.ENOTDIR),
        (b"through-file", Errno.ENOTDIR),
        (b"loop", Errno.ELOOP),
        (b"loop/x", Errno.ELOOP),
        (b"a\0b", Errno.EINVAL),
        (b"dir/file\0", Errno.EINVAL),
        (b"n" * 256, Errno.ENAMETOOLONG),
        (b"dir/" + b"n" * 256 + b"/x", Errno.ENAMETOOLONG),
        (b"x/" * 2048 + b"x", Errno.ENAMETOOLONG),
    ],
)
def test_resolution_refused(files, path, errno) -> None:
    with refused(errno):
        files.open(path)
    with refused(errno):
        files.stat(path, follow=True)


def test_beneath(files) -> None:
    start = files.at(b"dir")
    for path in (b"file", b"nested/../file", b"./nested/.././file", b"back"):
        files.open(path, start=start, beneath=True)
    for path in (b"..", b"../big", b"nested/../../dir/file", b"/dir/file", b"../dir/file"):
        with refused(Errno.EPERM):
            files.open(path, start=start, beneath=True)
    with refused(Errno.EPERM):
        files.open(b"../new", BOTH, O_CREAT, start=start, beneath=True)
    with refused(Errno.EPERM):
        files.namespace.unlink(NOBODY, start, b"../big", beneath=True)
    with refused(Errno.EPERM):
        files.namespace.resolve_parent(NOBODY, start, b"..", beneath=True)


def test_not_following(files) -> None:
    for path in (b"to-file", b"to-dir", b"dangling", b"loop"):
        with refused(Errno.ELOOP):
            files.open(path, follow=False)
        with refused(Errno.ELOOP, Errno.ENOTDIR):
            files.open(path, oflags=O_DIRECTORY, follow=False)
        assert files.stat(path).filetype is Filetype.SYMBOLIC_LINK
    assert files.open(b"to-dir/", follow=False).filetype is Filetype.DIRECTORY
    assert files.open(b"to-dir/file", follow=False).filetype is Filetype.REGULAR_FILE


def test_opening_kinds(files) -> None:
    assert files.open(b"dir", oflags=O_DIRECTORY).filetype is Filetype.DIRECTORY
    assert files.open(b"to-dir", oflags=O_DIRECTORY).filetype is Filetype.DIRECTORY
    with refused(Errno.ENOTDIR):
        files.open(b"big", oflags=O_DIRECTORY)
    with refused(Errno.ENOTDIR):
        files.open(b"to-file", oflags=O_DIRECTORY)
    for path in (b"dir", b".", b"/", b"to-dir"):
        with refused(Errno.EISDIR):
            files.open(path, BOTH)
    with refused(Errno.EEXIST):
        files.open(b"big", READ, O_CREAT | O_EXCL)
    with refused(Errno.EEXIST):
        files.open(b"dangling", READ, O_CREAT | O_EXCL)
    with refused(Errno.EISDIR):
        files.open(b"dir", READ, O_CREAT)
    with refused(Errno.EISDIR):
        files.open(b"new/", READ, O_CREAT)
    assert read_all(files.open(b"dir/file", READ, O_CREAT)) == b"hello\n"


def test_directory_description(files) -> None:
    directory = files.open(b"dir")
    with refused(Errno.EISDIR):
        read(directory, 10)
    with refused(Errno.EISDIR):
        pread(directory, 10, 0)
    with refused(Errno.EBADF):
        directory.write(NOBODY, [memoryview(b"x")])
    with refused(Errno.EISDIR):
        directory.seek(0, Whence.CUR)
    with refused(Errno.EINVAL, Errno.EBADF):
        directory.truncate(0)
    with refused(Errno.EBADF):
        directory.allocate(0, 1)
    with refused(Errno.ENOTSOCK):
        directory.shutdown(1)
    assert not directory.writable
    directory.sync(data_only=False)


def test_listing(files) -> None:
    directory = files.open(b"dir")
    listing = directory.listing(NOBODY, restart=True)
    assert [entry.name for entry in listing[:2]] == [b".", b".."]
    assert listing[0].ino == directory.stat().ino == files.stat(b"dir").ino
    assert listing[1].ino == files.stat(b".").ino
    assert {entry.name for entry in listing[2:]} == {b"file", b"nested", b"back"}
    for entry in listing[2:]:
        stat = files.stat(b"dir/" + entry.name)
        assert (stat.ino, stat.filetype) == (entry.ino, entry.filetype)
    assert directory.listing(NOBODY, restart=False) == listing
    assert directory.entries(NOBODY) == listing[2:]
    with refused(Errno.ENOTDIR):
        files.open(b"big").entries(NOBODY)


def test_stat(files) -> None:
    stat = files.stat(b"big")
    assert stat.size == len(BIG)
    assert stat.mtim == TIME
    assert stat.nlink == 1
    assert stat.filetype is Filetype.REGULAR_FILE
    assert files.open(b"big").stat() == stat
    assert files.stat(b"chain").size == len(b"to-file")
    assert files.stat(b"chain", follow=True) == files.stat(b"dir/file")
    assert files.stat(b"dir").filetype is Filetype.DIRECTORY
    assert files.stat(b"dir").mtim == TIME
    inodes = {(s.dev, s.ino) for s in map(files.stat, (b".", b"dir", b"big", b"empty", b"chain"))}
    assert len(inodes) == 5
    assert len({dev for dev, _ in inodes}) == 1


def test_readlink(files) -> None:
    assert files.readlink(b"chain") == b"to-file"
    assert files.readlink(b"to-dir/back") == b"../big"
    for path in (b"big", b"dir", b"to-dir/"):
        with refused(Errno.EINVAL):
            files.readlink(path)


def test_reading(files) -> None:
    big = files.open(b"big")
    assert big.seekable
    assert big.readable
    assert not big.writable
    assert read(big, 10) == BIG[:10]
    assert tell(big) == 10
    assert pread(big, 10, 1000) == BIG[1000:1010]
    assert tell(big) == 10
    buffers = [memoryview(bytearray(n)) for n in (3, 0, 5, 70_000)]
    assert big.read(NOBODY, buffers) == 70_008
    assert b"".join(buffers) == BIG[10:70_018]
    assert big.pread(NOBODY, buffers, len(BIG) - 5) == 5
    assert b"".join(buffers)[:5] == BIG[-5:]
    assert big.read(NOBODY, []) == 0
    assert big.seek(-3, Whence.END) == len(BIG) - 3
    assert read(big, 10) == BIG[-3:]
    assert read(big, 10) == b""
    assert big.seek(1 << 40, Whence.SET) == 1 << 40
    assert read(big, 10) == b""
    assert big.seek(-5, Whence.CUR) == (1 << 40) - 5
    assert pread(big, 10, 1 << 50) == b""
    for offset, whence in ((-1, Whence.SET), (-(1 << 41), Whence.CUR), (-(1 << 41), Whence.END)):
        with refused(Errno.EINVAL):
            big.seek(offset, whence)
    with refused(Errno.EINVAL):
        pread(big, 10, 1 << 63)
    assert tell(big) == (1 << 40) - 5
    with refused(Errno.EBADF):
        big.write(NOBODY, [memoryview(b"x")])
    with refused(Errno.EBADF):
        big.pwrite(NOBODY, [memoryview(b"x")], 0)
    with refused(Errno.EBADF, Errno.EINVAL):
        big.truncate(0)
    with refused(Errno.EBADF):
        big.allocate(0, 10)
    big.sync(data_only=True)


def test_content(files) -> None:
    assert bytes(files.at(b"big").node.content().data) == BIG
    assert bytes(files.at(b"empty").node.content().data) == b""
    with refused(Errno.EISDIR):
        files.at(b"dir").node.content()


def test_offset_is_shared_by_everyone_who_holds_the_description(files) -> None:
    big = files.open(b"big")
    big.retain()
    assert read(big, 10) == BIG[:10]
    big.release()
    assert read(big, 10) == BIG[10:20]
    other = files.open(b"big")
    assert read(other, 10) == BIG[:10]


@pytest.mark.parametrize("name", READ_ONLY)
def test_read_only(tmp_path, name) -> None:
    files = Files(READ_ONLY[name](tmp_path, TREE))
    with refused(Errno.EROFS):
        files.open(b"big", BOTH)
    with refused(Errno.EROFS):
        files.open(b"big", READ._replace(truncate=True))
    with refused(Errno.EROFS):
        files.open(b"new", READ, O_CREAT)
    with refused(Errno.EROFS):
        files.mkdir(b"new")
    with refused(Errno.EEXIST):
        files.mkdir(b"dir")
    with refused(Errno.EROFS):
        files.symlink(b"x", b"new")
    with refused(Errno.EROFS):
        files.link(b"big", b"new")
    with refused(Errno.EROFS):
        files.unlink(b"big")
    with refused(Errno.EROFS):
        files.rmdir(b"dir/nested")
    with refused(Errno.EROFS):
        files.rename(b"big", b"new")
    for path in (b"big", b"dir", b"chain"):
        with refused(Errno.EROFS):
            files.set_times(path, 1, 1)
    with refused(Errno.EROFS):
        files.at(b"big").node.truncate(0)
    description = files.open(b"big")
    with refused(Errno.EROFS):
        description.set_times(1, 1)
    files.close_all()
    assert files.tree() == TREE
