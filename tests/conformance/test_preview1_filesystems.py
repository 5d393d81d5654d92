"""What preview 1 promises about files, the same over every file system a guest can write to."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from preview1_guest import CallError, Guest

from balenawasm.kernel.outcome import Exited
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.overlay import Overlay
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from balenawasm.vfs.node import Node


def tmpfs(place: Path) -> Node:
    return Tmpfs(8 << 20).root


def host_directory(place: Path) -> Node:
    (place / "host").mkdir()
    return HostDirectory(place / "host").root


def overlay(place: Path) -> Node:
    """Over two layers; what a test finds is an empty root all the same."""
    for name in ("lower", "middle"):
        (place / name).mkdir()
    lowers = [HostDirectory(place / name, read_only=True).root for name in ("middle", "lower")]
    return Overlay(lowers, place / "upper", durable=False).root


def inside_a_mount(place: Path) -> Node:
    """A directory on a tmpfs, mounted: numbers and `..` go through the mount."""
    return Tmpfs(8 << 20).root.mkdir(b"inner")


@pytest.fixture(params=[tmpfs, host_directory, overlay, inside_a_mount])
def guest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Guest]:
    """A guest whose fd 3 is an empty directory of the file system."""
    guest = Guest()
    guest.namespace.mount(b"/fs", request.param(tmp_path))
    guest.preopen(b"/fs", 3)
    yield guest
    guest.process.finish(Exited(0))


def errno(function: object, *arguments: object, **keywords: object) -> Errno:
    with pytest.raises(CallError) as caught:
        function(*arguments, **keywords)  # type: ignore[operator]
    return caught.value.errno


def test_an_empty_directory(guest: Guest) -> None:
    assert guest.names(3) == [b".", b".."]
    assert guest.stat(b".").filetype == Filetype.DIRECTORY
    assert errno(guest.open, b"..", rights=0) == Errno.EPERM


def test_writing_reading_seeking(guest: Guest) -> None:
    fd = guest.open(b"f", oflags=w.O_CREAT | w.O_EXCL)
    assert guest.write(fd, b"hello world") == 11
    assert guest.tell(fd) == 11
    assert guest.read(fd) == b""
    assert guest.seek(fd, -5, 2) == 6
    assert guest.read(fd, 3) == b"wor"
    assert guest.read(fd, 100, 0) == b"hello world"
    assert guest.write(fd, b"J", 0) == 1
    assert guest.tell(fd) == 9
    assert guest.write(fd, b"end", 20) == 3
    assert guest.read(fd, 100, 11) == bytes(9) + b"end"
    assert guest.stat(fd).size == guest.stat(b"f").size == 23
    assert errno(guest.seek, fd, -1) == Errno.EINVAL
    assert guest.seek(fd, 1 << 40) == 1 << 40
    assert guest.read(fd) == b""


def test_sizes(guest: Guest) -> None:
    fd = guest.open(b"f", oflags=w.O_CREAT)
    guest.write(fd, b"0123456789")
    guest.call("fd_filestat_set_size", fd, 3)
    guest.call("fd_filestat_set_size", fd, 5)
    assert guest.read(fd, 100, 0) == b"012\0\0"
    assert guest.tell(fd) == 10
    guest.call("fd_allocate", fd, 0, 3)
    assert guest.stat(fd).size == 5
    guest.call("fd_allocate", fd, 4, 4)
    assert guest.stat(fd).size == 8
    guest.open(b"f", oflags=w.O_TRUNC, rights=0)
    assert guest.stat(fd).size == 0
    assert guest.read(fd, 100, 0) == b""


def test_append_and_its_end(guest: Guest) -> None:
    guest.create(b"f", b"start ")
    appending = guest.open(b"f", fdflags=w.APPEND)
    other = guest.open(b"f")
    guest.write(appending, b"one ")
    guest.seek(other, 0, 2)
    guest.write(other, b"two ")
    guest.write(appending, b"three")
    assert guest.read(other, 100, 0) == b"start one two three"
    guest.call("fd_fdstat_set_flags", appending, 0)
    guest.seek(appending, 0)
    guest.write(appending, b"S")
    assert guest.read(other, 5, 0) == b"Start"


def test_two_opens_have_two_offsets_and_one_file(guest: Guest) -> None:
    guest.create(b"f", b"abcdef")
    one, two = guest.open(b"f"), guest.open(b"f")
    assert guest.read(one, 3) == b"abc"
    guest.write(two, b"X")
    assert guest.read(one) == b"def"
    assert guest.read(two) == b"bcdef"
    assert guest.stat(one) == guest.stat(two)


def test_creation_and_exclusion(guest: Guest) -> None:
    guest.create(b"f")
    assert errno(guest.open, b"f", oflags=w.O_CREAT | w.O_EXCL) == Errno.EEXIST
    assert errno(guest.open, b"f", oflags=w.O_DIRECTORY, rights=0) == Errno.ENOTDIR
    assert errno(guest.open, b"f/", rights=0) == Errno.ENOTDIR
    assert errno(guest.open, b"f/g", oflags=w.O_CREAT) == Errno.ENOTDIR
    assert errno(guest.open, b"g") == Errno.ENOENT
    assert errno(guest.open, b"d/g", oflags=w.O_CREAT) == Errno.ENOENT
    assert errno(guest.open, b".", oflags=0) == Errno.EISDIR
    assert errno(guest.open, b"x" * 256, oflags=w.O_CREAT) == Errno.ENAMETOOLONG
    guest.create(b"x" * 255)
    guest.create(b"\xff not utf-8")
    guest.create("ü€𝄞".encode())
    assert set(guest.names(3)[2:]) == {b"f", b"x" * 255, b"\xff not utf-8", "ü€𝄞".encode()}


def test_directories(guest: Guest) -> None:
    make, remove = "path_create_directory", "path_remove_directory"
    guest.on_path(make, b"d")
    guest.on_path(make, b"d/e/")
    assert errno(guest.on_path, make, b"d") == Errno.EEXIST
    assert errno(guest.on_path, make, b"x/y") == Errno.ENOENT
    assert errno(guest.on_path, remove, b"d") == Errno.ENOTEMPTY
    assert errno(guest.on_path, "path_unlink_file", b"d") == Errno.EISDIR
    guest.on_path(remove, b"d/e/")
    guest.create(b"d/f")
    assert errno(guest.on_path, remove, b"d/f") == Errno.ENOTDIR
    assert errno(guest.on_path, "path_unlink_file", b"d/f/") == Errno.ENOTDIR
    guest.on_path("path_unlink_file", b"d/f")
    guest.on_path(remove, b"d")
    assert guest.names(3) == [b".", b".."]


def test_numbers_name_files(guest: Guest) -> None:
    guest.on_path("path_create_directory", b"d")
    for name in (b"d/a", b"d/b", b"c"):
        guest.create(name)
    stats = {name: guest.stat(name) for name in (b".", b"d", b"d/a", b"d/b", b"c")}
    assert len({(stat.dev, stat.ino) for stat in stats.values()}) == 5
    for name, stat in stats.items():
        again = guest.stat(name)
        assert (again.dev, again.ino) == (stat.dev, stat.ino)
    fd = guest.open(b"d/a")
    assert guest.stat(fd) == stats[b"d/a"]
    guest.rename(b"d/a", b"moved")
    assert guest.stat(b"moved").ino == stats[b"d/a"].ino
    assert guest.stat(fd).ino == stats[b"d/a"].ino


def test_an_unlinked_file_lives_as_long_as_it_is_open(guest: Guest) -> None:
    guest.create(b"f", b"kept")
    fd = guest.open(b"f")
    guest.on_path("path_unlink_file", b"f")
    assert errno(guest.open, b"f") == Errno.ENOENT
    guest.create(b"f", b"other")
    assert guest.read(fd) == b"kept"
    guest.write(fd, b"!")
    assert guest.read(fd, 10, 0) == b"kept!"
    assert guest.stat(fd).nlink == 0
    assert guest.stat(b"f").size == 5


def test_symbolic_links(guest: Guest) -> None:
    guest.on_path("path_create_directory", b"d")
    guest.create(b"d/f", b"data")
    for target, name in ((b"d/f", b"l"), (b"../l", b"d/up"), (b"nowhere", b"n"), (b"o", b"o")):
        guest.symlink(target, name)
        assert guest.readlink(name) == target
    assert guest.read(guest.open(b"l")) == b"data"
    assert guest.read(guest.open(b"d/up")) == b"data"
    assert guest.stat(b"l") == guest.stat(b"d/f")
    assert guest.stat(b"l", follow=False).filetype == Filetype.SYMBOLIC_LINK
    assert guest.stat(b"l", follow=False).size == 3
    assert errno(guest.open, b"l", follow=False) == Errno.ELOOP
    assert errno(guest.open, b"o") == Errno.ELOOP
    assert errno(guest.open, b"n") == Errno.ENOENT
    assert errno(guest.symlink, b"x", b"l") == Errno.EEXIST
    guest.close(guest.open(b"n", oflags=w.O_CREAT))
    assert guest.stat(b"nowhere").size == 0
    guest.on_path("path_unlink_file", b"l")
    assert guest.stat(b"d/f").size == 4
    far = b"/".join([b"x" * 200] * 5)
    guest.symlink(far, b"long")
    assert guest.readlink(b"long", 2000) == far


def test_hard_links(guest: Guest) -> None:
    guest.create(b"f", b"data")
    guest.on_path("path_create_directory", b"d")
    guest.link(b"f", b"d/g")
    assert guest.stat(b"f") == guest.stat(b"d/g")
    assert guest.stat(b"f").nlink == 2
    guest.write(guest.open(b"d/g"), b"D")
    assert guest.read(guest.open(b"f")) == b"Data"
    assert errno(guest.link, b"f", b"d/g") == Errno.EEXIST
    assert errno(guest.link, b"d", b"e") == Errno.EPERM
    guest.rename(b"f", b"d/g")
    assert guest.stat(b"f").nlink == 2, "two names of one file: rename does nothing"
    guest.on_path("path_unlink_file", b"f")
    assert guest.stat(b"d/g").nlink == 1


def test_renaming(guest: Guest) -> None:
    for name in (b"d", b"d/sub", b"e", b"full"):
        guest.on_path("path_create_directory", name)
    guest.create(b"full/x")
    guest.create(b"f", b"f")
    guest.create(b"g", b"g")
    guest.rename(b"f", b"g")
    assert guest.read(guest.open(b"g")) == b"f"
    assert errno(guest.stat, b"f") == Errno.ENOENT
    guest.rename(b"g", b"d/sub/h")
    guest.rename(b"d", b"e/d")
    assert guest.read(guest.open(b"e/d/sub/h")) == b"f"
    guest.on_path("path_create_directory", b"empty")
    guest.rename(b"e", b"empty")
    assert guest.read(guest.open(b"empty/d/sub/h")) == b"f"
    assert errno(guest.rename, b"empty", b"full") == Errno.ENOTEMPTY
    assert errno(guest.rename, b"empty", b"empty/d/x") == Errno.EINVAL
    assert errno(guest.rename, b"empty/d/sub/h", b"full") == Errno.EISDIR
    assert errno(guest.rename, b"full", b"empty/d/sub/h") == Errno.ENOTDIR
    assert errno(guest.rename, b"nothing", b"x") == Errno.ENOENT
    assert errno(guest.rename, b"full/x", b"y/") == Errno.ENOTDIR
    assert sorted(guest.names(3)[2:]) == [b"empty", b"full"]


def test_times(guest: Guest) -> None:
    guest.create(b"f")
    guest.symlink(b"f", b"l")
    fd = guest.open(b"f")
    guest.call("fd_filestat_set_times", fd, 1_000_000_007, 2_000_000_009, w.ATIM | w.MTIM)
    stat = guest.stat(b"f")
    assert (stat.atim, stat.mtim) == (1_000_000_007, 2_000_000_009)
    arguments = (*guest.path(b"l"), 5, 3_000_000_011, w.MTIM)
    guest.call("path_filestat_set_times", 3, 1, *arguments)
    assert guest.stat(fd).mtim == 3_000_000_011
    guest.call("path_filestat_set_times", 3, 0, *arguments)
    assert guest.stat(b"l", follow=False).mtim == 3_000_000_011
    guest.call("fd_filestat_set_times", fd, 0, 0, w.ATIM_NOW | w.MTIM_NOW)
    assert guest.stat(b"f").mtim > 10**18
    guest.call("fd_filestat_set_times", fd, 0, 9, w.MTIM)
    guest.write(fd, b"x")
    assert guest.stat(b"f").mtim > 10**18


@pytest.mark.parametrize("size", [300, 4096])
def test_large_directories(guest: Guest, size: int) -> None:
    guest.on_path("path_create_directory", b"d")
    names = [b"%d-" % index + b"n" * (index % 200) for index in range(300)]
    for name in names:
        guest.create(b"d/" + name)
    fd = guest.open(b"d", rights=w.FD_READDIR)
    assert sorted(guest.names(fd, size)) == sorted([b".", b"..", *names])
    for name in names:
        guest.on_path("path_unlink_file", b"d/" + name)
    assert guest.names(fd, size) == [b".", b".."]


def test_sync(guest: Guest) -> None:
    fd = guest.open(b"f", oflags=w.O_CREAT)
    guest.write(fd, b"x")
    guest.call("fd_sync", fd)
    guest.call("fd_datasync", fd)
    guest.call("fd_sync", 3)


def test_large_offsets(guest: Guest) -> None:
    """How far a file may reach is the file system's business; no number breaks anything."""
    refusals = (Errno.EFBIG, Errno.EINVAL, Errno.ENOSPC)
    fd = guest.open(b"f", oflags=w.O_CREAT)
    for offset in ((1 << 63) - 1, (1 << 63) - 2):
        assert errno(guest.write, fd, b"xyz", offset) in refusals
        assert errno(guest.call, "fd_allocate", fd, offset, 10) in refusals
    with contextlib.suppress(CallError):
        guest.seek(fd, (1 << 63) - 1)
        assert errno(guest.write, fd, b"xyz") in refusals
    assert guest.stat(fd).size == 0
