"""What hostile guests of the POSIX door and of the guest files try with files of the host: each
must fail.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from typing import TYPE_CHECKING

import pytest
from posix_guest import FDCWD, PosixGuest

from balenawasm.kernel.outcome import Killed
from balenawasm.kernel.session import current
from balenawasm.vfs.filesystems.dev import DevFs
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.overlay import Overlay
from balenawasm.vfs.filesystems.proc import ProcFs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = 30.0
SECRET = b"the host's own"
ENOENT, ENXIO, EACCES, EPERM, EROFS, ELOOP = -2, -6, -13, -1, -30, -40
ECONNREFUSED, EXDEV, ENOEXEC = -111, -18, -8
O_WRONLY, O_RDWR, O_CREAT, O_NOFOLLOW = 1, 2, 0o100, 0o400000
S_IFCHR, S_IFBLK, S_IFSOCK, S_IFIFO = 0o020000, 0o060000, 0o140000, 0o010000
SET_IDS = stat.S_ISUID | stat.S_ISGID


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """`secret` and `outside` are the host's; `volume`, `fixed` and `upper` are given."""
    (tmp_path / "secret").write_bytes(SECRET)
    for name in ("volume", "fixed", "upper", "outside", "loopback"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "program").write_bytes(b"\0asm\1\0\0\0")
    (tmp_path / "fixed" / "f").write_bytes(b"fixed")
    return tmp_path


@pytest.fixture
def guest(host: Path) -> Iterator[PosixGuest]:
    guest = PosixGuest(host / "loopback")
    mount = guest.kernel.namespace.mount
    mount(b"/v", HostDirectory(host / "volume").root)
    mount(b"/fixed", HostDirectory(host / "fixed", read_only=True).root)
    mount(b"/over", Overlay([], host / "upper").root)
    mount(b"/dev", DevFs().root)
    mount(b"/proc", ProcFs(guest.kernel).root)
    yield guest
    guest.close()


def write(guest: PosixGuest, path: str, data: bytes) -> int:
    fd = guest("openat", FDCWD, path, O_WRONLY, 0)
    assert fd >= 0
    answer = guest.raw("write", fd, guest.put(data), len(data))
    guest("close", fd)
    return answer


def test_nothing_with_set_id_bits_comes_into_being_on_the_host(
    guest: PosixGuest, host: Path
) -> None:
    guest("umask", 0)
    for place in ("/v", "/over"):
        assert guest("openat", FDCWD, f"{place}/opened", O_CREAT | O_WRONLY, 0o6777) >= 0
        assert guest("mknodat", FDCWD, f"{place}/made", 0o106777, 0) == 0
        assert guest("mknodat", FDCWD, f"{place}/pipe", S_IFIFO | 0o6777, 0) == 0
        assert guest("mkdirat", FDCWD, f"{place}/directory", 0o6777) == 0
        assert write(guest, "/proc/mkfifo", b"6777 %s/other" % place.encode()) > 0
        for name in ("opened", "made", "pipe", "directory", "other"):
            assert guest("fchmodat", FDCWD, f"{place}/{name}", 0o6777, 0) in (0, EACCES)
        fd = guest("openat", FDCWD, f"{place}/opened", O_WRONLY, 0)
        assert guest("fchmod", fd, 0o6777) == 0
    found = [*(host / "volume").iterdir(), *(host / "upper").iterdir()]
    assert len(found) == 10
    assert [path for path in found if path.stat().st_mode & SET_IDS] == []


@pytest.mark.parametrize("kind", [S_IFCHR, S_IFBLK, S_IFSOCK])
@pytest.mark.parametrize("place", ["/v", "/over", "/dev", "/proc", ""])
def test_no_guest_makes_a_device(guest: PosixGuest, host: Path, kind: int, place: str) -> None:
    assert guest("mknodat", FDCWD, f"{place}/sda", kind | 0o666, 0x800) == EPERM
    assert os.listdir(host / "volume") == os.listdir(host / "upper") == []


def test_links_in_a_volume_lead_to_nothing_of_the_host(guest: PosixGuest, host: Path) -> None:
    (host / "volume" / "absolute").symlink_to(host / "secret")
    (host / "volume" / "relative").symlink_to("../secret")
    (host / "volume" / "program").symlink_to(host / "outside" / "program")
    (host / "volume" / "directory").symlink_to(host / "outside")
    for name in ("absolute", "relative", "directory/program"):
        path = f"/v/{name}"
        assert guest("openat", FDCWD, path, 0, 0) == ENOENT
        assert guest("fchmodat", FDCWD, path, 0o777, 0) == ENOENT
        assert guest("fchownat", FDCWD, path, 1, 1, 0) == ENOENT
        assert guest("linkat", FDCWD, path, FDCWD, "/v/stolen", 0x400) == ENOENT
    assert guest("execve", "/v/program", guest.strings(b"p"), guest.strings()) == ENOENT
    assert guest("openat", FDCWD, "/v/absolute", O_NOFOLLOW, 0) == ELOOP
    assert guest("fchownat", FDCWD, "/v/absolute", os.getuid(), os.getgid(), 0x100) == 0
    assert stat.S_IMODE((host / "secret").stat().st_mode) != 0o777


