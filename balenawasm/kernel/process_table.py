"""The processes of one kernel by pid, their families, and waiting for them.

An ended process with a living parent stays as a zombie until that parent waits for it or ends; any
other goes at once, for the host holds the object itself. Zombies count against the limit, so that a
guest that never waits runs into EAGAIN, not into our memory.

Lock order: the table's lock is taken before a process's own, never while holding one.
"""

from __future__ import annotations

import select
import threading
from typing import TYPE_CHECKING, Final

from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.outcome import Outcome
    from balenawasm.kernel.process import Process

PID_MAX: Final = 1 << 22


class ProcessTable:
    """All processes that live or wait to be waited for."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._processes: dict[int, Process] = {}
        self._reserved: set[int] = set()
        self._last_pid = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._processes)

    def reserve(self) -> int:
        """A free pid, to be used with `add` or given back with `release`: EAGAIN at the limit."""
        with self._lock:
            if len(self._processes) + len(self._reserved) >= self._limit:
                raise GuestError(Errno.EAGAIN)
            pid = self._last_pid
            while True:
                pid = pid % PID_MAX + 1
                if pid not in self._processes and pid not in self._reserved:
                    break
            self._last_pid = pid
            self._reserved.add(pid)
        return pid

    def release(self, pid: int) -> None:
        """Give back a reserved pid that is not going to be used."""
        with self._lock:
            self._reserved.discard(pid)

    def add(self, process: Process) -> None:
        """Enter a process under its reserved pid."""
        with self._lock:
            self._reserved.discard(process.pid)
            self._processes[process.pid] = process
        process.on_exit.append(lambda: self._ended(process))

    def get(self, pid: int) -> Process:
        """A process, alive or zombie: ESRCH."""
        process = self._processes.get(pid)
        if process is None:
            raise GuestError(Errno.ESRCH)
        return process

    def all(self) -> list[Process]:
        """Every process, zombies included, by pid."""
        with self._lock:
            return [self._processes[pid] for pid in sorted(self._processes)]

    def children(self, parent: Process) -> list[Process]:
        """The children of a process that it has not waited for yet."""
        return [process for process in self.all() if process.parent is parent]

    def signal(self, pid: int, signo: int) -> None:
        """Send a signal: ESRCH when there is no such process; a zombie swallows it. EINVAL: no such
        signal.
        """
        process = self.get(pid)
        try:
            process.signal(signo)
        except ValueError:
            raise GuestError(Errno.EINVAL) from None

    def wait(
        self, parent: Process, pid: int | None, *, block: bool = True
    ) -> tuple[int, Outcome] | None:
        """waitpid(2): the pid and outcome of an ended child, which is forgotten.

        `pid` None means any child. None is the answer when none has ended and `block` is False.
        ECHILD: there is no such child.
        """
        while True:
            children = [c for c in self.children(parent) if pid is None or c.pid == pid]
            if not children:
                raise GuestError(Errno.ECHILD)
            for child in children:
                outcome = child.outcome
                if outcome is not None and self._forget(child):
                    return child.pid, outcome
            if not block:
                return None
            self._await_any(parent, children)

    def _await_any(self, parent: Process, children: list[Process]) -> None:
        watched = [(child.watch_exit(), select.POLLIN) for child in children]
        try:
            parent.wait(watched)
        finally:
            for child in children:
                child.unwatch_exit()

    def _forget(self, process: Process) -> bool:
        with self._lock:
            if self._processes.get(process.pid) is not process:
                return False
            del self._processes[process.pid]
            return True

    def _ended(self, process: Process) -> None:
        with self._lock:
            for child in [p for p in self._processes.values() if p.parent is process]:
                child.parent = None
                if child.outcome is not None:
                    del self._processes[child.pid]
            parent = process.parent
            if parent is None or parent.outcome is not None:
                self._processes.pop(process.pid, None)
