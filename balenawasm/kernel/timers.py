"""Interval timers of processes: ITIMER_REAL of setitimer(2), which alarm(2) shares, sends SIGALRM.

One thread per kernel serves all timers. It starts with the first and goes when none is left; a
process has one timer at most, so a guest cannot grow the queue. A timer that falls behind (a
machine that slept) skips what it missed: SIGALRM is pending once at most.

Lock order: `_changed` is innermost; signals are sent outside it.
"""

from __future__ import annotations

import heapq
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process

_SHORTEST_NS: Final = 1_000_000
"""A shorter interval is made this long, so that no guest keeps the kernel busy with timers."""


class _Timer:
    __slots__ = ("deadline", "interval", "process")

    def __init__(self, process: Process, deadline: int, interval: int) -> None:
        self.process = process
        self.deadline = deadline
        self.interval = interval


class Timers:
    """The timers of one kernel's processes."""

    def __init__(self) -> None:
        self._timers: dict[int, _Timer] = {}
        self._queue: list[tuple[int, int]] = []
        """A heap of (deadline, pid); entries that do not match a timer any more are void."""
        self._known: set[int] = set()
        """Processes whose end drops their timer."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def set(self, process: Process, value_ns: int, interval_ns: int = 0) -> tuple[int, int]:
        """Send SIGALRM in `value_ns` and every `interval_ns` after that; 0 disarms, or sends it
        once. Answers what was left of the timer before and its interval. EAGAIN: no more threads.
        """
        pid = process.pid
        with self._changed:
            before = self._left(pid)
            self._timers.pop(pid, None)
            if value_ns <= 0 or process.outcome is not None:
                self._changed.notify()
                return before
            interval = max(interval_ns, _SHORTEST_NS) if interval_ns > 0 else 0
            timer = _Timer(process, time.monotonic_ns() + value_ns, interval)
            self._timers[pid] = timer
            self._push(timer)
            if self._thread is None:
                thread = threading.Thread(target=self._serve, name="timers", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads
                    del self._timers[pid]
                    raise GuestError(Errno.EAGAIN) from None
                self._thread = thread
            self._changed.notify()
            first = pid not in self._known
            self._known.add(pid)
        if first:
            process.on_exit.append(lambda: self._drop(pid))
        return before

    def get(self, process: Process) -> tuple[int, int]:
        """What is left of a process's timer, and its interval; (0, 0) when it has none."""
        with self._changed:
            return self._left(process.pid)

    def _left(self, pid: int) -> tuple[int, int]:
        timer = self._timers.get(pid)
        if timer is None:
            return 0, 0
        return max(1, timer.deadline - time.monotonic_ns()), timer.interval

    def _drop(self, pid: int) -> None:
        with self._changed:
            self._timers.pop(pid, None)
            self._known.discard(pid)
            self._changed.notify()

    def _push(self, timer: _Timer) -> None:
        # Void entries go before they outnumber the others by far.
        if len(self._queue) > 64 + 2 * len(self._timers):
            self._queue = [(t.deadline, pid) for pid, t in self._timers.items() if t is not timer]
            heapq.heapify(self._queue)
        heapq.heappush(self._queue, (timer.deadline, timer.process.pid))

    def _serve(self) -> None:
        while True:
            with self._changed:
                due = self._next_due()
                if due is None:
                    self._thread = None
                    return
            due.signal(signal.SIGALRM)

    def _next_due(self) -> Process | None:
        """Wait for a timer to run out, and start it anew when it has an interval; None when no
        timer is left. Under the lock.
        """
        while self._timers:
            deadline, pid = self._queue[0]
            timer = self._timers.get(pid)
            if timer is None or timer.deadline != deadline:
                heapq.heappop(self._queue)
                continue
            now = time.monotonic_ns()
            if deadline > now:
                self._changed.wait(min((deadline - now) / 1e9, threading.TIMEOUT_MAX))
                continue
            heapq.heappop(self._queue)
            if timer.interval:
                missed = (now - deadline) // timer.interval
                timer.deadline = deadline + (missed + 1) * timer.interval
                self._push(timer)
            else:
                del self._timers[pid]
            return timer.process
        self._queue.clear()
        return None
