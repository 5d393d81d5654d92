"""The clocks of WASI's `clockid` in nanoseconds.

Processor time is that of the guest's thread since the guest started; a process has one thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Clockid

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.kernel.process import Process

_CLOCKS: Final[dict[int, Callable[[], int]]] = {
    Clockid.REALTIME: time.time_ns,
    Clockid.MONOTONIC: time.monotonic_ns,
}
_RESOLUTIONS: Final[dict[int, int]] = {
    Clockid.REALTIME: max(1, round(time.get_clock_info("time").resolution * 1e9)),
    Clockid.MONOTONIC: max(1, round(time.get_clock_info("monotonic").resolution * 1e9)),
    Clockid.PROCESS_CPUTIME_ID: max(1, round(time.get_clock_info("thread_time").resolution * 1e9)),
    Clockid.THREAD_CPUTIME_ID: max(1, round(time.get_clock_info("thread_time").resolution * 1e9)),
}


def now(process: Process, clock: int) -> int:
    """Read a clock: EINVAL when there is no such clock."""
    read = _CLOCKS.get(clock)
    if read is not None:
        return read()
    if clock in _RESOLUTIONS:
        return process.cpu_time_ns()
    raise GuestError(Errno.EINVAL)


def resolution(clock: int) -> int:
    """A clock's resolution: EINVAL when there is no such clock."""
    found = _RESOLUTIONS.get(clock)
    if found is None:
        raise GuestError(Errno.EINVAL)
    return found


def until(clock: int, deadline: int) -> int:
    """Nanoseconds from now to an absolute time of a clock one can wait for, 0 when it is over:
    EINVAL for others.
    """
    read = _CLOCKS.get(clock)
    if read is None:
        raise GuestError(Errno.EINVAL)
    return max(0, deadline - read())
