"""What guests try in order to use up the runner: its fds, threads, memory and stack. Calls fail
with an errno, other processes go on, and a kill still works.
"""

from __future__ import annotations

import contextlib
import os
import resource
import struct
import threading
from typing import TYPE_CHECKING

import pytest
from posix_guest import FDCWD, PosixGuest

from balenawasm.kernel.network_policy import OutboundPolicy
from balenawasm.kernel.outcome import Killed
from balenawasm.kernel.session import current
from balenawasm.vfs.filesystems.dev import DevFs
from balenawasm.vfs.filesystems.fifo import LEFT_MAX
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.net import NetFs
from balenawasm.vfs.filesystems.proc import ProcFs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = 30.0
EINTR, EAGAIN, ENOMEM, EINVAL, EMFILE, E2BIG, ELOOP = -4, -11, -12, -22, -24, -7, -40
O_RDWR, O_CREAT, O_NONBLOCK, O_DIRECTORY = 2, 0o100, 0o4000, 0o200000
MIB = 1 << 20


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[PosixGuest]:
    guest = PosixGuest(tmp_path / "loopback")
    guest.stack.names._policy = OutboundPolicy.from_texts(["all"])
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "f").write_bytes(b"f")
    mount = guest.kernel.namespace.mount
    mount(b"/v", HostDirectory(tmp_path / "volume").root)
    mount(b"/dev", DevFs().root)
    mount(b"/net", NetFs(guest.stack).root)
    mount(b"/proc", ProcFs(guest.kernel).root)
    yield guest
    guest.close()


@contextlib.contextmanager
def few_host_fds(spare: int) -> Iterator[None]:
    """The host gives this process no more than `spare` further fds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(highest)]  # fill the holes
    highest = max(held)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)


@contextlib.contextmanager
def no_more_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield


def use_everything(guest: PosixGuest) -> dict[str, int]:
    """One call of each kind that wants something of the host, and its answer."""
    mark = guest._top
    result = guest.alloc(64)
    path = guest.put(b"/program")
    argv, envp = guest.strings(b"program"), guest.strings()
    timer = guest.put(struct.pack("<4q", 0, 0, 1000, 0))
    answers = {
        "pipe": guest.raw("pipe2", 0, result),
        "pair": guest.raw("socketpair", 1, 1, 0, result),
        "tcp": guest("socket", 2, 1, 0),
        "udp": guest("openat", FDCWD, "/net/udp/bind/127.0.0.1!0", O_RDWR, 0),
        "unix": guest("socket", 1, 2, 0),
        "listen": guest("openat", FDCWD, "/net/tcp/listen/127.0.0.1!0", O_RDWR, 0),
        "tls": guest("openat", FDCWD, "/net/tls/new", O_RDWR, 0),
        "tls connect": guest("openat", FDCWD, "/net/tls/connect/127.0.0.1!9", O_RDWR, 0),
        "file": guest("openat", FDCWD, "/v/f", O_RDWR, 0),
        "directory": guest("openat", FDCWD, "/v", O_DIRECTORY, 0),
        "pidfd": guest("openat", FDCWD, "/proc/pidfd/1", O_RDWR, 0),
        "memory pipe": guest("mknodat", FDCWD, f"/pipe{mark}", 0o010600, 0),
        "memory pipe opened": guest("openat", FDCWD, f"/pipe{mark}", O_RDWR, 0),
        "name": guest("openat", FDCWD, "/net/dns/name.example", O_RDWR, 0),
        "spawn": guest.raw("spawn", path, 8, argv, envp, 0, 0, 0),
        "timer": guest.raw("setitimer", 0, timer, 0),
        "listing": guest("openat", FDCWD, "/proc/self/fd", O_DIRECTORY, 0),
    }
    for fd in list(guest.process.fds):
        guest("close", fd)
    guest._top = mark
    return answers


@pytest.mark.parametrize("spare", range(6))
def test_a_host_without_fds(guest: PosixGuest, spare: int) -> None:
    expected = use_everything(guest)
    with few_host_fds(spare):
        answers = use_everything(guest)
        ended = threading.Event()

        def sleep() -> None:
            current.process = guest.process
            with contextlib.suppress(Killed):
                guest.raw("clock_nanosleep", 1, 0, guest.put(struct.pack("<qq", 9999, 0)), 0)
            ended.set()

        threading.Thread(target=sleep, daemon=True).start()
        guest.process.signal(9)
        assert ended.wait(LONG)
    refused = {name for name, answer in answers.items() if answer == EMFILE}
    if not spare:
        assert {"pipe", "pair", "unix", "udp", "listen", "file", "memory pipe opened"} <= refused
    for name in answers.keys() - refused:
        assert answers[name] < 0 or expected[name] >= 0, name
    assert guest.logged == []


def test_a_host_without_threads(guest: PosixGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    guest("mknodat", FDCWD, "/v/pipe", 0o010600, 0)
    with no_more_threads(monkeypatch):
        answers = use_everything(guest)
        assert guest("openat", FDCWD, "/v/pipe", 0, 0) == EAGAIN
    assert answers["spawn"] == EAGAIN or answers["spawn"] > 0  # a thread was idle
    assert answers["timer"] == EAGAIN
    assert use_everything(guest)["timer"] == 0
    assert guest.logged == []


def test_openings_that_nobody_can_end_are_bounded(
    guest: PosixGuest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe that may only be read, whose reader is interrupted again and again."""
    pipe = tmp_path / "volume" / "pipe"
    os.mkfifo(pipe)
    real = os.open

    def as_a_user(path: object, flags: int, *more: object, **options: object) -> int:
        if str(path).startswith("/proc/self/fd/") and flags & os.O_ACCMODE:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", as_a_user)
    action = struct.pack("<IIQ", 2, 0, 0)
    assert guest.raw("sigaction", 10, guest.put(action), 0) == 0
    before = threading.active_count()
    answers = []
    for _ in range(LEFT_MAX + 3):
        timer = threading.Timer(0.01, lambda: guest.process.signal(10))
        timer.start()
        answers.append(guest("openat", FDCWD, "/v/pipe", 0, 0))
        timer.join()
        guest.process.signals.set_mask(0)
    assert set(answers) == {EINTR, EAGAIN}
    assert threading.active_count() - before <= LEFT_MAX
    monkeypatch.undo()
    os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))


