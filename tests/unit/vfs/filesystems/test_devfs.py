"""/dev: the devices, and the caller's own fds."""

from __future__ import annotations

import os

import pytest
from vfs_guest import Fd, Guest

from balenawasm.vfs.description import Description
from balenawasm.vfs.filesystems.dev import DevFs
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import O_CREAT, O_TRUNC, Filetype

BOTH = OpenFlags(write=True)
WRITE = OpenFlags(read=False, write=True)


def refused(errno):
    return pytest.raises(GuestError, match=f"^{errno.value}$")


@pytest.fixture
def space():
    space = Namespace(Tmpfs(1 << 20).root)
    space.mount(b"/dev", DevFs().root)
    return space


def opened(space, path, flags=BOTH, caller=NOBODY, oflags=0):
    return space.open(caller, space.root, path, oflags=oflags, flags=flags, follow=True)[1]


def read(description, size=10) -> bytes:
    buffers = [memoryview(bytearray(b"\xee" * size)), memoryview(bytearray(b"\xee" * 3))]
    count = description.read(NOBODY, buffers)
    return b"".join(buffers)[:count]


def test_devices(space) -> None:
    text = [memoryview(b"abc"), memoryview(b"de")]
    null, zero, full = (opened(space, b"/dev/" + name) for name in (b"null", b"zero", b"full"))
    assert read(null) == b""
    assert read(zero) == read(full) == bytes(13)
    assert null.write(NOBODY, text) == zero.write(NOBODY, text) == 5
    assert null.pwrite(NOBODY, text, 100) == 5
    with refused(Errno.ENOSPC):
        full.write(NOBODY, text)
    assert full.write(NOBODY, []) == 0
    for name in (b"random", b"urandom"):
        device = opened(space, b"/dev/" + name)
        assert read(device, 100) != read(device, 100)
        assert device.write(NOBODY, text) == 5
        assert device.pread(NOBODY, [memoryview(bytearray(4))], 9) == 4
    assert null.filetype is Filetype.CHARACTER_DEVICE
    assert null.stat().rdev == (1, 3)
    with refused(Errno.EBADF):
        opened(space, b"/dev/null", OpenFlags()).write(NOBODY, text)
    with refused(Errno.EBADF):
        read(opened(space, b"/dev/zero", WRITE))
    opened(space, b"/dev/null", WRITE, oflags=O_CREAT | O_TRUNC)
    space.set_times(NOBODY, space.root, b"/dev/null", 1, 1, follow=True)


def test_listing(space) -> None:
    guest = Guest()
    entries = space.children(guest, space.resolve(guest, space.root, b"/dev", follow=True))
    assert {entry.name for entry in entries} == {
        *(b"null", b"zero", b"full", b"random", b"urandom"),
        *(b"tty", b"fd", b"stdin", b"stdout", b"stderr"),
    }
    assert len({entry.ino for entry in entries}) == len(entries)
    for entry in entries:
        stat = space.stat(guest, space.root, b"/dev/" + entry.name, follow=False)
        assert (stat.ino, stat.filetype) == (entry.ino, entry.filetype)
    with refused(Errno.EROFS):
        opened(space, b"/dev/new", oflags=O_CREAT)
    with refused(Errno.EROFS):
        space.unlink(NOBODY, space.root, b"/dev/null")
    with refused(Errno.ENOENT):
        opened(space, b"/dev/sda")


def test_own_fds(space) -> None:
    guest = Guest()
    location, file = space.open(
        guest, space.root, b"/file", oflags=O_CREAT, flags=BOTH, follow=True
    )
    pipe = Description()
    pipe.writable = False
    guest.fds.table.update({0: Fd(pipe), 1: Fd(file, location), 12: Fd(file, location)})
    assert opened(space, b"/dev/stdout", BOTH, guest) is file
    assert opened(space, b"/dev/stdout", WRITE, guest, O_CREAT | O_TRUNC) is file
    assert opened(space, b"/dev/fd/12", BOTH, guest) is file
    assert opened(space, b"/dev/stdin", OpenFlags(), guest) is pipe
    with refused(Errno.EACCES):
        opened(space, b"/dev/stdin", WRITE, guest)
    with refused(Errno.ENOENT):
        opened(space, b"/dev/stderr", WRITE, guest)
    assert space.read_link(guest, space.root, b"/dev/fd/12") == b"/file"
    assert space.read_link(guest, space.root, b"/dev/stdin").startswith(b"pipe:[")
    assert space.stat(guest, space.root, b"/dev/stdout", follow=True) == file.stat()
    folder = space.resolve(guest, space.root, b"/dev/fd", follow=True)
    assert [entry.name for entry in space.children(guest, folder)] == [b"0", b"1", b"12"]
    for name in (b"2", b"01", b"x", b"-1", b"99999999999999999999", b"\xc2\xb2"):
        with refused(Errno.ENOENT):
            folder.node.lookup(guest, name)
    with refused(Errno.ENXIO):
        opened(space, b"/dev/stdin")


def test_a_directory_through_its_fd(space) -> None:
    guest = Guest()
    space.make_directory(guest, space.root, b"/d")
    space.make_directory(guest, space.root, b"/d/inner")
    location, folder = space.open(
        guest, space.root, b"/d", oflags=0, flags=OpenFlags(), follow=True
    )
    guest.fds.table[5] = Fd(folder, location)
    found = space.resolve(guest, space.root, b"/dev/fd/5/inner", follow=True)
    assert found.node is location.node.lookup(guest, b"inner")
    listed = space.resolve(guest, space.root, b"/dev/fd/5/", follow=True)
    assert [entry.name for entry in space.children(guest, listed)] == [b"inner"]


def test_tty(space) -> None:
    guest = Guest()
    with refused(Errno.ENXIO):
        opened(space, b"/dev/tty", BOTH, guest)
    master, slave = os.openpty()
    terminal = Description()
    terminal.filetype = Filetype.CHARACTER_DEVICE
    terminal.host_fd = slave
    null = opened(space, b"/dev/null")
    guest.fds.table.update({0: Fd(null), 2: Fd(terminal)})
    with refused(Errno.ENXIO):  # nobody said -t
        opened(space, b"/dev/tty", BOTH, guest)
    terminal.terminal = True
    assert opened(space, b"/dev/tty", BOTH, guest) is terminal
    assert space.read_link(guest, space.root, b"/dev/stderr") == b"/dev/tty"
    os.close(master)
    os.close(slave)
