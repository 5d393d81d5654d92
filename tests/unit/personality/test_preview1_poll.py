from __future__ import annotations

import os
import time

import pytest
from preview1_guest import CallError, Guest, clock_subscription, fd_subscription

from balenawasm.kernel.pipe import make_pipe
from balenawasm.personality.preview1_poll import SUBSCRIPTIONS_MAX
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno
from balenawasm.wasi.structs import EVENT, SUBSCRIPTION

CLOCK, READ, WRITE = 0, 1, 2
MS = 1_000_000


@pytest.fixture
def pipe(guest: Guest) -> tuple[int, int]:
    """(reading, writing) fds of the guest."""
    reading, writing = make_pipe()
    return guest.install(reading), guest.install(writing)


def errno(guest: Guest, *subscriptions: bytes) -> Errno:
    with pytest.raises(CallError) as caught:
        guest.poll(*subscriptions)
    return caught.value.errno


def test_nothing_to_wait_for_is_einval(guest: Guest) -> None:
    assert errno(guest) == Errno.EINVAL


def test_too_much_to_wait_for_is_einval(guest: Guest) -> None:
    for count in (SUBSCRIPTIONS_MAX + 1, 0xFFFF_FFFF):
        with pytest.raises(CallError) as caught:
            guest.call("poll_oneoff", 0, 0, count, 0)
        assert caught.value.errno == Errno.EINVAL


@pytest.mark.parametrize("clock", [0, 1])
def test_a_duration(guest: Guest, clock: int) -> None:
    before = time.monotonic_ns()
    assert guest.poll(clock_subscription(7, 2 * MS, clock=clock)) == [(7, 0, CLOCK, 0, 0)]
    assert time.monotonic_ns() - before >= 2 * MS


@pytest.mark.parametrize(("clock", "now"), [(0, time.time_ns), (1, time.monotonic_ns)])
def test_a_point_in_time(guest: Guest, clock: int, now: object) -> None:
    deadline = now() + 2 * MS  # type: ignore[operator]
    subscription = clock_subscription(7, deadline, clock=clock, flags=1)
    assert guest.poll(subscription) == [(7, 0, CLOCK, 0, 0)]
    assert now() >= deadline  # type: ignore[operator]
    assert guest.poll(clock_subscription(8, 1, clock=clock, flags=1)) == [(8, 0, CLOCK, 0, 0)]


def test_the_first_of_several_clocks(guest: Guest) -> None:
    events = guest.poll(
        clock_subscription(1, 3600 * 10**9),
        clock_subscription(2, 2 * MS),
        clock_subscription(3, 1 << 63),
        clock_subscription(4, 2 * MS),
    )
    assert events == [(2, 0, CLOCK, 0, 0), (4, 0, CLOCK, 0, 0)]


@pytest.mark.parametrize(
    "subscription",
    [
        clock_subscription(1, 0, clock=2),
        clock_subscription(1, 0, clock=3),
        clock_subscription(1, 0, clock=99),
        clock_subscription(1, 0, flags=2),
        b"\0" * 8 + b"\3" + b"\0" * 39,
    ],
)
def test_what_cannot_be_waited_for(guest: Guest, subscription: bytes) -> None:
    assert errno(guest, subscription) == Errno.EINVAL


def test_a_pipe_becomes_ready(guest: Guest, pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    both = fd_subscription(1, reading), fd_subscription(2, writing, write=True)
    assert guest.poll(*both) == [(2, 0, WRITE, 1, 0)]
    guest.write(writing, b"x")
    assert guest.poll(*both) == [(1, 0, READ, 1, 0), (2, 0, WRITE, 1, 0)]


def test_time_runs_out_beside_an_fd(guest: Guest, pipe: tuple[int, int]) -> None:
    events = guest.poll(fd_subscription(1, pipe[0]), clock_subscription(2, MS))
    assert events == [(2, 0, CLOCK, 0, 0)]


def test_a_time_that_is_over_is_told_beside_a_ready_fd(guest: Guest, pipe: tuple[int, int]) -> None:
    events = guest.poll(clock_subscription(2, 0), fd_subscription(1, pipe[1], write=True))
    assert sorted(events) == [(1, 0, WRITE, 1, 0), (2, 0, CLOCK, 0, 0)]


def test_hangup(guest: Guest, pipe: tuple[int, int]) -> None:
    guest.close(pipe[1])
    assert guest.poll(fd_subscription(1, pipe[0])) == [(1, 0, READ, 1, w.FD_READWRITE_HANGUP)]


def test_a_bad_fd_is_an_event(guest: Guest, pipe: tuple[int, int]) -> None:
    events = guest.poll(
        fd_subscription(1, 60),
        fd_subscription(2, pipe[0]),
        fd_subscription(3, pipe[1], write=True),
    )
    assert events == [(1, Errno.EBADF, READ, 0, 0), (3, 0, WRITE, 1, 0)]


def test_without_the_right_it_is_an_event(guest: Guest, pipe: tuple[int, int]) -> None:
    guest.call("fd_fdstat_set_rights", pipe[0], w.FD_READ, 0)
    assert guest.poll(fd_subscription(1, pipe[0])) == [(1, Errno.ENOTCAPABLE, READ, 0, 0)]


def test_files_are_always_ready(guest: Guest) -> None:
    fd = guest.open(b"file", oflags=w.O_CREAT)
    guest.write(fd, b"12345")
    guest.seek(fd, 2)
    events = guest.poll(fd_subscription(1, fd), fd_subscription(2, fd, write=True))
    assert events == [(1, 0, READ, 3, 0), (2, 0, WRITE, 1, 0)]
    assert guest.poll(fd_subscription(1, 3)) == [(1, 0, READ, 1, 0)]


def test_the_same_fd_twice(guest: Guest, pipe: tuple[int, int]) -> None:
    guest.write(pipe[1], b"x")
    events = guest.poll(fd_subscription(1, pipe[0]), fd_subscription(2, pipe[0]))
    assert events == [(1, 0, READ, 1, 0), (2, 0, READ, 1, 0)]


def test_events_may_overwrite_subscriptions(guest: Guest, pipe: tuple[int, int]) -> None:
    subscriptions = b"".join(fd_subscription(u, pipe[1], write=True) for u in (1, 2, 3))
    at, result = guest.put(subscriptions), guest.alloc(4)
    guest.call("poll_oneoff", at, at, 3, result)
    data = guest.get(at, 3 * EVENT.size)
    users = [EVENT.unpack_from(data, i * EVENT.size)[0] for i in range(guest.u32(result))]
    assert users == [1, 2, 3]
    assert len(subscriptions) == 3 * SUBSCRIPTION.size


def test_waking_up_from_another_thread(guest: Guest) -> None:
    reading, writing = make_pipe()
    fd = guest.install(reading)
    import threading

    timer = threading.Timer(0.01, lambda: os.write(writing.host_fd, b"x"))
    timer.start()
    assert guest.poll(fd_subscription(1, fd)) == [(1, 0, READ, 1, 0)]
    timer.join()
    os.close(writing.host_fd)
