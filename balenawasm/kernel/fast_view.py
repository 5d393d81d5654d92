"""What native code is told about a process (engine.accelerator); for type checkers only."""

from __future__ import annotations

from typing import Protocol


class FastView(Protocol):
    """One process, written from here and read by native code in the process's thread."""

    attention: int
    """Not 0: every call is Python's, for something has to be done first."""
    lent: int
    """Not 0: a child of vfork uses the thread."""
    wake_fd: int
    """Readable when the thread shall look, or -1: then native code does not wait."""

    def forget(self, fd: int) -> None:
        """What an fd stands for has changed."""
