"""What a hostile guest tries, each of which must fail: leaving its tree, passing mounts and
read-only places, posing as somebody else, taking memory of ours by naming sizes.
"""

from __future__ import annotations

import os
import socket
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from preview1_guest import NOWHERE, CallError, Guest, clock_subscription

from balenawasm.kernel.fd_table import DIRECTORY_RIGHTS
from balenawasm.kernel.network import NetworkStack
from balenawasm.kernel.outcome import Exited, Killed
from balenawasm.kernel.socket_stream import RETIRED_MAX
from balenawasm.kernel.stream import Stream
from balenawasm.layer.whiteout import OPAQUE_MARKER
from balenawasm.runtime.bundle import Mount, MountKind
from balenawasm.runtime.exitrecord import StartError
from balenawasm.runtime.logs import LogReader, LogStream, LogWriter
from balenawasm.runtime.mount_sources import check_sources, real_source, writable_places
from balenawasm.runtime.streams import standard_streams, terminal_streams
from balenawasm.vfs.endpoint import Endpoint
from balenawasm.vfs.filesystems.dev import RANDOM_MAX, DevFs
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.net import NetFs
from balenawasm.vfs.filesystems.overlay import Overlay
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.listings import Listings
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from balenawasm.vfs.description import Description

U32, U64 = (1 << 32) - 1, (1 << 64) - 1
SECRET = b"the host's own"
MIB = 1 << 20


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """`secret` lies outside of everything the guest is given: volume, app (with config), upper."""
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_bytes(SECRET)
    for name in ("volume", "app", "app/config", "upper"):
        (tmp_path / name).mkdir()
    (tmp_path / "app" / "config" / "f").write_bytes(b"fixed")
    (tmp_path / "one").write_bytes(b"one")
    return tmp_path


@pytest.fixture
def guest(host: Path) -> Iterator[Guest]:
    guest = Guest()
    mount = guest.namespace.mount
    mount(b"/v", HostDirectory(host / "volume").root)
    mount(b"/app", HostDirectory(host / "app").root)
    mount(b"/app/config", HostDirectory(host / "app" / "config", read_only=True).root)
    mount(b"/one", HostDirectory(host / "one").root)
    mount(b"/over", Overlay([], host / "upper").root)
    mount(b"/dev", DevFs().root)
    mount(b"/small", Tmpfs(64 << 10).root)
    yield guest
    guest.process.finish(Exited(0))


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[list[NetworkStack]]:
    """Two of one network; 10.0.0.2 publishes a port, and its log is at hand as `lines`."""
    stacks = [
        NetworkStack(
            loopback_directory=tmp_path / f"loopback{number}",
            network_directory=tmp_path / "network",
            address=f"10.0.0.{number}",
        )
        for number in (2, 3)
    ]
    yield stacks
    for stack in stacks:
        stack.close()


def refused(
    errno: Errno | tuple[Errno, ...],
    call: Callable[..., object],
    *arguments: object,
    **options: object,
) -> None:
    with pytest.raises((CallError, GuestError)) as caught:
        call(*arguments, **options)
    allowed = errno if isinstance(errno, tuple) else (errno,)
    assert caught.value.errno in allowed


def contents(guest: Guest, path: bytes) -> bytes:
    fd = guest.open(path, rights=w.FD_READ)
    into, result = guest.alloc(100), guest.alloc(4)
    guest.call("fd_read", fd, guest.iovecs((into, 100)), 1, result)
    guest.close(fd)
    return guest.get(into, guest.u32(result))


# Paths.


@pytest.mark.parametrize(
    "path", [b"..", b"../x", b"v/../..", b"v/../../etc/passwd", b"/etc/passwd", b"/", b"./../."]
)
def test_a_path_does_not_leave_its_directory(guest: Guest, path: bytes) -> None:
    refused(Errno.EPERM, guest.open, path)
    refused(Errno.EPERM, guest.stat, path)
    refused(Errno.EPERM, guest.readlink, path)
    refused((Errno.EPERM, Errno.EISDIR), guest.on_path, "path_unlink_file", path)
    refused(Errno.EPERM, guest.rename, path, b"v/stolen")


