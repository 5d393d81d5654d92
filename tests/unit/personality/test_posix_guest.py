"""Calls of the POSIX door made without a program: what C programs can hardly do, or too slowly."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from posix_guest import FDCWD, MEMORY, NOWHERE, PosixGuest

from balenawasm.kernel.outcome import ExecRequest, Exited, ExitRequest
from balenawasm.kernel.session import current
from balenawasm.personality.posix import TABLE
from balenawasm.personality.posix_file import STAT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EPERM, ENOENT, E2BIG, EBADF, ECHILD, EAGAIN, EACCES, EFAULT, EINVAL = 1, 2, 7, 9, 10, 11, 13, 14, 22
ENOSYS, ENAMETOOLONG, ENETDOWN = 38, 36, 100


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[PosixGuest]:
    made = PosixGuest(tmp_path / "net")
    yield made
    while current.process.vfork_parent is not None:
        made.kernel.vfork_exit(current.process, 0)
    made.close()


ON_FDS = [
    "read",
    "write",
    "readv",
    "writev",
    "pread",
    "pwrite",
    "lseek",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "close",
    "dup",
    "dup2",
    "fcntl",
    "ioctl",
    "fstat",
    "fchmod",
    "fchown",
    "futimens",
    "getdents",
    "fchdir",
    "bind",
    "listen",
    "accept4",
    "connect",
    "shutdown",
    "getsockname",
    "getpeername",
    "sendto",
    "sendmsg",
    "recvfrom",
    "recvmsg",
    "setsockopt",
    "getsockopt",
    "isatty",
    "tcgetattr",
    "tcsetattr",
    "tcflush",
    "tcgetwinsize",
    "tcsetwinsize",
    "tcgetpgrp",
    "tcsetpgrp",
    "tcgetsid",
    "tcsetctty",
]


@pytest.mark.parametrize("name", ON_FDS)
def test_an_fd_that_is_not_open_is_ebadf(guest: PosixGuest, name: str) -> None:
    address = guest.put(struct.pack("<H14x", 2))
    zeros = guest.alloc(64)
    arguments = {
        "bind": (address, 16),
        "connect": (address, 16),
        "fallocate": (0, 1),
        "accept4": (0, 0, 0),
        "sendmsg": (zeros, 0),
        "recvmsg": (zeros, 0),
        "getsockopt": (1, 3, zeros, zeros),
    }.get(name, (0,) * (len(TABLE[name].signature) - 1))
    assert guest.raw(name, 63, *arguments) == -EBADF


HOSTILE = {
    "attach": None,  # no pointers
    "uname": (NOWHERE,),
    "getcomm": (NOWHERE,),
    "setcomm": (NOWHERE, 10),
    "getcwd": (NOWHERE, 100),
    "chdir": (NOWHERE, 10),
    "openat": (FDCWD, NOWHERE, 10, 0o101, 0o644),
    "fstatat": (FDCWD, NOWHERE, 10, 0, 0),
    "mkdirat": (FDCWD, NOWHERE, 10, 0),
    "unlinkat": (FDCWD, NOWHERE, 10, 0),
    "renameat": (FDCWD, NOWHERE, 10, FDCWD, 0, 10),
    "linkat": (FDCWD, NOWHERE, 10, FDCWD, 0, 10, 0),
    "symlinkat": (NOWHERE, 10, FDCWD, 0, 10),
    "readlinkat": (FDCWD, NOWHERE, 10, 0, 10),
    "mknodat": (FDCWD, NOWHERE, 10, 0o100644, 0),
    "faccessat": (FDCWD, NOWHERE, 10, 0, 0),
    "fchmodat": (FDCWD, NOWHERE, 10, 0, 0),
    "fchownat": (FDCWD, NOWHERE, 10, 0, 0, 0),
    "utimensat": (FDCWD, 0, 10, NOWHERE, 0),
    "execve": (NOWHERE, 10, 0, 0),
    "spawn": (NOWHERE, 10, 0, 0, 0, 0, 0),
    "pipe2": (0, NOWHERE),
    "socketpair": (1, 1, 0, NOWHERE),
    "ppoll": (NOWHERE, 1, 0, 0),
    "clock_nanosleep": (1, 0, NOWHERE, 0),
    "sigaction": (10, NOWHERE, 0),
    "sigwords": (10, 0, NOWHERE, 1),
    "sigprocmask": (0, NOWHERE, 0),
    "sigpending": (NOWHERE,),
    "sigtimedwait": (1, NOWHERE),
    "setitimer": (0, NOWHERE, 0),
    "getitimer": (0, NOWHERE),
    "getrusage": (0, NOWHERE),
    "getrlimit": (7, NOWHERE),
    "wait4": (-1, NOWHERE, 0, 0),
    "lookup_name": (0, 0, 2, NOWHERE, 1),
    "lookup_address": (NOWHERE, 16, 0, 10),
}


@pytest.mark.parametrize("name", [name for name, arguments in HOSTILE.items() if arguments])
def test_a_pointer_outside_is_efault_and_does_nothing(guest: PosixGuest, name: str) -> None:
    fds = len(guest.process.fds)
    assert guest.raw(name, *HOSTILE[name]) == -EFAULT
    assert len(guest.process.fds) == fds
    assert len(guest.kernel.processes) == 1


def test_a_result_outside_is_told_before_anything_is_done(guest: PosixGuest) -> None:
    fd = guest("openat", FDCWD, "f", 0o102, 0o644)
    assert guest("write", fd, b"text", 4) == 4
    assert guest.raw("lseek", fd, 0, 0, NOWHERE) == -EFAULT
    assert guest("read", fd, guest.alloc(4), 4) == 0  # the offset is where it was
    assert guest("write", fd, b"x", NOWHERE) == -EFAULT
    assert guest.raw("fstat", fd, MEMORY - STAT.size + 1) == -EFAULT


def test_attach(guest: PosixGuest) -> None:
    assert guest("attach", 2) == -ENOSYS
    assert not guest.process.sigpipe
    assert guest("attach", 1) == 1
    assert guest.process.sigpipe


def test_stat_of_a_file(guest: PosixGuest) -> None:
    guest.create("/f", bytes(5000), 0o640)
    at = guest.alloc(STAT.size)
    assert guest("fstatat", FDCWD, "f", 0, at) == 0
    _, ino, mode, nlink, uid, gid, rdev, size, blksize, blocks = guest.unpack("QQIIIIQqqq", at)
    assert (mode, nlink, uid, gid, rdev) == (0o100640, 1, 0, 0, 0)
    assert (size, blksize, blocks) == (5000, 4096, 10)
    assert ino


def test_arguments_have_a_limit(guest: PosixGuest) -> None:
    long = guest.put(b"x" * 4000 + b"\0")
    many = guest.put(struct.pack("<600I", *[long] * 599, 0))
    assert guest("execve", "/program", many, 0) == -E2BIG
    endless = guest.put(struct.pack("<I", guest.put(b"\0")) * 100)
    guest.buffer[endless:] = guest.buffer[endless : endless + 4] * ((MEMORY - endless) // 4)
    assert guest("execve", "/program", endless, 0) == -EFAULT
    with pytest.raises(ExecRequest):
        guest("execve", "/program", guest.strings(b"a"), 0)


def test_exit(guest: PosixGuest) -> None:
    with pytest.raises(ExitRequest) as caught:
        guest("exit", 5)
    assert caught.value.code == 5


def test_vfork_exec_and_wait(guest: PosixGuest) -> None:
    child = guest("vfork")
    assert current.process.pid == child
    assert guest("getpid") == child
    assert guest("getppid") == 1
    assert guest("execve", "/nothing", guest.strings(b"a"), 0) == -ENOENT
    assert guest("execve", "/program", guest.strings(b"a"), 0) == child
    assert current.process is guest.process
    status = guest.alloc(4)
    assert guest("wait4", child, status, 0, 0) == child
    assert guest.unpack("I", status) == (3 << 8,)
    assert guest("wait4", -1, status, 0, 0) == -ECHILD


def test_vfork_has_a_limit(guest: PosixGuest) -> None:
    made = 0
    while guest("vfork") > 0:
        made += 1
    assert made == 15
    assert guest("vfork") == -EAGAIN
    while current.process.vfork_parent is not None:
        assert guest("exit", 0) > 0
    assert guest.process.outcome is None


@pytest.mark.parametrize("action", [(9, 0, 0), (1, 50, 3), (2, 3, 0), (4, 3, 0)])
def test_a_spawn_that_fails_leaves_nothing(guest: PosixGuest, action: tuple[int, int, int]) -> None:
    actions = guest.put(struct.pack("<6I", *action, 0, 0, 0))
    guest.create("/plain", b"text")
    argv = guest.strings(b"a")
    assert guest("spawn", "/program", argv, 0, actions, 1, 0) < 0
    assert guest("spawn", "/plain", argv, 0, 0, 0, 0) < 0
    assert guest("spawn", "/program", argv, 0, 0, 5000, 0) == -EINVAL
    flags = guest.put(struct.pack("<IIQQ", 1 << 30, 0, 0, 0))
    assert guest("spawn", "/program", argv, 0, 0, 0, flags) == -EINVAL
    assert len(guest.kernel.processes) == 1
    assert current.process is guest.process
    assert guest("wait4", -1, 0, 1, 0) == -ECHILD


def test_spawn(guest: PosixGuest) -> None:
    pid = guest("spawn", "/program", guest.strings(b"a"), guest.strings(b"A=1"), 0, 0, 0)
    assert guest("wait4", pid, 0, 0, 0) == pid


def test_paths_have_limits(guest: PosixGuest) -> None:
    assert guest("chdir", "x" * 300) == -ENAMETOOLONG
    assert guest("chdir", "x/" * 3000) == -ENAMETOOLONG
    assert guest("openat", FDCWD, "a\0b", 0, 0) == -EINVAL
    assert guest("openat", FDCWD, "", 0, 0) == -ENOENT


def test_without_a_network(guest: PosixGuest) -> None:
    guest.kernel.network = None
    assert guest("socket", 2, 1, 0) == -ENETDOWN


def test_sets_of_signals(guest: PosixGuest) -> None:
    kill_and_stop = 1 << 8 | 1 << 18
    at, old = guest.put(struct.pack("<Q", (1 << 64) - 1)), guest.alloc(8)
    assert guest("sigprocmask", 2, at, 0) == 0
    assert guest("sigprocmask", 0, 0, old) == 0
    assert guest.unpack("Q", old) == ((1 << 64) - 1 - kill_and_stop,)
    assert guest("sigaction", 9, 0, old) == 0
    assert guest("sigaction", 0, 0, old) == -EINVAL
    assert guest("sigaction", 10, struct.pack("<IIQ", 3, 0, 0), 0) == -EINVAL
    assert guest("sigaction", 10, struct.pack("<IIQ", 2, 4, 0), 0) == -EINVAL  # SA_SIGINFO


def test_the_outcome_of_a_process_that_ends_by_itself(guest: PosixGuest) -> None:
    child = guest.kernel.vfork(guest.process)
    guest.kernel.vfork_exit(child, 9)
    assert child.outcome == Exited(9)
    usage = guest.alloc(144)
    assert guest("wait4", child.pid, 0, 0, usage) == child.pid
    assert guest.unpack("18q", usage)[4:] == (0,) * 14
