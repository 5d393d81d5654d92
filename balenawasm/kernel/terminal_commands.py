"""What guests ask of their controlling terminal by commands of /proc/control
(docs/guest-files.md): settings, size, and whose input it is. ENOTTY: the process has none.

Settings are termios(3)'s with Linux's numbers, whatever the guest's C library calls them.
"""

from __future__ import annotations

import termios
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.spawn_request import number_in
from balenawasm.kernel.terminal import Terminal
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from balenawasm.kernel.kernel import Kernel
    from balenawasm.kernel.process import Process

_OK: Final = b"ok"
_WHEN: Final = {
    b"now": termios.TCSANOW,
    b"drain": termios.TCSADRAIN,
    b"flush": termios.TCSAFLUSH,
}
_QUEUES: Final = {
    b"input": termios.TCIFLUSH,
    b"output": termios.TCOFLUSH,
    b"both": termios.TCIOFLUSH,
}
_FLAGS_MAX: Final = 0xFFFF_FFFF
_CONTROL_CHARACTERS: Final = 32
_MODES: Final = 6
"""Input, output, control and local modes, and two speeds."""


def controlling_terminal(process: Process) -> Terminal:
    """The terminal of the process's session: ENOTTY."""
    terminal = process.session.terminal
    if not isinstance(terminal, Terminal):
        raise GuestError(Errno.ENOTTY)
    return terminal


def _tcgetattr(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    *modes, characters = controlling_terminal(process).attributes()
    # In non-canonical mode the host's module gives VMIN and VTIME as numbers.
    codes = bytes(c if isinstance(c, int) else c[0] for c in characters)
    return b" ".join((*(b"%d" % mode for mode in modes), codes.hex().encode()))


def _tcsetattr(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    when = _WHEN.get(arguments[0])
    modes = [number_in(text) for text in arguments[1 : 1 + _MODES]]
    try:
        codes = bytes.fromhex(arguments[-1].decode("ascii"))
    except ValueError:
        raise GuestError(Errno.EINVAL) from None
    if when is None or max(modes) > _FLAGS_MAX or len(codes) != _CONTROL_CHARACTERS:
        raise GuestError(Errno.EINVAL)
    characters: list[int | bytes] = [bytes((code,)) for code in codes]
    controlling_terminal(process).set_attributes(process, when, [*modes, characters])
    return _OK


def _tcsetwinsize(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    controlling_terminal(process).set_size(*map(number_in, arguments))
    return _OK


def _tcsetpgrp(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    controlling_terminal(process).set_foreground(process, number_in(arguments[0]))
    return _OK


def _tcflush(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    queue = _QUEUES.get(arguments[0])
    if queue is None:
        raise GuestError(Errno.EINVAL)
    controlling_terminal(process).flush(process, queue)
    return _OK


COMMANDS: Final[Mapping[bytes, tuple[int, Callable[[Kernel, Process, list[bytes]], bytes]]]] = {
    b"tcflush": (1, _tcflush),
    b"tcgetattr": (0, _tcgetattr),
    b"tcgetpgrp": (0, lambda k, p, a: b"%d" % controlling_terminal(p).foreground),
    b"tcgetsid": (0, lambda k, p, a: b"%d" % controlling_terminal(p).session),
    b"tcgetwinsize": (0, lambda k, p, a: b"%d %d" % controlling_terminal(p).size()),
    b"tcsetattr": (2 + _MODES, _tcsetattr),
    b"tcsetpgrp": (1, _tcsetpgrp),
    b"tcsetwinsize": (2, _tcsetwinsize),
}
"""The first word of a command → how many arguments it takes and what it does."""
