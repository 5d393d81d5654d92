"""Signals by their Linux numbers and what each does to a process that has no handler (signal(7)).

Handlers, masks and job control come with the POSIX personality; until then a signal ends the
process or does nothing.
"""

from __future__ import annotations

import signal
from enum import Enum, auto
from typing import Final

HIGHEST: Final = 64
"""The last real-time signal."""


class Action(Enum):
    """What happens by default."""

    TERMINATE = auto()
    IGNORE = auto()


_IGNORED: Final = frozenset(
    (
        signal.SIGCHLD,
        signal.SIGURG,
        signal.SIGWINCH,
        signal.SIGCONT,
        # Stopping needs job control; ending the process instead would be worse than running on.
        signal.SIGSTOP,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
    )
)


def default_action(signo: int) -> Action:
    """The default action of a signal; ValueError when there is no such signal (0 is none)."""
    if not 1 <= signo <= HIGHEST:
        raise ValueError(f"no signal {signo}")
    return Action.IGNORE if signo in _IGNORED else Action.TERMINATE
