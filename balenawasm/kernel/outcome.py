"""How a guest process ends, stops and continues, and what ends its code from inside a host call.

`Killed`, `ExitRequest` and `ExecRequest` derive from BaseException so that no handler's
`except Exception` swallows them. They never leave a host call: the engine's callback wrapper turns
them into a wasm trap and afterwards asks the process what it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from balenawasm.vfs.node import Content

SIGNAL_STATUS_BASE = 128
TRAP_STATUS = 134
"""A trap looks like abort(3) to a shell: 128 + SIGABRT."""


class _Ending:
    """Equal to one of the same kind with the same value.

    Neither dataclasses, which cost each start a millisecond, nor named tuples, which would make
    `Exited(9)` equal to `Signaled(9)`.
    """

    __slots__ = ("_value",)

    def __init__(self, value: int | str) -> None:
        self._value: Final = value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._value == self._value

    def __hash__(self) -> int:
        return hash((type(self), self._value))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._value!r})"


class Exited(_Ending):
    """The guest ended by itself; `code` is what it gave proc_exit, 0 when `_start` returned."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code: Final = code

    @property
    def status(self) -> int:
        """The exit status as a shell shows it: the code's low 8 bits."""
        return self.code & 0xFF

    @property
    def wait_status(self) -> int:
        """The int of <sys/wait.h>."""
        return (self.code & 0xFF) << 8


class Signaled(_Ending):
    """A signal (Linux number) ended the guest."""

    __slots__ = ("signo",)

    def __init__(self, signo: int) -> None:
        super().__init__(signo)
        self.signo: Final = signo

    @property
    def status(self) -> int:
        """The exit status as a shell shows it."""
        return SIGNAL_STATUS_BASE + self.signo

    @property
    def wait_status(self) -> int:
        """The int of <sys/wait.h>."""
        return self.signo & 0x7F


class Trapped(_Ending):
    """The guest's code trapped, or a bug of ours ended it; `message` is for its log."""

    __slots__ = ("message",)

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message: Final = message

    @property
    def status(self) -> int:
        """The exit status as a shell shows it."""
        return TRAP_STATUS

    @property
    def wait_status(self) -> int:
        """The int of <sys/wait.h>."""
        return TRAP_STATUS - SIGNAL_STATUS_BASE


Outcome = Exited | Signaled | Trapped


class Stopped(_Ending):
    """A signal has stopped the guest; waitpid(2) tells with WUNTRACED."""

    __slots__ = ("signo",)

    def __init__(self, signo: int) -> None:
        super().__init__(signo)
        self.signo: Final = signo

    @property
    def wait_status(self) -> int:
        """The int of <sys/wait.h>."""
        return self.signo << 8 | 0x7F


class Continued(_Ending):
    """SIGCONT has continued the guest; waitpid(2) tells with WCONTINUED."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(0)

    @property
    def wait_status(self) -> int:
        """The int of <sys/wait.h>."""
        return 0xFFFF


Change = Stopped | Continued


class Killed(BaseException):
    """A blocking call was interrupted because its process got a deadly signal."""


class ExitRequest(BaseException):
    """The guest called proc_exit."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ExecRequest(BaseException):
    """The guest called execve: its code is over, and its process goes on with another program. The
    process has been changed already.
    """

    def __init__(self, content: Content) -> None:
        super().__init__()
        self.content = content
