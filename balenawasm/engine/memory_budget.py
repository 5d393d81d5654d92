"""One limit for the linear memories of all guests of a container together.

The engine knows limits of single stores only, and a guest grows its memory without asking the
kernel. So each store's limit is what the guest has and what is free in the container. A growth
beyond it is refused: `memory.grow` answers -1, which C libraries turn into ENOMEM. While there are
several guests, a thread looks at their sizes and gives them new limits, which take effect when they
next pass an epoch, in their own threads. Guests that grow at the same moment may each take what
was free before that. Up to `_SLACK` of the limit this is let pass, for nobody can grow any more;
beyond it the largest guest is killed, as Linux does it.

Lock order: `_lock` is innermost; guests are signalled outside it.
"""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

from balenawasm.engine.library import api

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.engine.library import Memory
    from balenawasm.kernel.process import Process

_SLACK: Final = 16
"""This part of the limit: a sixteenth."""
_SHORTEST_SECONDS: Final = 0.01
_LONGEST_SECONDS: Final = 0.16
"""Between two looks: doubled while nothing changes."""


class _Member:
    """A guest's store: how large its memory may become, and what the engine was told of that."""

    __slots__ = ("_context", "_memory", "allowed", "set_to", "store")

    def __init__(self, store: int, allowed: int) -> None:
        self.store = store
        self.allowed = allowed
        self.set_to = -1
        self._context = 0
        self._memory: Memory | None = None

    def bind(self, context: int, memory: Memory) -> None:
        """The guest's memory is there."""
        self._context, self._memory = context, memory

    def size(self) -> int:
        """Bytes it has now; the store is alive."""
        if self._memory is None:
            return 0
        size: int = api.wasmtime_memory_data_size(self._context, ctypes.byref(self._memory))
        return size


class MemoryBudget:
    """The guests of one container, which may have `limit` bytes together.

    `limit_store(store, bytes)` tells the engine; `pass_epoch` makes every guest call `renew` soon;
    `log` gets a line when a guest is killed.
    """

    def __init__(
        self,
        limit: int,
        *,
        limit_store: Callable[[int, int], None],
        pass_epoch: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        self.limit = limit
        self._limit_store = limit_store
        self._pass_epoch = pass_epoch
        self._log = log
        self._members: dict[Process, _Member] = {}
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None

    def enter(self, store: int, process: Process) -> None:
        """Count a store and limit it, before its guest is instantiated."""
        with self._lock:
            used = sum(member.size() for member in self._members.values())
            member = self._members[process] = _Member(store, max(0, self.limit - used))
            self._set_limit(member)
            if len(self._members) > 1 and self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="memory", daemon=True)
                self._watcher.start()

    def bind(self, process: Process, context: int, memory: Memory) -> None:
        """A guest's memory is there. Nothing for one that did not enter."""
        with self._lock:
            member = self._members.get(process)
            if member is not None:
                member.bind(context, memory)

    def leave(self, process: Process) -> None:
        """A store is going to be deleted. Others may have its memory at once: to be called before
        somebody learns that the process has ended.
        """
        with self._lock:
            if self._members.pop(process, None) is None or not self._members:
                return
            self._share()
        self._pass_epoch()

    def renew(self, process: Process) -> None:
        """Put the newest limit into effect. In the guest's own thread, at an epoch."""
        member = self._members.get(process)
        if member is not None and member.set_to != member.allowed:
            self._set_limit(member)

    def sizes(self) -> dict[Process, int]:
        """Bytes of linear memory that each guest has."""
        with self._lock:
            return {process: member.size() for process, member in self._members.items()}

    def _set_limit(self, member: _Member) -> None:
        member.set_to = member.allowed
        self._limit_store(member.store, member.set_to)

    def _watch(self) -> None:
        pause, before, alone = _SHORTEST_SECONDS, -1, False
        while not alone:
            time.sleep(pause)
            with self._lock:
                used, victim = self._share()
                behind = any(one.set_to != one.allowed for one in self._members.values())
                alone = len(self._members) < 2 and not behind
                if alone:
                    self._watcher = None
            if behind:
                self._pass_epoch()
            pause = _SHORTEST_SECONDS if used != before else min(2 * pause, _LONGEST_SECONDS)
            before = used
            if victim is not None:
                self._log(
                    f"out of memory: {used} bytes in use, {self.limit} allowed; pid {victim.pid}"
                    " has the most and is killed"
                )
                victim.signal(signal.SIGKILL)

    def _share(self) -> tuple[int, Process | None]:
        """Allow everybody what is free; return what is in use, and who has the most of too much."""
        sizes = {process: member.size() for process, member in self._members.items()}
        used = sum(sizes.values())
        for process, member in self._members.items():
            member.allowed = sizes[process] + max(0, self.limit - used)
        doomed = any(process.killed_by is not None for process in sizes)
        if used <= self.limit + self.limit // _SLACK or doomed:
            return used, None
        return used, max(sizes, key=lambda process: sizes[process])
