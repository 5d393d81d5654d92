"""The POSIX door: waiting for fds and for the time."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from balenawasm.kernel import clocks, poll
from balenawasm.personality import linux
from balenawasm.personality.posix_call import posix, read_time, write_time
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Clockid

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process

POLLFD: Final = struct.Struct("<ihh")
"""fd, events, revents."""
_REVENTS: Final = struct.Struct("<H")
_REVENTS_AT: Final = 6
_READING: Final = linux.POLLIN | linux.POLLRDNORM
_WRITING: Final = linux.POLLOUT | linux.POLLWRNORM
_WRONG: Final = linux.POLLERR | linux.POLLHUP | linux.POLLNVAL
_TIME_MAX: Final = 1 << 62


def ppoll(process: Process, fds: int, count: int, timeout: int, mask: int) -> int:
    """Wait until an fd is ready, the time (NULL: for ever) is over or a signal is caught; answers
    how many are. `mask`, a u64, is blocked meanwhile; NULL changes nothing.
    """
    if count > process.limits.open_files:
        raise GuestError(Errno.EINVAL)
    memory = process.memory
    target = memory.slice(fds, count * POLLFD.size)
    wait_ns = None if timeout == 0 else read_time(memory, timeout)
    if mask == 0:
        return _poll(process, target, wait_ns)
    process.signals.swap_mask(memory.read_u64(mask))
    try:
        return _poll(process, target, wait_ns)
    finally:
        process.signals.restore_mask()


def _poll(process: Process, target: memoryview, wait_ns: int | None) -> int:
    interests: list[poll.Interest] = []
    places: list[tuple[int, int]] = []
    ready = 0
    for at in range(0, len(target), POLLFD.size):
        fd, events, _ = POLLFD.unpack_from(target, at)
        entry = process.fds.find(fd) if fd >= 0 else None
        revents = 0
        if entry is not None:
            mask = poll.READ if events & _READING else 0
            mask |= poll.WRITE if events & _WRITING else 0
            interests.append(poll.Interest(entry.description, mask))
            places.append((at, events))
        elif fd >= 0:
            revents = linux.POLLNVAL
            ready += 1
        _REVENTS.pack_into(target, at + _REVENTS_AT, revents)
    answers = poll.poll(process, interests, 0 if ready else wait_ns)
    for answer, (at, events) in zip(answers, places, strict=True):
        revents = answer & _WRONG
        if answer & poll.READ:
            revents |= events & _READING
        if answer & poll.WRITE:
            revents |= events & _WRITING
        if revents:
            ready += 1
            _REVENTS.pack_into(target, at + _REVENTS_AT, revents)
    return ready


def clock_nanosleep(process: Process, clock: int, flags: int, request: int, remain: int) -> int:
    """Sleep for a time, or with TIMER_ABSTIME until one. Interrupted, a time that was relative goes
    on: what is left is written to `remain` unless that is NULL.
    """
    if flags & ~linux.TIMER_ABSTIME or clock not in (Clockid.REALTIME, Clockid.MONOTONIC):
        raise GuestError(Errno.EINVAL)
    memory = process.memory
    wanted = read_time(memory, request)
    if flags:
        process.wait((), min(clocks.until(clock, wanted), _TIME_MAX))
        return 0
    if remain:
        memory.check(remain, 16)
    end = clocks.now(process, Clockid.MONOTONIC) + wanted
    try:
        process.wait((), min(wanted, _TIME_MAX))
    except GuestError:
        if remain:
            left = max(0, end - clocks.now(process, Clockid.MONOTONIC))
            write_time(memory, remain, left)
        raise
    return 0


SYSCALLS: Final = (
    posix(
        ppoll,
        "iiii",
        "POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM; POLLERR, POLLHUP, POLLNVAL in the answer. No "
        "more entries than open files are allowed: EINVAL. Times round up to milliseconds.",
        restarts=False,
        fast=True,
    ),
    posix(
        clock_nanosleep,
        "iiii",
        "CLOCK_REALTIME and CLOCK_MONOTONIC; TIMER_ABSTIME.",
        restarts=False,
    ),
)
