"""Small parts of processes: what a thread runs, sessions with their terminals, and one-time
callbacks.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.kernel.outcome import Outcome
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.description import Description
    from balenawasm.vfs.node import Content


class _Current(threading.local):
    """What this thread runs."""

    process: Process
    outcome: Outcome | None = None
    """Set by a host call that ends the guest, before it traps."""
    replacement: Content | None = None
    """Set beside it by execve: the program that the process goes on with."""


current: Final = _Current()


class Terminal(Protocol):
    """A session's controlling terminal, as the kernel sees it."""

    number: int
    """Its device number, for /proc."""
    foreground: int
    """The process group that may read from it."""

    def signal(self, signo: int) -> None:
        """Send a signal to the group that may read from it."""
        ...

    def open(self) -> Description:
        """Another open file of it: ENXIO after its end."""
        ...

    def hang_up(self) -> None:
        """The session's leader has ended."""
        ...


class Session:
    """Process groups that share a controlling terminal; named after its leader's pid."""

    __slots__ = ("sid", "terminal")

    def __init__(self, sid: int) -> None:
        self.sid: Final = sid
        self.terminal: Terminal | None = None


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