# Sizes, counts and depths.


def test_requests_for_programs_are_bounded_together(guest: PosixGuest) -> None:
    requests = [guest("openat", FDCWD, "/proc/spawn", O_RDWR, 0) for _ in range(40)]
    data = guest.put(b"arg=" + b"x" * (MIB // 2))
    answers = [guest.raw("write", fd, data, MIB // 2) for fd in requests]
    assert answers[0] == MIB // 2
    assert answers[-1] == ENOMEM
    assert sum(answer for answer in answers if answer > 0) <= 16 * MIB
    for fd in requests:
        guest("close", fd)
    again = guest("openat", FDCWD, "/proc/spawn", O_RDWR, 0)
    assert guest.raw("write", again, data, MIB // 2) == MIB // 2


def test_a_script_does_not_recurse(guest: PosixGuest) -> None:
    guest.create("/a", b"#!/b\n")
    guest.create("/b", b"#!/a\n")
    assert guest("execve", "/a", guest.strings(b"a"), guest.strings()) == ELOOP


def test_directories_in_each_other_without_end(guest: PosixGuest) -> None:
    """A way of 3000 directories, longer than any path; each on the way costs the host an fd."""
    fd = guest("openat", FDCWD, "/v", O_DIRECTORY, 0)
    depth = 0
    with few_host_fds(200):
        for depth in range(3000):  # noqa: B007 - how far it went
            mark = guest._top
            guest("mkdirat", fd, "d", 0o755)
            deeper = guest("openat", fd, "d", O_DIRECTORY, 0)
            guest("close", fd)
            guest._top = mark
            if deeper < 0:
                break
            fd = deeper
        else:
            assert guest("fstat", fd, guest.alloc(112)) == 0
    if deeper < 0:
        assert deeper == EMFILE
        assert depth > 100
    else:
        guest("close", fd)
    assert guest("openat", FDCWD, "/v/f", 0, 0) >= 0


def test_zombies_and_chains_of_vfork_are_processes(guest: PosixGuest) -> None:
    """The limit of the fixture's kernel is 16."""
    made = 0
    while (pid := guest("vfork")) > 0:
        made += 1
    assert pid == EAGAIN
    assert made == 15
    ended = [guest("exit", 0) for _ in range(made)]
    assert all(pid > 0 for pid in ended)
    assert current.process is guest.process
    assert guest("vfork") > 0  # the others' parents have ended, too; one zombie is left
    assert guest("exit", 0) > 0