@pytest.mark.parametrize("depth", [1, 3, 30])
def test_a_link_of_the_guest_stays_in_its_tree(guest: Guest, host: Path, depth: int) -> None:
    guest.symlink(b"../" * depth + os.fsencode(host / "secret")[1:], b"v/link")
    refused(Errno.ENOENT, guest.open, b"v/link")
    guest.symlink(b"../" * depth, b"v/up")
    fd = guest.open(b"v/up", rights=DIRECTORY_RIGHTS)
    assert b"over" in guest.names(fd)  # the container's root
    refused(Errno.EPERM, guest.symlink, b"/etc", b"v/absolute")


def test_links_that_the_host_made_lead_into_the_guests_tree(guest: Guest, host: Path) -> None:
    (host / "volume" / "absolute").symlink_to(host / "secret")
    (host / "volume" / "relative").symlink_to("../secret")
    (host / "volume" / "directory").symlink_to("../outside")
    (host / "volume" / "magic").symlink_to("/proc/self/root")
    for path in (b"v/absolute", b"v/relative", b"v/directory/f", b"v/magic"):
        refused(Errno.ENOENT, guest.open, path)
        refused(Errno.ENOENT, guest.stat, path)
    refused(Errno.ENOENT, guest.on_path, "path_create_directory", b"v/directory/new")


def test_creating_through_a_link_creates_in_the_guests_tree(guest: Guest, host: Path) -> None:
    guest.symlink(b"../../../../planted", b"v/link")
    guest.create(b"v/link", b"mine")
    assert contents(guest, b"planted") == b"mine"
    assert not list(host.glob("**/planted"))


def test_a_directory_that_is_moved_away_is_no_way_out(guest: Guest, host: Path) -> None:
    (host / "volume" / "a" / "b").mkdir(parents=True)
    fd = guest.open(b"v/a/b", rights=DIRECTORY_RIGHTS)
    (host / "volume" / "a" / "b").rename(host / "outside" / "b")
    refused(Errno.EPERM, guest.open, b"../f", fd=fd)
    refused(Errno.ENOENT, guest.open, b"f", fd=fd)
    refused(Errno.ENOENT, guest.open, b"v/a/b/../../../outside/f")


def test_names_swapped_for_links_are_not_followed_on_the_host(guest: Guest, host: Path) -> None:
    volume = host / "volume"
    (volume / "d").mkdir()
    (volume / "d" / "f").write_bytes(b"mine")
    (volume / "file").write_bytes(b"mine")
    directory = guest.open(b"v/d", rights=DIRECTORY_RIGHTS)
    file = guest.namespace.resolve(guest.process, guest.namespace.root, b"/v/file", follow=True)
    (volume / "d").rename(volume / "old")
    (volume / "d").symlink_to(host / "outside")
    (volume / "file").unlink()
    (volume / "file").symlink_to(host / "secret")
    refused(Errno.ENOENT, guest.open, b"v/d/f")
    fd = guest.open(b"f", fd=directory)  # the directory that was opened, not the link
    assert guest.stat(fd).size == 4
    refused(Errno.ELOOP, file.node.truncate, 0)
    refused(Errno.ELOOP, file.node.content)
    file.node.set_times(0, 0)
    assert (host / "secret").stat().st_mtime_ns != 0
    assert (host / "secret").read_bytes() == SECRET