def test_a_script_in_a_volume_names_no_program_of_the_host(guest: PosixGuest, host: Path) -> None:
    program = str(host / "outside" / "program")
    (host / "volume" / "script").write_text(f"#!{program}\n")
    (host / "volume" / "climbing").write_text("#!/v/../../../../../../" + program[1:] + "\n")
    (host / "volume" / "through").symlink_to("/proc/self/root/" + program[1:])
    (host / "volume" / "itself").write_text("#!/v/itself\n")
    for name, errno in (("script", ENOENT), ("climbing", ENOENT), ("through", ENOENT)):
        arguments = guest.strings(b"p"), guest.strings()
        assert guest("execve", f"/v/{name}", *arguments) == errno
    assert guest("execve", "/v/itself", guest.strings(b"p"), guest.strings()) == ELOOP
    assert guest("execve", "/dev/zero", guest.strings(b"p"), guest.strings()) == EACCES
    assert guest("execve", "/v", guest.strings(b"p"), guest.strings()) == EACCES


def test_a_socket_of_the_host_is_not_reached_through_a_bind(guest: PosixGuest, host: Path) -> None:
    here = os.open(host / "volume", os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/docker.sock")
        os.close(here)
        listener.listen(5)
        listener.setblocking(False)
        name = b"\x01\0/v/docker.sock\0"
        for kind in (1, 2, 5):
            fd = guest("socket", 1, kind, 0)
            assert guest.raw("connect", fd, guest.put(name), len(name)) == ECONNREFUSED
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert guest("openat", FDCWD, "/v/docker.sock", O_RDWR, 0) == ENXIO


def test_a_socket_of_a_guest_is_not_reached_from_the_host(guest: PosixGuest, host: Path) -> None:
    name = b"\x01\0/v/mine\0"
    fd = guest("socket", 1, 1, 0)
    assert guest.raw("bind", fd, guest.put(name), len(name)) == 0
    assert guest("listen", fd, 5) == 0
    here = os.open(host / "volume", os.O_PATH)
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(f"/proc/self/fd/{here}/mine")
    os.close(here)


def test_a_read_only_mount_keeps_modes_owners_and_names(guest: PosixGuest, host: Path) -> None:
    fd = guest("openat", FDCWD, "/fixed/f", 0, 0)
    assert guest("fchmod", fd, 0o777) == EROFS
    assert guest("fchown", fd, 1, 1) == EROFS
    assert guest("fchmodat", FDCWD, "/fixed/f", 0o777, 0) == EROFS
    assert guest("mknodat", FDCWD, "/fixed/p", S_IFIFO | 0o666, 0) == EROFS
    assert guest("linkat", FDCWD, "/fixed/f", FDCWD, "/v/f", 0) == EXDEV
    assert guest("openat", FDCWD, f"/proc/self/fd/{fd}", O_RDWR, 0) in (EACCES, EROFS)
    assert guest("openat", FDCWD, f"/dev/fd/{fd}", O_RDWR, 0) in (EACCES, EROFS)
    name = b"\x01\0/fixed/s\0"
    assert guest.raw("bind", guest("socket", 1, 1, 0), guest.put(name), len(name)) == EROFS
    assert os.listdir(host / "fixed") == ["f"]


def test_the_fds_of_another_process_give_no_more_than_they_are(
    guest: PosixGuest, host: Path
) -> None:
    """Of another's fds only files can be opened, anew; a mount stays as it was made."""
    fd = guest("openat", FDCWD, "/fixed/f", 0, 0)
    pair = guest.alloc(8)
    assert guest.raw("pipe2", 0, pair) == 0
    pipe, _ = guest.unpack("ii", pair)
    sock = guest("socket", 2, 1, 0)
    assert guest("vfork") > 0
    for number in (pipe, sock):
        assert guest("openat", FDCWD, f"/proc/1/fd/{number}", O_RDWR, 0) == EACCES
    assert guest("openat", FDCWD, f"/proc/1/fd/{fd}", O_RDWR, 0) == EROFS
    assert guest("exit", 0) > 0


@pytest.mark.parametrize("mode", [0o444, 0o222, 0o000, 0o600])
@pytest.mark.parametrize("access", [0, 1])
def test_nobody_is_stuck_in_the_open_of_a_pipe(
    guest: PosixGuest, host: Path, mode: int, access: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel cannot open the other side of every named pipe that a guest may open one of."""
    os.mkfifo(host / "volume" / "pipe")
    (host / "volume" / "pipe").chmod(mode)
    real = os.open

    def as_a_user(path: object, flags: int, *more: object, **options: object) -> int:
        wants = {os.O_RDONLY: 4, os.O_WRONLY: 2, os.O_RDWR: 6}[flags & os.O_ACCMODE]
        if isinstance(path, str) and path.startswith("/proc/self/fd/") and wants & ~(mode >> 6):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", as_a_user)
    ended = threading.Event()

    def use() -> None:
        current.process = guest.process
        try:
            answer = guest("openat", FDCWD, "/v/pipe", access, 0)
            assert answer == EACCES
        except Killed:
            pass
        ended.set()

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    thread.join(0.1)
    guest.process.signal(9)
    assert ended.wait(LONG)
    monkeypatch.undo()
    os.close(os.open(host / "volume" / "pipe", os.O_RDWR | os.O_NONBLOCK))  # let the thread go
