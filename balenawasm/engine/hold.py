"""Holding guests that compute: how a container's share of the processors is kept where the host's
cgroups cannot do it.

Guests sleep when they pass an epoch (`interrupter`), each in its own thread; host calls go on. A
signal that is due ends a guest's sleep within `_SLICE_NS`. One host process has one container, so
the time is one variable.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from balenawasm.engine.interrupter import on_pass

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process

_SLICE_NS: Final = 5_000_000


class _Hold:
    """Until when (time.monotonic_ns) guests sleep; a time that is over holds nobody."""

    until_ns = 0


def until(time_ns: int) -> None:
    """Hold every guest until then. They notice at the next epoch."""
    _Hold.until_ns = time_ns
    if _sleep not in on_pass:
        on_pass.append(_sleep)


def _sleep(process: Process) -> None:
    while (left := _Hold.until_ns - time.monotonic_ns()) > 0 and not process.due:
        time.sleep(min(left, _SLICE_NS) / 1e9)