def test_special_files_of_a_volume_cannot_be_opened(guest: Guest, host: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(host / "volume", os.O_PATH)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        refused(Errno.ENXIO, guest.open, b"v/socket")
        refused(Errno.ENXIO, guest.open, b"v/socket", oflags=w.O_TRUNC)


def test_one_mounted_file_shows_none_of_its_neighbours(guest: Guest, host: Path) -> None:
    assert contents(guest, b"one") == b"one"
    refused(Errno.ENOTDIR, guest.open, b"one/../secret")
    refused(Errno.ENOTDIR, guest.open, b"one/secret")
    refused(Errno.EBUSY, guest.on_path, "path_unlink_file", b"one")
    refused(Errno.EBUSY, guest.rename, b"one", b"v/one")
    refused(Errno.EXDEV, guest.link, b"one", b"v/one")
    (host / "one").unlink()
    (host / "one").symlink_to(host / "secret")
    refused((Errno.ELOOP, Errno.EACCES), guest.open, b"one")


def test_odd_names_are_refused(guest: Guest) -> None:
    refused(Errno.EINVAL, guest.open, b"v/a\0b")
    refused(Errno.ENAMETOOLONG, guest.open, b"a/" * 2048 + b"a")
    refused(Errno.ENAMETOOLONG, guest.on_path, "path_create_directory", b"v/" + b"n" * 256)
    refused(Errno.ENOENT, guest.open, b"")
    refused(Errno.EFAULT, guest.call, "path_unlink_file", 3, NOWHERE, 300)
    refused(Errno.ENAMETOOLONG, guest.call, "path_unlink_file", 3, 0, U32)


# Mounts and layers.


@pytest.mark.parametrize(
    ("start", "rest"),
    [
        (b"app", b"config/f"),
        (b"app/config", b"f"),
        (b".", b"app/config/f"),
        (b"v", b"../app/config/f"),
    ],
)
def test_an_fds_link_does_not_pass_below_a_mount(
    guest: Guest, host: Path, start: bytes, rest: bytes
) -> None:
    way = b"dev/fd/%d/" % guest.open(start, rights=DIRECTORY_RIGHTS)
    assert contents(guest, way + rest) == b"fixed"
    refused(Errno.EROFS, guest.open, way + rest, rights=w.FD_WRITE)
    refused(Errno.EROFS, guest.on_path, "path_unlink_file", way + rest)
    refused(Errno.EROFS, guest.create, way + rest + b"2")
    refused(Errno.EXDEV, guest.link, way + rest, b"v/f")
    assert (host / "app" / "config" / "f").read_bytes() == b"fixed"


def test_a_read_only_mount_cannot_be_linked_or_moved_out_of(guest: Guest, host: Path) -> None:
    refused(Errno.EXDEV, guest.link, b"app/config/f", b"app/f")
    refused((Errno.EXDEV, Errno.EROFS), guest.rename, b"app/config/f", b"app/f")
    refused(Errno.EBUSY, guest.rename, b"app/config", b"app/other")
    refused(Errno.EBUSY, guest.rename, b"app", b"other")
    refused(Errno.EROFS, guest.open, b"app/config/f", oflags=w.O_TRUNC)
    fd = guest.open(b"app/config/f", rights=w.FD_READ | w.FD_FILESTAT_SET_TIMES)
    refused(Errno.EROFS, guest.call, "fd_filestat_set_times", fd, 0, 0, w.ATIM | w.MTIM)
    assert (host / "app" / "config" / "f").read_bytes() == b"fixed"


@pytest.mark.parametrize("name", [b".wh.x", OPAQUE_MARKER, b".wh..wh.tmp.1", b".wh."])
def test_a_guest_makes_no_markers(guest: Guest, host: Path, name: bytes) -> None:
    guest.create(b"over/file")
    marker = b"over/" + name
    refused(Errno.EINVAL, guest.create, marker)
    refused(Errno.EINVAL, guest.on_path, "path_create_directory", marker)
    refused(Errno.EINVAL, guest.symlink, b"x", marker)
    refused(Errno.EINVAL, guest.link, b"over/file", marker)
    refused(Errno.EINVAL, guest.rename, b"over/file", marker)
    refused(Errno.ENOENT, guest.stat, marker)
    assert os.listdir(host / "upper") == ["file"]


def test_a_link_that_a_guest_made_is_no_mounts_source(guest: Guest, host: Path) -> None:
    guest.symlink(b"../outside", b"v/inner")
    (host / "volume" / "real").mkdir()
    outer = Mount(MountKind.BIND, b"/v", str(host / "volume"))
    inner = Mount(MountKind.BIND, b"/inner", str(host / "volume" / "inner"))
    alias = host / "alias"
    alias.symlink_to("volume")  # the user's own link counts

    def check(*mounts: Mount) -> None:
        check_sources(mounts, writable_places(mounts), host / "home")

    for path in (host / "volume", alias):
        for below in ("inner", "inner/deeper", "missing/../inner"):
            with pytest.raises(StartError, match="symbolic link"):
                check(outer, inner._replace(source=f"{path}/{below}".replace("missing", "real")))
    with pytest.raises(StartError, match="symbolic link"):
        real_source(f"{alias}/inner/new", writable_places((outer,)), make=True)
    assert os.listdir(host / "outside") == ["f"]
    check(outer._replace(read_only=True), inner)
    check(outer, inner._replace(source=str(host / "volume" / "real")))
    made = real_source(f"{alias}/real/a/b", writable_places((outer,)), make=True)
    assert made == host / "volume" / "real" / "a" / "b"
    assert made.is_dir()


@pytest.mark.parametrize("source", ["home", "home/cache/native", "home/new", ".", "link", "/"])
def test_no_bind_reaches_the_state_directory(host: Path, source: str) -> None:
    (host / "home" / "cache" / "native").mkdir(parents=True)
    (host / "link").symlink_to("home/cache")
    bind = Mount(MountKind.BIND, b"/b", str(host / source), read_only=True)
    with pytest.raises(StartError, match="state directory"):
        check_sources((bind,), (), host / "home")
    check_sources((bind._replace(source=str(host / "volume")),), (), host / "home")


def test_generated_files_cannot_be_written(guest: Guest, containers: list[NetworkStack]) -> None:
    guest.namespace.mount(b"/net", NetFs(containers[0]).root)
    refused(Errno.EACCES, guest.open, b"net/version", rights=w.FD_WRITE)
    refused((Errno.EROFS, Errno.EACCES), guest.create, b"net/new")
    refused((Errno.EROFS, Errno.EACCES), guest.create, b"dev/new")
    refused(Errno.EROFS, guest.on_path, "path_unlink_file", b"dev/null")


# Numbers.


def test_offsets_near_the_ends_of_the_number_range(guest: Guest) -> None:
    for path in (b"v/file", b"file", b"over/file"):
        fd = guest.open(path, oflags=w.O_CREAT)
        buffers, result = guest.iovecs((0, 8)), guest.alloc(8)
        for offset in (1 << 63, U64, (1 << 63) - 1, (1 << 63) - 7):
            failures = (Errno.EINVAL, Errno.EFBIG, Errno.ENOSPC, Errno.EOVERFLOW)
            refused(failures, guest.call, "fd_pwrite", fd, buffers, 1, offset, result)
            if offset >= 1 << 63:
                refused(Errno.EINVAL, guest.call, "fd_pread", fd, buffers, 1, offset, result)
                refused(Errno.EFBIG, guest.call, "fd_filestat_set_size", fd, offset)
            refused((*failures, Errno.ENOTSUP), guest.call, "fd_allocate", fd, offset, U64)
            refused(failures, guest.call, "fd_advise", fd, offset, U64, 0)
        for offset, whence in ((-1, 0), (-(1 << 63), 0), (-(1 << 63), 1), (-1, 2)):
            refused(Errno.EINVAL, guest.seek, fd, offset, whence)
        assert guest.stat(fd).size == 0


def test_pointers_counts_and_lengths(guest: Guest) -> None:
    fd = guest.open(b"file", oflags=w.O_CREAT)
    directory = guest.open(b"v", rights=DIRECTORY_RIGHTS)
    same = guest.iovecs(*[(0, MIB)] * 1024)
    result = guest.alloc(8)
    refused(Errno.EINVAL, guest.call, "fd_write", fd, 0, U32, result)
    refused(Errno.EINVAL, guest.call, "fd_write", fd, same, 1025, result)
    refused(Errno.EINVAL, guest.call, "fd_read", fd, guest.iovecs((0, U32)), 1, result)
    refused(Errno.EFAULT, guest.call, "fd_read", fd, guest.iovecs((U32, 2)), 1, result)
    refused(Errno.EFAULT, guest.call, "fd_read", fd, NOWHERE, 2, result)
    refused(Errno.EFAULT, guest.call, "random_get", 0, U32)
    refused(Errno.EFAULT, guest.call, "fd_readdir", directory, 0, U32, 0, result)
    refused(Errno.EINVAL, guest.call, "poll_oneoff", 0, 0, U32, result)
    refused(Errno.EINVAL, guest.poll, clock_subscription(1, U64, clock=9))
    refused(Errno.EFAULT, guest.call, "poll_oneoff", NOWHERE, 0, 4096, result)
    assert guest.readdir(directory, cookie=U64) == b""
    refused(Errno.EBADF, guest.call, "fd_renumber", directory, U32)
    refused(Errno.EBADF, guest.call, "fd_close", U32)


def test_fds_end_at_the_limit(guest: Guest) -> None:
    def take_all() -> None:
        for _ in range(100):
            guest.open(b"dev/null")

    refused(Errno.EMFILE, take_all)


# Memory of ours.


def test_a_tmpfs_holds_no_more_than_it_may(guest: Guest) -> None:
    fd = guest.open(b"small/file", oflags=w.O_CREAT)
    result = guest.alloc(4)
    buffers = guest.iovecs((0, 8))
    refused(Errno.ENOSPC, guest.call, "fd_pwrite", fd, buffers, 1, 1 << 40, result)
    refused(Errno.ENOSPC, guest.call, "fd_allocate", fd, 0, 1 << 40)
    guest.call("fd_filestat_set_size", fd, 1 << 40)  # costs nothing
    before = guest.namespace.resolve(NOBODY, guest.namespace.root, b"/small", follow=True).node
    used = before.fs.used

    def link_for_ever() -> None:
        for number in range(100):
            guest.link(b"small/file", b"small/%d" % number)

    refused(Errno.ENOSPC, link_for_ever)
    for name in guest.names(guest.open(b"small", rights=DIRECTORY_RIGHTS)):
        if name.isdigit():
            guest.on_path("path_unlink_file", b"small/" + name)
    assert before.fs.used == used


def test_reading_zeros_copies_none(guest: Guest) -> None:
    sparse = guest.open(b"sparse", oflags=w.O_CREAT)
    guest.call("fd_filestat_set_size", sparse, 1 << 40)
    buffer = memoryview(bytearray(b"\1") * (48 * MIB))
    for path, expected in (
        (b"sparse", len(buffer)),
        (b"dev/zero", len(buffer)),
        (b"dev/urandom", RANDOM_MAX),
    ):
        description = guest.process.fds.get(guest.open(path)).description
        tracemalloc.start()
        count = description.read(guest.process, [buffer])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == expected
        assert peak < 4 * MIB


def test_listings_of_many_open_directories_are_bounded() -> None:
    guest = Guest()
    for number in range(50):
        guest.create(b"%d" % number)
    kept = Listings(entries_max=200)
    opened = [guest.process.fds.get(3).description]
    for _ in range(20):
        opened.append(guest.process.fds.get(guest.open(b".", rights=DIRECTORY_RIGHTS)).description)
    for description in opened:
        kept.keep(description, len(description.listing(guest.process, restart=True)))
    held = [d for d in opened if d._listing is not None]
    assert held == opened[-3:]
    dropped = opened[0]
    assert len(dropped.listing(guest.process, restart=False)) == 52  # taken anew
    guest.process.finish(Exited(0))


def test_a_socket_keeps_few_of_its_failures(containers: list[NetworkStack]) -> None:
    new = containers[0].new_socket()
    new.retain()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3 * RETIRED_MAX):
        new.listen(1)
        new.shutdown(w.SHUT_RD)
    assert len(os.listdir("/proc/self/fd")) - before < 6 * RETIRED_MAX
    new.release()


