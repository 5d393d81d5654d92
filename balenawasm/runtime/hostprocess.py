"""What a runner's host process needs of Linux that Python does not offer: prctl(2), all the fds the
host grants, and making sure that a fork has no fds but its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_FIRST_FD = 3
_GARBAGE = 20_000
"""Objects more than at the last collection before the next one. The kernel makes no reference
cycles, so collections find nothing, and each stops all guests: at Python's 700 they came every 50
processes and took up to 50 ms among 500 processes. What cycles a fault of ours made is bounded.
"""
_SWITCH_INTERVAL = 0.0002
"""Seconds after which a thread gives up the interpreter to a host call that waits for it."""


def die_with_parent(parent: int) -> None:
    """Have the kernel SIGKILL this process when its parent, the process `parent`, ends."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # It ended between the fork and the call.
        os.kill(os.getpid(), signal.SIGKILL)


def set_name(name: str) -> None:
    """Set what `ps -o comm` and `top` show for this process: at most 15 bytes."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0)


def prepare_for_guests() -> None:
    """Set the interpreter and the limits of this process up for running guests.

    The limit of open files goes as far as the host lets us: one number serves all guests of a
    container, and each of them has a limit of its own (`Limits.open_files`).
    """
    sys.setswitchinterval(_SWITCH_INTERVAL)
    gc.set_threshold(_GARBAGE)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # then what there is has to do
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_fds() -> frozenset[int]:
    """The fds this process has open."""
    names = os.listdir("/proc/self/fd")  # noqa: PTH208 - names are all that is needed
    # One of them was the listing's own, which is closed by now.
    return frozenset(fd for fd in map(int, names) if _is_open(fd))


def _is_open(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def close_other_fds(keep: Collection[int]) -> None:
    """Close every fd but the standard streams and those in `keep`.

    The caller has closed the Python objects it knows of; this is for those it does not know of.
    """
    for fd in open_fds() - set(keep):
        if fd >= _FIRST_FD:
            os.close(fd)


def thread_count() -> int:
    """How many threads this process has; a fork is sound only with one."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - names are all that is needed
