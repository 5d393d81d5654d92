"""Waiting for several open files at once: what poll(2) is made of, whatever the personality's
record formats.

A description without a host fd is always ready. Several interests in one host fd are one entry of
the host's poll.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final

from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balenawasm.vfs.description import Description
    from balenawasm.vfs.node import Caller

READ: Final = select.POLLIN
WRITE: Final = select.POLLOUT
HANGUP: Final = select.POLLHUP
_ANYTHING_WRONG: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Interest(NamedTuple):
    """One open file and what it shall be ready for: READ, WRITE or both."""

    description: Description
    events: int


def poll(caller: Caller, interests: Sequence[Interest], timeout_ns: int | None) -> list[int]:
    """Block until an interest is ready or the time is over; None waits for ever, 0 only asks.

    The answer has one mask for each interest: 0, or the events that are ready, with HANGUP and
    POLLERR as the host says.
    """
    answers = [
        i.events & i.description.at_once if i.description.host_fd >= 0 else i.events
        for i in interests
    ]
    fds = [(i.description.host_fd, i.events) for i in interests if i.description.host_fd >= 0]
    if any(answers):
        timeout_ns = 0
    if not fds and timeout_ns == 0:
        return answers
    ready = dict(caller.wait(fds, timeout_ns))
    for index, (description, events) in enumerate(interests):
        if description.host_fd in ready:
            answers[index] |= ready[description.host_fd] & (events | _ANYTHING_WRONG)
    return answers
