"""Preview 1: poll_oneoff, which waits for clocks and fds together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from balenawasm.kernel import clocks, poll
from balenawasm.kernel.signals import Interrupted
from balenawasm.personality.syscall import preview1
from balenawasm.record import NamedTuple
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Eventtype, Filetype, Whence
from balenawasm.wasi.structs import (
    EVENT,
    SUBSCRIPTION,
    SUBSCRIPTION_CLOCK,
    SUBSCRIPTION_FD,
    SUBSCRIPTION_UNION_OFFSET,
)

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.description import Description

SUBSCRIPTIONS_MAX: Final = 4096
"""Most subscriptions of one call: EINVAL."""
_CLOCK: Final = int(Eventtype.CLOCK)
_FD_READ: Final = int(Eventtype.FD_READ)
_FD_WRITE: Final = int(Eventtype.FD_WRITE)


class Event(NamedTuple):
    """`event`, in the record's order."""

    userdata: int
    error: int
    kind: int
    nbytes: int = 0
    flags: int = 0


class _Waiting(NamedTuple):
    """The subscriptions of one call, sorted out."""

    clocks: list[tuple[int, int]]
    """(nanoseconds from now, userdata)."""
    fds: list[tuple[poll.Interest, int, int]]
    """(interest, userdata, event type)."""
    events: list[Event]
    """What is certain without waiting: subscriptions that cannot be."""


def poll_oneoff(process: Process, subscriptions: int, events: int, count: int, result: int) -> int:
    """Wait until something subscribed to happens; answers one event for each thing that did."""
    if not 0 < count <= SUBSCRIPTIONS_MAX:
        raise GuestError(Errno.EINVAL)
    memory = process.memory
    # A copy: the guest may have the events written over the subscriptions.
    records = memory.read(subscriptions, count * SUBSCRIPTION.size)
    out = memory.slice(events, count * EVENT.size)
    memory.check(result, 4)
    waiting = _sort_out(process, records)
    happened = _wait(process, waiting)
    for index, event in enumerate(happened):
        EVENT.pack_into(out, index * EVENT.size, *event)
    memory.write_u32(result, len(happened))
    return 0


def _sort_out(process: Process, records: bytes) -> _Waiting:
    waiting = _Waiting([], [], [])
    for start in range(0, len(records), SUBSCRIPTION.size):
        userdata, kind = SUBSCRIPTION.unpack_from(records, start)
        union = start + SUBSCRIPTION_UNION_OFFSET
        if kind == _CLOCK:
            clock, timeout, _, flags = SUBSCRIPTION_CLOCK.unpack_from(records, union)
            waiting.clocks.append((_nanoseconds(clock, timeout, flags), userdata))
        elif kind in (_FD_READ, _FD_WRITE):
            fd = SUBSCRIPTION_FD.unpack_from(records, union)[0]
            try:
                interest = _interest(process, fd, kind)
            except GuestError as error:
                waiting.events.append(Event(userdata, error.errno, kind))
            else:
                waiting.fds.append((interest, userdata, kind))
        else:
            raise GuestError(Errno.EINVAL)
    return waiting


def _nanoseconds(clock: int, timeout: int, flags: int) -> int:
    if flags & ~w.SUBSCRIPTION_CLOCK_ABSTIME:
        raise GuestError(Errno.EINVAL)
    if flags:
        return clocks.until(clock, timeout)
    clocks.until(clock, 0)  # a clock one can wait for?
    return timeout


def _interest(process: Process, fd: int, kind: int) -> poll.Interest:
    entry = process.fds.get(fd)
    rights = entry.rights_base
    accepts = kind == _FD_READ and rights & w.SOCK_ACCEPT
    if not (rights & w.POLL_FD_READWRITE or accepts):
        raise GuestError(Errno.ENOTCAPABLE)
    return poll.Interest(entry.description, poll.READ if kind == _FD_READ else poll.WRITE)


def _wait(process: Process, waiting: _Waiting) -> list[Event]:
    timeout = min((left for left, _ in waiting.clocks), default=None)
    if waiting.events:
        timeout = 0
    try:
        ready = poll.poll(process, [interest for interest, _, _ in waiting.fds], timeout)
    except Interrupted:
        # wasi-libc's clock_nanosleep makes ENOTSUP of every errno. So a sleep ends early.
        if waiting.fds or timeout is None:
            raise
        ready = []
    happened = waiting.events
    for mask, (interest, userdata, kind) in zip(ready, waiting.fds, strict=True):
        if mask:
            happened.append(
                Event(
                    userdata,
                    0,
                    kind,
                    _bytes_there(interest.description) if kind == _FD_READ else 1,
                    w.FD_READWRITE_HANGUP if mask & poll.HANGUP else 0,
                )
            )
    over = 0 if happened else timeout
    happened.extend(Event(userdata, 0, _CLOCK) for left, userdata in waiting.clocks if left == over)
    return happened


def _bytes_there(description: Description) -> int:
    """How much can be read: what is left of a file, 1 ("some") of a stream."""
    if description.filetype != Filetype.REGULAR_FILE or not description.seekable:
        return 1
    return max(0, description.stat().size - description.seek(0, Whence.CUR))


SYSCALLS: Final = (
    preview1(
        poll_oneoff,
        "At most 4096 subscriptions. An fd that cannot be polled gives an event with the error. "
        "With fds, times round up to "
        "milliseconds. Realtime and monotonic clocks; a realtime deadline is turned into a "
        "duration at the start.",
        fast=True,
    ),
)