# Posing and logs.


def test_a_terminal_for_output_gives_no_input(guest: Guest) -> None:
    ours, terminal = os.openpty()
    null = os.open(os.devnull, os.O_RDWR)
    streams = [Stream.inherited(fd) for fd in (null, terminal, terminal)]
    standard_streams(streams)
    os.write(ours, b"a password\n")
    for stream in streams[1:]:
        fd = guest.install(stream)
        read = fd, guest.iovecs((0, 8)), 1, guest.alloc(8)
        refused(Errno.ENOTCAPABLE, guest.call, "fd_read", *read)
        refused(Errno.EBADF, guest.process.fds.get(fd).description.read, NOBODY, [])
        assert not stream.terminal
        guest.close(fd)
    for fd in (ours, terminal, null):
        os.close(fd)


def test_a_terminal_that_was_given_is_one() -> None:
    ours, terminal = os.openpty()
    null = os.open(os.devnull, os.O_RDWR)
    streams = terminal_streams(terminal)
    assert len(set(streams.values())) == 1
    assert streams[0].terminal
    assert streams[0].readable
    assert streams[2].writable
    streams[0].retain()
    streams[0].release()
    streams = standard_streams([Stream.inherited(fd) for fd in (terminal, null, terminal)])
    assert [stream.terminal for stream in streams.values()] == [False, False, False]
    assert [stream.readable for stream in streams.values()] == [True, False, False]
    for fd in (ours, terminal, null):
        os.close(fd)


