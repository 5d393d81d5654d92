"""A guest process: what it was started with, its fds and memory, how it waits, how it is killed,
how it ends.

One guest process runs on one host thread. Everything else may be called from any thread: `signal`,
`wait_exit` and reading the attributes.

A deadly signal reaches the guest wherever it is: in a blocking call through an eventfd (or the
sleep lock), in computation through `on_kill`, where the engine interrupts the code. `killed_by` is
set first, so whoever registers, blocks or starts late sees it: register at `on_kill`, open the
eventfd, *then* look.

Lock order: `_lock` is innermost; callbacks run and descriptions close outside it.
"""

from __future__ import annotations

import os
import select
import threading
import time
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.fd_table import FdTable
from balenawasm.kernel.guest_memory import GuestMemory
from balenawasm.kernel.outcome import Killed, Outcome, Signaled
from balenawasm.kernel.signals import Action, default_action

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balenawasm.kernel.limits import Limits
    from balenawasm.vfs.description import Description
    from balenawasm.vfs.path import Namespace

_POLL_MAX_MS: Final = (1 << 31) - 1
_NS_PER_MS: Final = 1_000_000


class Hooks:
    """Callbacks for something that happens once; one added afterwards is called at once."""

    __slots__ = ("_callbacks", "_fired", "_lock")

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []
        self._fired = False
        self._lock = threading.Lock()

    def append(self, callback: Callable[[], None]) -> None:
        """Call `callback` when it happens, in the thread that makes it happen; now, when it already
        has.
        """
        with self._lock:
            if not self._fired:
                self._callbacks.append(callback)
                return
        callback()

    def fire(self) -> None:
        """It happens. Later calls do nothing."""
        with self._lock:
            if self._fired:
                return
            self._fired = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class Process:
    """One guest program in execution. Implements `vfs.node.Caller`."""

    def __init__(
        self,
        *,
        pid: int,
        argv: Sequence[bytes],
        environ: Sequence[bytes],
        cwd: bytes,
        namespace: Namespace,
        limits: Limits,
        parent: Process | None = None,
        hostname: str = "localhost",
    ) -> None:
        self._pid = pid
        self.argv = tuple(argv)
        self.environ = tuple(environ)
        """`NAME=value` each."""
        self.cwd = cwd
        """Absolute path the process was started in; the guest's libc keeps its own afterwards."""
        self.namespace = namespace
        self.limits = limits
        self.hostname = hostname
        self.parent = parent
        """Who may wait for it; None for the host's own and for orphans."""
        self.executable = b""
        """Absolute path of the program, once it has been found."""
        self.started_ns = time.monotonic_ns()
        self.fds = FdTable(limits.open_files)
        self.memory = GuestMemory()
        self.outcome: Outcome | None = None
        """How it ended; set after its fds are closed."""
        self.killed_by: int | None = None
        """The deadly signal it got, if any. The engine makes it the outcome: `Signaled(killed_by)`.
        """
        self.on_kill = Hooks()
        """Called when a deadly signal arrives, in the sender's thread."""
        self.on_exit = Hooks()
        """Called when it has ended, in its own thread, after `outcome` is set."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._wake_fd = -1
        self._sleep = threading.Lock()
        self._sleep.acquire()
        self._exit_fd = -1
        self._exit_watchers = 0
        self._cpu_offset = 0

    def __repr__(self) -> str:
        return f"<Process {self._pid} {self.argv[:1]!r}>"

    @property
    def pid(self) -> int:
        """Its number in the process table."""
        return self._pid

    def holds(self, description: Description) -> bool:
        """Tell whether one of its fds stands for the file description."""
        return self.fds.holds(description)

    # Waiting.

    def wait(
        self, fds: Sequence[tuple[int, int]], timeout_ns: int | None = None
    ) -> list[tuple[int, int]]:
        """Block this process's thread until a host fd is ready or the time is over; see
        `vfs.node.Caller`.

        With fds the time is rounded up to milliseconds. Raises Killed, also when the signal came
        before the call.
        """
        if self.killed_by is not None:
            raise Killed
        if not fds:
            self._sleep_for(timeout_ns)
            return []
        waker = self._wake_fd
        if waker < 0:
            waker = self._open_waker()
        poller = select.poll()
        poller.register(waker, select.POLLIN)
        if len(fds) == 1:
            poller.register(*fds[0])
        else:
            for fd, events in _merged(fds).items():
                poller.register(fd, events)
        ready = _poll_until(poller, timeout_ns)
        if self.killed_by is not None:
            raise Killed
        return ready

    def check_killed(self) -> None:
        """Raise Killed when a deadly signal has arrived: for long work between blocking calls."""
        if self.killed_by is not None:
            raise Killed

    def _sleep_for(self, timeout_ns: int | None) -> None:
        """Sleep on a lock: its clock counts nanoseconds, poll(2)'s does not. A kill releases it."""
        if timeout_ns is None:
            self._sleep.acquire()
        else:
            seconds = min(timeout_ns / 1e9, threading.TIMEOUT_MAX)
            if not self._sleep.acquire(timeout=seconds):
                return
        raise Killed

    def _open_waker(self) -> int:
        with self._lock:
            if self._wake_fd < 0:
                self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                if self.killed_by is not None:
                    os.eventfd_write(self._wake_fd, 1)
            return self._wake_fd

    # Signals.

    def signal(self, signo: int) -> bool:
        """Send a signal (Linux number); False when the process has ended. ValueError: no such
        signal.

        0 only asks. The first deadly signal counts; later ones change nothing.
        """
        deadly = signo != 0 and default_action(signo) is Action.TERMINATE
        with self._lock:
            if self.outcome is not None:
                return False
            if not deadly or self.killed_by is not None:
                return True
            self.killed_by = signo
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)
        self._sleep.release()
        self.on_kill.fire()
        return True

    # The end.

    def begin(self) -> None:
        """The calling thread is going to run the guest: its processor time starts here."""
        self._cpu_offset = time.thread_time_ns()

    def cpu_time_ns(self) -> int:
        """Processor time used so far; only meaningful in the process's own thread."""
        return time.thread_time_ns() - self._cpu_offset

    def finish(self, outcome: Outcome) -> None:
        """The guest will never run again: close its fds, tell everybody. The first outcome counts.

        Called by the process's own thread. A deadly signal that got there first decides over any
        other outcome but an exit the guest asked for.
        """
        if self._ended.is_set():
            return
        self.memory.unbind()
        self.fds.close_all()
        with self._lock:
            if self.outcome is not None:
                return
            self.outcome = outcome
            if self._wake_fd >= 0:
                os.close(self._wake_fd)
                self._wake_fd = -1
            if self._exit_fd >= 0:
                os.eventfd_write(self._exit_fd, 1)
        self._ended.set()
        self.on_exit.fire()

    def wait_exit(self, timeout: float | None = None) -> Outcome | None:
        """Block a thread of the host until the process has ended, at most `timeout` seconds."""
        self._ended.wait(timeout)
        return self.outcome

    def await_exit(self, caller: Process) -> Outcome:
        """Block a guest until this process has ended; Killed when the waiting one is killed."""
        fd = self.watch_exit()
        try:
            while self.outcome is None:
                caller.wait(((fd, select.POLLIN),))
        finally:
            self.unwatch_exit()
        return self.outcome

    def watch_exit(self) -> int:
        """A host fd, readable once the process has ended; give it back with `unwatch_exit`."""
        with self._lock:
            if self._exit_watchers == 0:
                self._exit_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                if self.outcome is not None:
                    os.eventfd_write(self._exit_fd, 1)
            self._exit_watchers += 1
            return self._exit_fd

    def unwatch_exit(self) -> None:
        """Give back one `watch_exit`."""
        with self._lock:
            self._exit_watchers -= 1
            if self._exit_watchers == 0:
                os.close(self._exit_fd)
                self._exit_fd = -1

    def outcome_of_kill(self) -> Signaled:
        """The outcome of a process that a signal ended; SIGKILL when nobody recorded one."""
        return Signaled(self.killed_by if self.killed_by is not None else 9)


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
