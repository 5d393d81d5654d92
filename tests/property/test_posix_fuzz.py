"""Any call of the POSIX door with any arguments answers; nothing else ever comes out of it."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balenawasm.kernel.outcome import ExecRequest, ExitRequest, Killed
from balenawasm.kernel.process import Process
from balenawasm.kernel.session import current
from balenawasm.kernel.signals import Interrupted
from balenawasm.kernel.waiting import Waiting
from balenawasm.personality.posix import TABLE

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "personality"))

from posix_guest import MEMORY, PosixGuest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATHS = (
    b"/program",
    b"a",
    b"d",
    b"d/e",
    b"../a",
    b"l",
    b"l/e",
    b"o",
    b"/",
    b".",
    b"",
    b"x\0y",
    b"s",
)
PATHS_AT, IOVECS_AT, ADDRESSES_AT, MESSAGES_AT, ARGV_AT = 64, 4096, 8192, 12288, 16384


def prepare(guest: PosixGuest) -> None:
    """Memory in which small numbers often mean something, and some files and fds."""

    def place(at: int, data: bytes) -> None:
        guest.buffer[at : at + len(data)] = data

    for index, path in enumerate(PATHS):
        place(PATHS_AT + 16 * index, path)
    for index in range(64):
        place(IOVECS_AT + 8 * index, struct.pack("<II", 32768 + 100 * index, 37 * index))
    place(ADDRESSES_AT, struct.pack("<H2s4s8x", 2, b"\0\x50", b"\x7f\0\0\1"))
    place(ADDRESSES_AT + 32, struct.pack("<H", 1) + b"s\0")
    place(ADDRESSES_AT + 64, struct.pack("<H2s4x16s4x", 10, b"\0\x50", b"\0" * 15 + b"\1"))
    rights = struct.pack("<IIIII", 20, 1, 1, 3, 4)
    place(MESSAGES_AT + 64, rights)
    place(MESSAGES_AT, struct.pack("<7I", 0, 0, IOVECS_AT, 3, MESSAGES_AT + 64, 20, 0))
    place(ARGV_AT, struct.pack("<III", PATHS_AT, PATHS_AT + 16, 0))
    guest("mkdirat", -100, "d", 0o755)
    guest("symlinkat", "d", -100, "l")
    guest("symlinkat", "o", -100, "o")
    guest.create("/a", b"some content")
    for path in ("a", "d"):
        guest("openat", -100, path, 0, 0)
    guest("openat", -100, "a", 2, 0)
    guest("pipe2", 0o4000, guest.alloc(8))
    guest("socket", 2, 1, 0)
    guest("socket", 2, 2, 0)
    guest("socketpair", 1, 1, 0, guest.alloc(8))


NUMBERS = st.one_of(
    st.integers(0, 16),
    st.sampled_from([PATHS_AT + 16 * index for index in range(len(PATHS))]),
    st.sampled_from([IOVECS_AT, ADDRESSES_AT, ADDRESSES_AT + 32, ADDRESSES_AT + 64, MESSAGES_AT]),
    st.sampled_from([ARGV_AT, 32768, 65536, MEMORY - 8, MEMORY - 1, MEMORY]),
    st.sampled_from([(1 << 32) - 100, 0o101, 0o2102, 0o2000000, 0o10644, 0x5421, 0x541B, 1030]),
    st.sampled_from([0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]),
    st.integers(0, (1 << 64) - 1),
)
CALLS = st.sampled_from(sorted(TABLE)).flatmap(
    lambda name: st.tuples(st.just(name), st.tuples(*[NUMBERS for _ in TABLE[name].signature]))
)


@pytest.fixture
def never_blocking(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would wait finds its time over; what would wait for ever is interrupted."""

    def wait(
        _process: Process, _fds: Sequence[tuple[int, int]], timeout_ns: int | None = None
    ) -> list[tuple[int, int]]:
        if timeout_ns is None:
            raise Interrupted
        return []

    def sleep(_waiting: Waiting, _timeout_ns: int | None) -> bool:
        raise Interrupted

    monkeypatch.setattr(Process, "wait", wait)
    monkeypatch.setattr(Waiting, "sleep", sleep)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    before = len(os.listdir("/proc/self/fd"))
    yield tmp_path / "net"
    assert len(os.listdir("/proc/self/fd")) <= before + 8  # nothing is left open


def check_calls(calls: Sequence[tuple[str, tuple[int, ...]]], directory: Path) -> None:
    guest = PosixGuest(directory)
    try:
        prepare(guest)
        for name, values in calls:
            try:
                guest.raw(name, *values)
            except (ExitRequest, ExecRequest, Killed):
                return  # the guest is over
            assert len(guest.buffer) == MEMORY
    finally:
        while current.process.vfork_parent is not None:
            guest.kernel.vfork_exit(current.process, 0)
        guest.close()
    assert not guest.logged


@pytest.mark.usefixtures("never_blocking")
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(calls=st.lists(CALLS, min_size=1, max_size=40))
def test_every_call_answers(calls: Sequence[tuple[str, tuple[int, ...]]], directory: Path) -> None:
    check_calls(calls, directory)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("never_blocking")
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(calls=st.lists(CALLS, min_size=20, max_size=60))
def test_every_call_answers_for_long(
    calls: Sequence[tuple[str, tuple[int, ...]]], directory: Path
) -> None:
    check_calls(calls, directory)
