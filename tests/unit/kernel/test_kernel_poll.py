from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import pytest
from kernel_parts import Counted

from balenawasm.kernel.outcome import Killed
from balenawasm.kernel.pipe import make_pipe
from balenawasm.kernel.poll import HANGUP, READ, WRITE, Interest, poll

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.kernel.process import Process
    from balenawasm.kernel.stream import Stream


@pytest.fixture
def pipe() -> Iterator[tuple[Stream, Stream]]:
    ends = make_pipe()
    for end in ends:
        end.retain()
    yield ends
    for end in ends:
        end.release()


def test_without_a_host_fd_always_ready(process: Process, pipe: tuple[Stream, Stream]) -> None:
    file = Counted()
    interests = [Interest(file, READ), Interest(pipe[0], READ), Interest(file, WRITE)]
    assert poll(process, interests, None) == [READ, 0, WRITE]


def test_ready_beside_always_ready(process: Process, pipe: tuple[Stream, Stream]) -> None:
    assert poll(process, [Interest(Counted(), READ), Interest(pipe[1], WRITE)], None) == [
        READ,
        WRITE,
    ]


def test_two_interests_in_one_fd(process: Process, pipe: tuple[Stream, Stream]) -> None:
    event = os.eventfd(0, os.EFD_NONBLOCK)
    description = Counted()
    description.host_fd = event
    interests = [Interest(description, READ), Interest(description, WRITE)]
    try:
        assert poll(process, interests, None) == [0, WRITE]
        os.eventfd_write(event, 1)
        assert poll(process, interests, None) == [READ, WRITE]
    finally:
        os.close(event)


def test_hangup_and_error_are_told_to_all(process: Process) -> None:
    reading, writing = make_pipe()
    for end in (reading, writing):
        end.retain()
    writing.release()
    assert poll(process, [Interest(reading, READ)], None) == [HANGUP]
    reading.release()
    reading, writing = make_pipe()
    for end in (reading, writing):
        end.retain()
    reading.release()
    assert poll(process, [Interest(writing, WRITE)], None)[0] & select.POLLERR
    writing.release()


def test_time_is_over(process: Process, pipe: tuple[Stream, Stream]) -> None:
    assert poll(process, [Interest(pipe[0], READ)], 1_000_000) == [0]
    assert poll(process, [Interest(pipe[0], READ)], 0) == [0]
    assert poll(process, [], 1000) == []


def test_a_killed_process_polls_no_more(process: Process, pipe: tuple[Stream, Stream]) -> None:
    process.signal(9)
    with pytest.raises(Killed):
        poll(process, [Interest(pipe[1], WRITE)], None)
