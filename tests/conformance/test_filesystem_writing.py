"""What changing files answers, the same on every writable file system."""

from __future__ import annotations

import threading
import time

import pytest
from filesystem_suite import (
    BOTH,
    READ,
    TIME,
    WRITABLE,
    WRITE,
    Files,
    Link,
    pread,
    pwrite,
    read,
    read_all,
    refused,
    tell,
    write,
)

from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi.errno import Errno
from balenawasm.wasi.flags import APPEND, O_CREAT, O_EXCL, O_TRUNC, Filetype, Whence

APPENDING = OpenFlags(write=True, fdflags=APPEND)


@pytest.fixture
def made():
    return []


@pytest.fixture(params=WRITABLE)
def make(request, tmp_path, made):
    def maker(tree):
        made.append(Files(WRITABLE[request.param](tmp_path, tree)))
        return made[-1]

    yield maker
    for files in made:
        files.close_all()


def test_create(make) -> None:
    files = make({b"d": None, b"link": Link(b"d/new"), b"file": b"old"})
    before = time.time_ns()
    file = files.open(b"d/f", BOTH, O_CREAT | O_EXCL)
    stat = file.stat()
    assert stat.size == 0
    assert stat.nlink == 1
    assert stat.filetype is Filetype.REGULAR_FILE
    assert stat.mtim > before - 10**9
    assert files.stat(b"d").mtim > before - 10**9
    with refused(Errno.EEXIST):
        files.open(b"d/f", BOTH, O_CREAT | O_EXCL)
    with refused(Errno.EEXIST):
        files.open(b"link", BOTH, O_CREAT | O_EXCL)
    with refused(Errno.ELOOP):
        files.open(b"link", BOTH, O_CREAT, follow=False)
    write(files.open(b"link", BOTH, O_CREAT), b"through")
    assert files.read(b"d/new") == b"through"
    with refused(Errno.EISDIR):
        files.open(b"d/other/", BOTH, O_CREAT)
    with refused(Errno.ENOENT):
        files.open(b"none/f", BOTH, O_CREAT)
    with refused(Errno.ENOTDIR):
        files.open(b"file/f", BOTH, O_CREAT)
    assert read_all(files.open(b"file", BOTH, O_CREAT)) == b"old"
    assert read_all(files.open(b"file", BOTH, O_CREAT | O_TRUNC)) == b""
    assert files.names(b"d") == {b"f", b"new"}


def test_writing(make) -> None:
    files = make({b"file": b"0123456789"})
    file = files.open(b"file", BOTH)
    assert write(file, b"ab") == 2
    assert read(file, 3) == b"234"
    assert pwrite(file, b"XY", 8) == 2
    assert tell(file) == 5
    assert pread(file, 100, 0) == b"ab234567XY"
    assert file.write(NOBODY, [memoryview(b) for b in (b"-", b"", b"++")]) == 3
    assert file.write(NOBODY, []) == 0
    assert pread(file, 100, 0) == b"ab234-++XY"
    file.seek(2, Whence.END)
    assert write(file, b"end") == 3
    assert file.stat().size == 15
    assert pread(file, 100, 10) == b"\0\0end"
    assert pwrite(file, b"!", 100_000) == 1
    assert file.stat().size == 100_001
    assert pread(file, 3, 50_000) == b"\0\0\0"
    with refused(Errno.EINVAL):
        pwrite(file, b"x", 1 << 63)
    with refused(Errno.EFBIG, Errno.EINVAL):
        pwrite(file, b"xx", (1 << 63) - 1)
    file.sync(data_only=False)
    assert files.stat(b"file") == file.stat()
    only = files.open(b"file", WRITE)
    with refused(Errno.EBADF):
        read(only, 1)
    with refused(Errno.EBADF):
        pread(only, 1, 0)
    assert (only.readable, only.writable) == (False, True)


