"""How a guest process ends, and the two interruptions that end it from inside a host call.

`Killed` and `ExitRequest` derive from BaseException so that no handler's `except Exception`
swallows them. They never leave a host call: the engine's callback wrapper turns both into a wasm
trap and afterwards asks the process what it was.
"""

from __future__ import annotations

from dataclasses import dataclass

SIGNAL_STATUS_BASE = 128
TRAP_STATUS = 134
"""A trap looks like abort(3) to a shell: 128 + SIGABRT."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The guest ended by itself; `code` is what it gave proc_exit, 0 when `_start` returned."""

    code: int

    @property
    def status(self) -> int:
        """The exit status as a shell shows it: the code's low 8 bits."""
        return self.code & 0xFF


@dataclass(frozen=True, slots=True)
class Signaled:
    """A signal (Linux number) ended the guest."""

    signo: int

    @property
    def status(self) -> int:
        """The exit status as a shell shows it."""
        return SIGNAL_STATUS_BASE + self.signo


@dataclass(frozen=True, slots=True)
class Trapped:
    """The guest's code trapped, or a bug of ours ended it; `message` is for its log."""

    message: str

    @property
    def status(self) -> int:
        """The exit status as a shell shows it."""
        return TRAP_STATUS


Outcome = Exited | Signaled | Trapped


class Killed(BaseException):
    """A blocking call was interrupted because its process got a deadly signal."""


class ExitRequest(BaseException):
    """The guest called proc_exit."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