def test_a_loopback_address_does_not_reach_another_container(
    containers: list[NetworkStack],
) -> None:
    listener = containers[1].new_socket()
    listener.bind(Endpoint("10.0.0.3", 80))
    listener.listen(1)
    poser = containers[0].new_socket()
    poser.bind(Endpoint("127.0.0.1", 5000))
    refused(Errno.EINVAL, poser.connect, NOBODY, Endpoint("10.0.0.3", 80))
    refused(Errno.EADDRNOTAVAIL, containers[0].new_socket().bind, Endpoint("10.0.0.3", 81))


@pytest.mark.parametrize("name", ["..", "../../secret", "10.0.0.3/../x", "a\0b", "x" * 5000])
def test_addresses_name_no_files(containers: list[NetworkStack], name: str, host: Path) -> None:
    net = NetFs(containers[0]).root
    before = sorted(host.rglob("*"))
    for directory in (b"listen", b"connect"):

        def use(directory: bytes = directory) -> Description:
            node = net.lookup(NOBODY, b"tcp").lookup(NOBODY, directory)
            opener = node.lookup(NOBODY, name.encode() + b"!80")
            return opener.open(NOBODY, OpenFlags())

        refused((Errno.EINVAL, Errno.ENOENT), use)
    assert sorted(host.rglob("*")) == before


def test_names_do_not_write_to_the_log(tmp_path: Path) -> None:
    lines: list[str] = []
    stack = NetworkStack(loopback_directory=tmp_path / "lo", log=lines.append)
    for name in ("\x1b[31mred.example", "two\nlines.example", "a b.example", "\x9b.example"):
        refused(Errno.ENOENT, stack.lookup, NOBODY, name)
    assert lines == []
    refused(Errno.ENOENT, stack.lookup, NOBODY, "plain.example")
    assert len(lines) == 1
    stack.close()


def test_a_flood_of_lines_is_cut_by_the_kill_and_the_rotation(guest: Guest, tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log", size=MIB)
    stream = LogStream(writer, "stdout")
    stream.write(guest.process, [memoryview(b"\n" * (MIB // 2))])
    assert sum(file.stat().st_size for file in tmp_path.glob("log*")) < 30 * MIB
    reader = LogReader(tmp_path / "log", tail=1)
    assert [record.line for record in reader.records()] == [""]
    reader.close()
    guest.process.signal(9)
    with pytest.raises(Killed):
        stream.write(guest.process, [memoryview(b"\n" * (64 * MIB))])
    stream.close()
    writer.close()
