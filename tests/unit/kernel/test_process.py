from __future__ import annotations

import os
import select
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from kernel_parts import LONG, Counted, in_thread, new_process

from balenawasm.kernel.fd_table import FdEntry
from balenawasm.kernel.outcome import Exited, Killed, Signaled, Trapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.kernel.process import Process


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def blocked() -> None:
    """Give the other thread time to block; a test stays right when it has not."""
    time.sleep(0.01)


def test_a_kill_ends_a_sleep(process: Process) -> None:
    sleeper = in_thread(lambda: process.wait((), None))
    blocked()
    assert process.signal(signal.SIGTERM)
    assert isinstance(sleeper.exception(LONG), Killed)
    assert process.killed_by == signal.SIGTERM
    assert process.outcome_of_kill() == Signaled(signal.SIGTERM)


def test_a_kill_ends_a_sleep_with_a_deadline(process: Process) -> None:
    sleeper = in_thread(lambda: process.wait((), 10**18))
    blocked()
    process.signal(signal.SIGINT)
    assert isinstance(sleeper.exception(LONG), Killed)


@pytest.mark.parametrize("fds", [1, 2])
def test_a_kill_ends_a_wait_for_fds(process: Process, pipe: tuple[int, int], fds: int) -> None:
    reader = in_thread(lambda: process.wait([(pipe[0], select.POLLIN)] * fds))
    blocked()
    process.signal(signal.SIGKILL)
    assert isinstance(reader.exception(LONG), Killed)


def test_a_kill_before_the_wait_counts(process: Process, pipe: tuple[int, int]) -> None:
    process.check_killed()
    process.signal(signal.SIGKILL)
    with pytest.raises(Killed):
        process.check_killed()
    with pytest.raises(Killed):
        process.wait(((pipe[0], select.POLLIN),))
    with pytest.raises(Killed):
        process.wait((), 0)


def test_wait_answers_what_is_ready(process: Process, pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    both = [(reading, select.POLLIN), (writing, select.POLLOUT)]
    assert process.wait(both) == [(writing, select.POLLOUT)]
    os.write(writing, b"x")
    assert dict(process.wait(both)) == {reading: select.POLLIN, writing: select.POLLOUT}
    assert process.wait([(reading, select.POLLIN)] * 2, 0) == [(reading, select.POLLIN)]


def test_wait_ends_with_its_time(process: Process, pipe: tuple[int, int]) -> None:
    before = time.monotonic_ns()
    assert process.wait(((pipe[0], select.POLLIN),), 3_000_000) == []
    assert process.wait((), 2_000_000) == []
    assert time.monotonic_ns() - before >= 5_000_000


def test_one_fd_for_reading_and_writing(process: Process) -> None:
    event = os.eventfd(1)
    try:
        ready = process.wait([(event, select.POLLIN), (event, select.POLLOUT)])
    finally:
        os.close(event)
    assert ready == [(event, select.POLLIN | select.POLLOUT)]


@pytest.mark.parametrize(
    "signo", [0, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT]
)
def test_ignored_signals_change_nothing(process: Process, signo: int) -> None:
    assert process.signal(signo)
    process.check_killed()


@pytest.mark.parametrize("signo", [-1, 65, 10**9])
def test_no_such_signal(process: Process, signo: int) -> None:
    with pytest.raises(ValueError, match="no signal"):
        process.signal(signo)


def test_the_first_deadly_signal_counts(process: Process) -> None:
    process.signal(signal.SIGTERM)
    process.signal(signal.SIGKILL)
    assert process.killed_by == signal.SIGTERM


def test_kill_hooks_run_once_and_at_once_when_late(process: Process) -> None:
    calls: list[str] = []
    process.on_kill.append(lambda: calls.append("early"))
    process.signal(signal.SIGTERM)
    process.signal(signal.SIGTERM)
    process.on_kill.append(lambda: calls.append("late"))
    assert calls == ["early", "late"]


def test_finish_closes_before_it_tells() -> None:
    process = new_process()
    description = Counted()
    process.fds.add(FdEntry(description))
    seen: list[tuple[int, object]] = []
    process.on_exit.append(lambda: seen.append((description.closed, process.outcome)))
    process.finish(Exited(3))
    process.finish(Trapped("later"))
    assert seen == [(1, Exited(3))]
    assert process.wait_exit(0) == Exited(3)
    assert not process.signal(signal.SIGKILL), "it is gone"


def test_the_host_waits_for_the_end(process: Process) -> None:
    other = new_process(2)
    host = in_thread(lambda: other.wait_exit(LONG))
    blocked()
    other.finish(Exited(7))
    assert host.result(LONG) == Exited(7)


def test_watching_leaves_no_fd_behind(process: Process) -> None:
    other = new_process(2)
    fd = other.watch_exit()
    assert other.watch_exit() == fd
    assert process.wait(((fd, select.POLLIN),), 0) == []
    other.finish(Exited(0))
    assert process.wait(((fd, select.POLLIN),), 0) == [(fd, select.POLLIN)]
    other.unwatch_exit()
    other.unwatch_exit()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_kills_and_ends_at_the_same_time() -> None:
    """Whoever wins: one outcome, no write to a closed fd, nobody left waiting."""
    for _ in range(200):
        process = new_process()
        sleeper = in_thread(lambda process=process: process.wait(((0x7FFF, 0),), 0))
        start = threading.Barrier(3)

        def kill(process: Process = process, start: threading.Barrier = start) -> None:
            start.wait()
            process.signal(signal.SIGTERM)

        def finish(process: Process = process, start: threading.Barrier = start) -> None:
            start.wait()
            process.finish(Exited(0))

        sleeper.exception(LONG)
        done = [in_thread(kill), in_thread(finish)]
        start.wait()
        assert [future.exception(LONG) for future in done] == [None, None]
        assert process.outcome == Exited(0)


def test_processor_time_is_the_processs_own() -> None:
    def run() -> tuple[int, int]:
        sum(range(200_000))
        process = new_process()
        process.begin()
        before = process.cpu_time_ns()
        sum(range(200_000))
        return before, process.cpu_time_ns()

    before, after = in_thread(run).result(LONG)
    assert before < after


def test_statuses_are_a_shells() -> None:
    assert Exited(3).status == 3
    assert Exited(0xFFFF_FFFF).status == 255
    assert Signaled(15).status == 143
    assert Trapped("x").status == 134