def test_append(make) -> None:
    files = make({b"file": b"0123"})
    file = files.open(b"file", APPENDING)
    other = files.open(b"file", APPENDING)
    assert write(file, b"ab") == 2
    assert tell(file) == 6
    assert write(other, b"cd") == 2
    file.seek(0, Whence.SET)
    assert write(file, b"ef") == 2
    assert tell(file) == 10
    assert pread(file, 100, 0) == b"0123abcdef"
    file.set_flags(0)
    file.seek(1, Whence.SET)
    write(file, b"-")
    file.set_flags(APPEND)
    write(file, b"+")
    assert pread(file, 100, 0) == b"0-23abcdef+"
    assert file.flags == APPEND


def test_two_writers_append_whole_lines(make) -> None:
    files = make({b"log": b""})

    def work(letter: bytes) -> None:
        log = files.open(b"log", APPENDING)
        for _ in range(100):
            write(log, letter * 20 + b"\n")

    threads = [threading.Thread(target=work, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = files.read(b"log").splitlines()
    assert sorted(lines) == [b"a" * 20] * 100 + [b"b" * 20] * 100 + [b"c" * 20] * 100


def test_truncate(make) -> None:
    files = make({b"file": b"0123456789"})
    file = files.open(b"file", BOTH)
    file.truncate(4)
    assert pread(file, 100, 0) == b"0123"
    file.truncate(6)
    assert pread(file, 100, 0) == b"0123\0\0"
    write(file, b"x")
    assert pread(file, 100, 0) == b"x123\0\0"
    file.truncate(1 << 33)
    assert file.stat().size == 1 << 33
    assert pread(file, 2, (1 << 33) - 1) == b"\0"
    file.truncate(0)
    assert files.stat(b"file").size == 0
    files.at(b"file").node.truncate(3)
    assert files.read(b"file") == b"\0\0\0"
    with refused(Errno.EFBIG):
        file.truncate(1 << 63)
    with refused(Errno.EINVAL):
        files.open(b"file").truncate(0)
    with refused(Errno.EINVAL):
        files.at(b".").node.truncate(0)


def test_truncating_open(make) -> None:
    files = make({b"file": b"0123456789", b"other": b"abc", b"d": None})
    assert files.open(b"file", WRITE, O_TRUNC).stat().size == 0
    assert files.open(b"other", READ, O_TRUNC).stat().size == 0
    with refused(Errno.EISDIR):
        files.open(b"d", READ, O_TRUNC)


def test_allocate(make) -> None:
    files = make({b"file": b"0123"})
    file = files.open(b"file", BOTH)
    file.allocate(0, 2)
    assert file.stat().size == 4
    file.allocate(2, 100)
    assert file.stat().size == 102
    assert pread(file, 10, 0) == b"0123" + b"\0" * 6
    with refused(Errno.EINVAL):
        file.allocate(0, 0)
    with refused(Errno.EFBIG):
        file.allocate(1 << 62, 1 << 62)


def test_times(make) -> None:
    files = make({b"file": b"x", b"d": None, b"link": Link(b"file")})
    for path in (b"file", b"d", b"link"):
        files.set_times(path, 1_000_000_007, 2_000_000_000_000_000_009)
        assert files.stat(path).atim == 1_000_000_007
        assert files.stat(path).mtim == 2_000_000_000_000_000_009
        files.set_times(path, None, 5)
        files.set_times(path, 6, None)
        assert (files.stat(path).atim, files.stat(path).mtim) == (6, 5)
    file = files.open(b"file", BOTH)
    file.set_times(None, 77)
    assert (file.stat().atim, file.stat().mtim) == (6, 77)
    write(file, b"y")
    assert file.stat().mtim > TIME
    directory = files.open(b"d")
    directory.set_times(8, 9)
    assert (files.stat(b"d").atim, files.stat(b"d").mtim) == (8, 9)
    reading = files.open(b"file")
    reading.set_times(10, 11)
    assert files.stat(b"file").mtim == 11


def test_mkdir_and_rmdir(make) -> None:
    files = make({b"d": None, b"d/e": None, b"file": b"", b"link": Link(b"d"), b"gone": Link(b"x")})
    files.mkdir(b"new")
    files.mkdir(b"other/")
    files.mkdir(b"new/inner///")
    assert files.stat(b"new").filetype is Filetype.DIRECTORY
    for path in (b"d", b"d/", b"file", b"file/", b"link", b"gone", b".", b"..", b"/", b"d/."):
        with refused(Errno.EEXIST):
            files.mkdir(path)
    with refused(Errno.ENOENT):
        files.mkdir(b"none/x")
    with refused(Errno.ENOTDIR):
        files.mkdir(b"file/x")
    for path in (b"file", b"file/", b"link", b"link/"):
        with refused(Errno.ENOTDIR):
            files.rmdir(path)
    for path in (b"d", b"new"):
        with refused(Errno.ENOTEMPTY):
            files.rmdir(path)
    with refused(Errno.ENOENT):
        files.rmdir(b"none")
    with refused(Errno.EINVAL):
        files.rmdir(b"d/.")
    with refused(Errno.ENOTEMPTY):
        files.rmdir(b"d/..")
    with refused(Errno.EBUSY):
        files.rmdir(b"/")
    files.rmdir(b"d/e/")
    files.rmdir(b"d")
    assert not files.exists(b"d")
    files.mkdir(b"d")
    assert files.names(b"d") == set()


def test_unlink(make) -> None:
    files = make({b"d": None, b"file": b"", b"f2": b"", b"link": Link(b"d"), b"gone": Link(b"x")})
    for path in (b"d", b"d/", b".", b"..", b"/"):
        with refused(Errno.EISDIR):
            files.unlink(path)
    for path in (b"file/", b"link/"):
        with refused(Errno.ENOTDIR):
            files.unlink(path)
    for path in (b"none", b"none/"):
        with refused(Errno.ENOENT):
            files.unlink(path)
    for path in (b"file", b"link", b"gone"):
        files.unlink(path)
        assert not files.exists(path)
        with refused(Errno.ENOENT):
            files.unlink(path)
    assert files.names(b".") == {b"d", b"f2"}
    files.write(b"file", b"again")
    assert files.read(b"file") == b"again"


def test_symlink(make) -> None:
    files = make({b"d": None, b"file": b"data", b"gone": Link(b"x")})
    files.symlink(b"file", b"link")
    assert files.readlink(b"link") == b"file"
    assert files.read(b"link") == b"data"
    files.symlink(b"../file", b"d/up")
    assert files.read(b"d/up") == b"data"
    for path in (b"file", b"d", b"gone", b"d/", b".", b"/"):
        with refused(Errno.EEXIST):
            files.symlink(b"x", path)
    with refused(Errno.EEXIST, Errno.ENOTDIR):
        files.symlink(b"x", b"file/")
    with refused(Errno.ENOENT):
        files.symlink(b"x", b"new/")
    with refused(Errno.ENOENT):
        files.symlink(b"", b"new")
    with refused(Errno.EINVAL):
        files.symlink(b"a\0", b"new")


def test_link(make) -> None:
    files = make({b"d": None, b"file": b"data", b"soft": Link(b"file"), b"gone": Link(b"x")})
    files.link(b"file", b"d/hard")
    one, two = files.stat(b"file"), files.stat(b"d/hard")
    assert one == two
    assert one.nlink == 2
    write(files.open(b"d/hard", BOTH), b"DA")
    assert files.read(b"file") == b"DAta"
    files.unlink(b"file")
    assert files.read(b"d/hard") == b"DAta"
    assert files.stat(b"d/hard").nlink == 1
    assert files.stat(b"d/hard").ino == one.ino
    files.link(b"soft", b"soft2")
    assert files.readlink(b"soft2") == b"file"
    files.link(b"gone", b"gone2")
    for path in (b"d", b"soft", b"gone", b"d/hard", b"d/", b"."):
        with refused(Errno.EEXIST):
            files.link(b"d/hard", path)
    with refused(Errno.EPERM):
        files.link(b"d", b"d2")
    with refused(Errno.ENOENT):
        files.link(b"d/hard", b"new/")
    with refused(Errno.ENOTDIR):
        files.link(b"d/hard/", b"new")
    with refused(Errno.ENOENT):
        files.link(b"none", b"new")
    with refused(Errno.ENOENT):
        files.link(b"gone", b"new", follow=True)


def test_rename_files(make) -> None:
    files = make({b"a": b"A", b"b": b"B", b"d": None, b"d/c": b"C", b"link": Link(b"a")})
    ino = files.stat(b"a").ino
    files.rename(b"a", b"new")
    assert not files.exists(b"a")
    assert files.read(b"new") == b"A"
    assert files.stat(b"new").ino == ino
    files.rename(b"new", b"b")
    assert files.read(b"b") == b"A"
    files.rename(b"b", b"d/c")
    assert files.read(b"d/c") == b"A"
    files.rename(b"d/c", b"d/c")
    files.rename(b"link", b"l2")
    assert files.readlink(b"l2") == b"a"
    files.link(b"d/c", b"same")
    files.rename(b"same", b"d/c")
    assert files.exists(b"same")
    assert files.tree() == {b"d": None, b"d/c": b"A", b"l2": Link(b"a"), b"same": b"A"}
    with refused(Errno.ENOENT):
        files.rename(b"none", b"x")
    with refused(Errno.ENOENT):
        files.rename(b"same", b"none/x")
    with refused(Errno.EISDIR):
        files.rename(b"same", b"d")
    for old, new in ((b"same/", b"x"), (b"same", b"x/"), (b"same", b"d/c/x")):
        with refused(Errno.ENOTDIR):
            files.rename(old, new)


def test_rename_directories(make) -> None:
    files = make(
        {
            b"d": None,
            b"d/sub": None,
            b"d/sub/f": b"F",
            b"d/x": Link(b"sub/f"),
            b"empty": None,
            b"full": None,
            b"full/f": b"",
            b"file": b"",
        }
    )
    ino = files.stat(b"d").ino
    with refused(Errno.ENOTEMPTY):
        files.rename(b"d", b"full")
    with refused(Errno.ENOTDIR):
        files.rename(b"d", b"file")
    for inside in (b"d/y", b"d/sub/y", b"d/sub"):
        with refused(Errno.EINVAL, Errno.ENOTEMPTY):
            files.rename(b"d", inside)
    with refused(Errno.ENOTEMPTY):
        files.rename(b"d/sub", b"d")
    for path in (b".", b"..", b"/", b"d/.", b"d/.."):
        with refused(Errno.EBUSY):
            files.rename(path, b"x")
        with refused(Errno.EBUSY):
            files.rename(b"d", path)
    files.rename(b"d/", b"moved/")
    assert files.stat(b"moved").ino == ino
    assert files.read(b"moved/x") == b"F"
    assert not files.exists(b"d")
    files.rename(b"moved", b"empty")
    files.rename(b"empty", b"full/deep")
    files.write(b"full/deep/sub/g", b"G")
    files.mkdir(b"d")
    assert files.tree() == {
        b"d": None,
        b"full": None,
        b"full/f": b"",
        b"full/deep": None,
        b"full/deep/sub": None,
        b"full/deep/sub/f": b"F",
        b"full/deep/sub/g": b"G",
        b"full/deep/x": Link(b"sub/f"),
        b"file": b"",
    }


def test_unlinked_files_live_on(make) -> None:
    files = make({b"file": b"0123456789"})
    reading, writing = files.open(b"file"), files.open(b"file", BOTH)
    files.unlink(b"file")
    write(writing, b"ab")
    writing.truncate(5)
    assert pread(writing, 100, 0) == b"ab234"
    assert writing.stat().nlink == 0
    assert reading.stat().filetype is Filetype.REGULAR_FILE
    assert pread(reading, 3, 2) == b"234"
    files.write(b"file", b"other")
    assert pread(writing, 100, 0) == b"ab234"


def test_replaced_files_live_on(make) -> None:
    files = make({b"file": b"old", b"new": b"new"})
    reading = files.open(b"file")
    files.rename(b"new", b"file")
    assert read_all(reading) == b"old"
    assert files.read(b"file") == b"new"


def test_removed_directories_are_dead(make) -> None:
    files = make({b"d": None, b"file": b""})
    location = files.at(b"d")
    directory = files.open(b"d")
    files.rmdir(b"d")
    for call in (
        lambda: location.node.create(b"x"),
        lambda: location.node.mkdir(b"x"),
        lambda: location.node.symlink(b"x", b"y"),
        lambda: location.node.link(b"x", files.at(b"file").node),
        lambda: files.at(b".").node.rename(b"file", location.node, b"x"),
        lambda: location.node.lookup(NOBODY, b"x"),
    ):
        with refused(Errno.ENOENT):
            call()
    assert directory.entries(NOBODY) == []
    assert directory.stat().filetype is Filetype.DIRECTORY


def test_readdir_while_removing_skips_nothing(make) -> None:
    tree = {b"f%d" % number: b"" for number in range(50)}
    files = make(tree)
    directory = files.open(b".")
    seen, cookie = set(), 0
    while chunk := directory.listing(NOBODY, restart=cookie == 0)[cookie : cookie + 7]:
        cookie += len(chunk)
        for entry in chunk:
            if entry.name not in (b".", b".."):
                seen.add(entry.name)
                files.unlink(entry.name)
    assert seen == set(tree)
    assert len(directory.listing(NOBODY, restart=True)) == 2
    files.write(b"new", b"")
    assert directory.listing(NOBODY, restart=True)[2].name == b"new"


def test_other_file_systems_are_other(make) -> None:
    files = make({b"file": b"", b"d": None})
    other = Files(WRITABLE["tmpfs"](None, {b"x": b"", b"y": None}))
    files.namespace.mount(b"/mnt", other.root)
    for old, new in (
        (b"file", b"mnt/f"),
        (b"mnt/x", b"f"),
        (b"d", b"mnt/d"),
        (b"mnt/y", b"y"),
    ):
        with refused(Errno.EXDEV):
            files.rename(old, new)
    for old, new in ((b"file", b"mnt/f"), (b"mnt/x", b"f")):
        with refused(Errno.EXDEV):
            files.link(old, new)
    with refused(Errno.EBUSY):
        files.rename(b"d", b"mnt")
    with refused(Errno.EBUSY):
        files.rename(b"mnt", b"e")
    with refused(Errno.EBUSY):
        files.rmdir(b"mnt")
    with refused(Errno.EISDIR):
        files.unlink(b"mnt")
    with refused(Errno.EEXIST):
        files.mkdir(b"mnt")
    assert files.names(b".") == {b"file", b"d", b"mnt"}


def test_many_threads(make) -> None:
    """Threads that make, move and remove files in one directory end with exactly what they left."""
    files = make({b"d": None, b"e": None, b"shared": b"x" * 1000})
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(15):
                name = b"%d-%d" % (number, turn)
                files.write(b"d/" + name, name)
                files.rename(b"d/" + name, b"e/" + name)
                assert files.read(b"e/" + name) == name
                files.mkdir(b"d/" + name)
                files.at(b"d")
                if turn % 3:
                    files.unlink(b"e/" + name)
                    files.rmdir(b"d/" + name)
                with refused(Errno.EEXIST):
                    files.open(b"shared", BOTH, O_CREAT | O_EXCL)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    kept = {b"%d-%d" % (number, turn) for number in range(4) for turn in range(0, 15, 3)}
    assert files.names(b"d") == files.names(b"e") == kept
