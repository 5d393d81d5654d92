"""What is particular to host directories: host links are never followed, odd files never opened,
fds never lost.
"""

from __future__ import annotations

import gc
import os
import socket
import tty
from pathlib import Path

import pytest

from balenawasm.vfs.filesystems import hostdir
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY, Nobody
from balenawasm.vfs.node import OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import DSYNC, NONBLOCK, SYNC, Filetype

BOTH = OpenFlags(write=True)


@pytest.fixture
def inside(tmp_path):
    """The directory that guests see; `secret` is beside it."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "secrets").mkdir()
    folder = tmp_path / "inside"
    folder.mkdir()
    return folder


def refused(errno):
    return pytest.raises(GuestError, match=f"^{errno.value}$")


def open_path(root, path, flags=None):
    space = Namespace(root)
    _, description = space.open(
        NOBODY, space.root, path, oflags=0, flags=flags or OpenFlags(), follow=True
    )
    description.retain()
    return description


def data_of(root, path) -> bytes:
    description = open_path(root, path)
    buffer = bytearray(1000)
    count = description.read(NOBODY, [memoryview(buffer)])
    description.release()
    return bytes(buffer[:count])


def open_fds() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_links_of_the_host_lead_into_the_guests_tree(inside) -> None:
    (inside / "up").symlink_to("../secret")
    (inside / "absolute").symlink_to(inside.parent / "secret")
    (inside / "folder").symlink_to("../secrets")
    root = HostDirectory(inside).root
    for path in (b"up", b"absolute", b"folder/x", b"../secret"):
        with refused(Errno.ENOENT):
            open_path(root, path)
    (inside / "secret").write_bytes(b"the guest's own")
    assert data_of(root, b"up") == b"the guest's own"


def test_a_directory_that_becomes_a_link_is_not_followed(inside) -> None:
    (inside / "d").mkdir()
    root = HostDirectory(inside).root
    node = root.lookup(NOBODY, b"d")
    (inside / "d").rmdir()
    (inside / "d").symlink_to("../secrets")
    with refused(Errno.ENOENT):
        node.create(b"x")
    assert root.lookup(NOBODY, b"d").filetype is Filetype.SYMBOLIC_LINK
    assert os.listdir(inside.parent / "secrets") == []


def test_a_file_that_becomes_a_link_or_worse_is_not_opened(inside) -> None:
    root = HostDirectory(inside).root
    node = root.create(b"f")
    (inside / "f").unlink()
    (inside / "f").symlink_to("../secret")
    with refused(Errno.ELOOP):
        node.open(NOBODY, OpenFlags())
    with refused(Errno.ELOOP):
        node.truncate(0)
    (inside / "f").unlink()
    os.mkfifo(inside / "f")
    with refused(Errno.EACCES):
        node.open(NOBODY, OpenFlags())
    with refused(Errno.EACCES):
        node.content()
    (inside / "f").unlink()
    (inside / "f").mkdir()
    with refused(Errno.EACCES):
        node.open(NOBODY, OpenFlags())
    assert (inside.parent / "secret").read_bytes() == b"secret"


def test_odd_files_are_seen_but_not_opened(inside, monkeypatch) -> None:
    monkeypatch.chdir(inside)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
    root = HostDirectory(inside).root
    with refused(Errno.ENXIO):
        open_path(root, b"sock")
    with refused(Errno.ENXIO):
        open_path(root, b"sock", BOTH)
    kinds = {entry.name: entry.filetype for entry in root.entries(NOBODY)}
    assert kinds == {b"sock": Filetype.SOCKET_STREAM}
    assert root.lookup(NOBODY, b"sock").stat().filetype is Filetype.SOCKET_STREAM
    root.rename(b"sock", root, b"moved")
    root.unlink(b"moved")


def test_a_named_pipe_that_becomes_something_else_is_not_opened(inside) -> None:
    root = HostDirectory(inside).root
    node = root.mkfifo(b"p")
    kinds = {entry.name: entry.filetype for entry in root.entries(NOBODY)}
    assert kinds == {b"p": Filetype.UNKNOWN}
    (inside / "p").unlink()
    (inside / "p").symlink_to("../secret")
    with refused(Errno.EACCES):
        node.open(NOBODY, BOTH)
    (inside / "p").unlink()
    (inside / "p").write_bytes(b"file")
    with refused(Errno.EACCES):
        node.open(NOBODY, BOTH)
    with refused(Errno.EROFS):
        HostDirectory(inside, read_only=True).root.mkfifo(b"q")


def test_devices_are_not_opened() -> None:
    root = HostDirectory(Path("/dev")).root
    node = root.lookup(NOBODY, b"null")
    assert node.filetype is Filetype.CHARACTER_DEVICE
    assert node.stat().rdev == (1, 3)
    with refused(Errno.EACCES):
        node.open(NOBODY, OpenFlags())


class Waiter(Nobody):
    """Runs something when it has to wait."""

    def __init__(self, action) -> None:
        self.action = action

    def wait(self, fds, timeout_ns=None):
        self.action()
        return list(fds)


def test_a_granted_device() -> None:
    master, slave = os.openpty()
    try:
        tty.setraw(slave)
        path = Path(os.ttyname(slave))
        node = HostDirectory(path, device=True).root
        device = node.open(NOBODY, BOTH)
        device.retain()
        assert device.filetype is Filetype.CHARACTER_DEVICE
        assert device.host_fd >= 0
        assert device.stat().rdev == node.stat().rdev != (0, 0)
        buffer = memoryview(bytearray(10))
        waiter = Waiter(lambda: os.write(master, b"abc"))
        assert device.read(waiter, [buffer]) == 3
        assert bytes(buffer[:3]) == b"abc"
        assert device.write(waiter, [memoryview(b"xyz")]) == 3
        assert os.read(master, 10) == b"xyz"
        device.set_flags(NONBLOCK)
        with refused(Errno.EAGAIN):
            device.read(NOBODY, [buffer])
        device.release()
        only = node.open(NOBODY, OpenFlags())
        with refused(Errno.EBADF):
            only.write(NOBODY, [memoryview(b"x")])
        only.close()
        with refused(Errno.EACCES):
            HostDirectory(path).root.open(NOBODY, OpenFlags())
    finally:
        os.close(master)
        os.close(slave)


def test_one_file(inside) -> None:
    file = inside / "config"
    file.write_bytes(b"one")
    (inside / "link").symlink_to("config")
    for path in (file, inside / "link"):
        root = HostDirectory(path).root
        assert root.filetype is Filetype.REGULAR_FILE
        space = Namespace(Tmpfs(1 << 20).root)
        space.mount(b"/etc/config", root)
        _, description = space.open(
            NOBODY, space.root, b"etc/config", oflags=0, flags=BOTH, follow=True
        )
        description.retain()
        description.write(NOBODY, [memoryview(b"ONE")])
        description.release()
    assert file.read_bytes() == b"ONE"
    (inside / "new").write_bytes(b"two")
    (inside / "new").rename(file)
    assert bytes(root.content().data) == b"two"
    with refused(Errno.EROFS):
        HostDirectory(file, read_only=True).root.open(NOBODY, BOTH)
    with pytest.raises(FileNotFoundError):
        HostDirectory(inside / "none")


def test_a_directory_stays_the_same_when_the_host_moves_it(inside) -> None:
    (inside / "d").mkdir()
    root = HostDirectory(inside).root
    node = root.lookup(NOBODY, b"d")
    (inside / "d").rename(inside / "moved")
    (inside / "d").mkdir()
    node.create(b"f")
    assert (inside / "moved" / "f").exists()
    assert root.lookup(NOBODY, b"d") is not node
    assert root.lookup(NOBODY, b"moved") is node


def test_changes_of_the_host_are_seen(inside) -> None:
    root = HostDirectory(inside).root
    (inside / "f").write_bytes(b"1")
    assert data_of(root, b"f") == b"1"
    (inside / "f").unlink()
    with refused(Errno.ENOENT):
        open_path(root, b"f")
    (inside / "f").mkdir()
    assert root.lookup(NOBODY, b"f").filetype is Filetype.DIRECTORY


def test_fds_are_few_and_given_back(inside) -> None:
    for number in range(200):
        (inside / f"d{number}").mkdir()
    before = open_fds()
    root = HostDirectory(inside).root
    for number in range(200):
        root.lookup(NOBODY, b"d%d" % number)
    assert open_fds() <= before + 1 + hostdir.KEPT_DIRECTORIES
    for number in range(50):
        node = root.lookup(NOBODY, b"d%d" % number)
        node.create(b"f").open(NOBODY, BOTH)
        node.entries(NOBODY)
    with refused(Errno.ENOENT):
        root.lookup(NOBODY, b"none")
    del root, node
    assert open_fds() == before


def test_what_cannot_be_truncated_is_closed(inside) -> None:
    (inside / "f").write_bytes(b"data")
    fs = HostDirectory(inside, read_only=True)
    before = open_fds()
    for flags in (BOTH, OpenFlags(truncate=True)):
        with refused(Errno.EROFS):
            open_path(fs.root, b"f", flags)
    assert open_fds() == before
    assert (inside / "f").read_bytes() == b"data"


def test_more_buffers_than_the_host_takes(inside) -> None:
    root = HostDirectory(inside).root
    root.create(b"f")
    file = open_path(root, b"f", BOTH)
    assert file.write(NOBODY, [memoryview(b"x")] * 2000) == 1024
    buffers = [memoryview(bytearray(1)) for _ in range(2000)]
    assert file.pread(NOBODY, buffers, 0) == 1024
    file.release()


def test_flags_reach_the_host(inside) -> None:
    root = HostDirectory(inside).root
    root.create(b"f")
    for flag, host in ((SYNC, os.O_SYNC), (DSYNC, os.O_DSYNC)):
        file = open_path(root, b"f", OpenFlags(write=True, fdflags=flag))
        with open(f"/proc/self/fdinfo/{file.fd}") as info:
            flags = next(int(line.split()[1], 8) for line in info if line.startswith("flags"))
        assert flags & host == host
        assert flags & os.O_CLOEXEC
        file.release()


def test_host_errors_have_their_names(inside, monkeypatch) -> None:
    root = HostDirectory(inside).root
    root.create(b"f")
    file = open_path(root, b"f", BOTH)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    monkeypatch.setattr(os, "pwritev", full)
    monkeypatch.setattr(os, "fsync", full)
    for call in (
        lambda: file.write(NOBODY, [memoryview(b"x")]),
        lambda: file.pwrite(NOBODY, [memoryview(b"x")], 0),
        lambda: file.sync(data_only=False),
    ):
        with refused(Errno.ENOSPC):
            call()
    file.release()


def test_new_files_have_the_mode_that_the_guest_gives_them(inside, monkeypatch) -> None:
    before = os.umask(0o077)
    monkeypatch.setattr(hostdir, "_UMASK", 0o077)
    try:
        root = HostDirectory(inside).root
        made = {"mkdir": 0o1777, "create": 0o666, "mkfifo": 0o622, "mksocket": 0o755}
        for kind, mode in made.items():
            assert getattr(root, kind)(kind.encode(), mode).stat().mode & 0o7777 == mode
    finally:
        os.umask(before)
    assert {name: (inside / name).stat().st_mode & 0o7777 for name in made} == made
