"""How a guest's thread waits on the host, and how others wake it: poll(2) with an eventfd beside
the guest's fds, or a lock with a time limit when there are none (its clock counts nanoseconds,
poll's milliseconds).

A wake-up means "look"; it may come for nothing. What was set before `wake` is seen by a wait that
starts or goes on afterwards.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balenawasm.kernel.fast_view import FastView

_POLL_MAX_MS: Final = (1 << 31) - 1
_NS_PER_MS: Final = 1_000_000


class Waiting:
    """One thread's waiting. `wake` and `close` are called under one lock that is the owner's."""

    __slots__ = ("_lock", "_sleep", "fast", "wake_fd")

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.wake_fd = -1
        """The eventfd, once a call has waited for fds."""
        self.fast: FastView | None = None
        """Native code that waits for the same eventfd."""
        self._sleep = threading.Lock()
        self._sleep.acquire()

    def wake(self) -> None:
        """Have the thread look. Under the lock."""
        if self.wake_fd >= 0:
            os.eventfd_write(self.wake_fd, 1)
        if self._sleep.locked():
            self._sleep.release()

    def expect(self, *, attention: bool) -> None:
        """The owner's `attention` has been worked out: have the thread look if it is set. Under the
        lock.
        """
        if self.fast is not None:
            self.fast.attention = attention
        if attention:
            self.wake()

    def lend(self, *, lent: bool) -> None:
        """Another process uses the thread, or does not any more. Under the lock."""
        if self.fast is not None:
            self.fast.lent = lent

    def show_to(self, fast: FastView | None, *, attention: bool) -> None:
        """Native code takes part in the waiting from now on, or not. Under the lock."""
        self.fast = fast
        if fast is not None:
            fast.wake_fd = self.wake_fd
            fast.attention = attention

    def close(self) -> None:
        """Give back the eventfd. Under the lock; the thread does not wait any more."""
        if self.wake_fd >= 0:
            os.close(self.wake_fd)
            self.wake_fd = -1
            if self.fast is not None:
                self.fast.wake_fd = -1

    def sleep(self, timeout_ns: int | None) -> bool:
        """Sleep until woken (True) or the time is over (False)."""
        if timeout_ns is None:
            return self._sleep.acquire()
        return timeout_ns > 0 and self._sleep.acquire(
            timeout=min(timeout_ns / 1e9, threading.TIMEOUT_MAX)
        )

    def sleep_for(self, timeout_ns: int | None, look: Callable[[], None]) -> None:
        """Sleep for this time, for ever with None; `look` is called when woken and may raise."""
        deadline = None if timeout_ns is None else time.monotonic_ns() + timeout_ns
        while self.sleep(None if deadline is None else deadline - time.monotonic_ns()):
            look()

    def poll(
        self,
        fds: Sequence[tuple[int, int]],
        timeout_ns: int | None,
        look: Callable[[], None],
    ) -> list[tuple[int, int]]:
        """Wait until one of (host fd, events) is ready or the time is over, rounded up to
        milliseconds; `look` is called when woken with nothing ready, and may raise.
        """
        waker = self.wake_fd
        if waker < 0:
            waker = self._open()
        poller = select.poll()
        poller.register(waker, select.POLLIN)
        if len(fds) == 1:
            poller.register(*fds[0])
        else:
            for fd, events in _merged(fds).items():
                poller.register(fd, events)
        deadline = time.monotonic_ns() + timeout_ns if timeout_ns else None
        while True:
            ready = _poll_until(poller, timeout_ns)
            if not ready or ready[0][0] != waker:
                return ready
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(waker)
            if len(ready) > 1 or timeout_ns == 0:
                return ready[1:]
            look()
            if deadline is not None:
                timeout_ns = max(0, deadline - time.monotonic_ns())

    def _open(self) -> int:
        """Open the eventfd, readable: what came before it was open is not missed."""
        with self._lock:
            if self.wake_fd < 0:
                self.wake_fd = os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                if self.fast is not None:
                    self.fast.wake_fd = self.wake_fd
            return self.wake_fd


def _merged(fds: Sequence[tuple[int, int]]) -> dict[int, int]:
    masks: dict[int, int] = {}
    for fd, events in fds:
        masks[fd] = masks.get(fd, 0) | events
    return masks


def _poll_until(poller: select.poll, timeout_ns: int | None) -> list[tuple[int, int]]:
    if timeout_ns is None:
        return poller.poll()
    milliseconds = -(-timeout_ns // _NS_PER_MS)
    while milliseconds > _POLL_MAX_MS:
        ready = poller.poll(_POLL_MAX_MS)
        if ready:
            return ready
        milliseconds -= _POLL_MAX_MS
    return poller.poll(milliseconds)
