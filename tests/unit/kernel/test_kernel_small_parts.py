"""Clocks, signals, dispatch: modules of a few lines."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from balenawasm.kernel import clocks
from balenawasm.kernel.dispatch import errno_of
from balenawasm.kernel.outcome import ExitRequest, Killed
from balenawasm.kernel.signals import Action, default_action
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Clockid

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process


@pytest.mark.parametrize("clock", list(Clockid))
def test_clocks_go_forward_and_have_a_resolution(process: Process, clock: Clockid) -> None:
    process.begin()
    first = clocks.now(process, clock)
    assert 0 <= first <= clocks.now(process, clock)
    assert 1 <= clocks.resolution(clock) <= 1_000_000_000


def test_realtime_is_since_1970(process: Process) -> None:
    assert abs(clocks.now(process, Clockid.REALTIME) - time.time_ns()) < 10**10


def test_deadlines() -> None:
    now = time.monotonic_ns()
    left = clocks.until(Clockid.MONOTONIC, now + 10**12)
    assert 0 < left <= 10**12
    assert clocks.until(Clockid.MONOTONIC, now - 1) == 0
    assert clocks.until(Clockid.REALTIME, 0) == 0


def test_unknown_clocks(process: Process) -> None:
    for attempt in (
        lambda: clocks.now(process, 4),
        lambda: clocks.resolution(4),
        lambda: clocks.until(Clockid.PROCESS_CPUTIME_ID, 0),
    ):
        with pytest.raises(GuestError) as caught:
            attempt()
        assert caught.value.errno == Errno.EINVAL


@pytest.mark.parametrize(
    ("error", "errno"),
    [
        (GuestError(Errno.ELOOP), Errno.ELOOP),
        (BlockingIOError(11, "again"), Errno.EAGAIN),
        (BrokenPipeError(32, "pipe"), Errno.EPIPE),
        (OSError("without a number"), Errno.EIO),
        (MemoryError(), Errno.ENOMEM),
        (KeyError("bug"), None),
        (Killed(), None),
        (ExitRequest(0), None),
    ],
)
def test_what_a_guest_is_told(error: BaseException, errno: Errno | None) -> None:
    assert errno_of(error) == errno


def test_default_actions() -> None:
    deadly = {s for s in range(1, 65) if default_action(s) is Action.TERMINATE}
    assert {signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE} <= deadly
    assert not deadly & {signal.SIGCHLD, signal.SIGCONT, signal.SIGWINCH, signal.SIGURG}
