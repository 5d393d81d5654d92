"""The POSIX door: terminals and job control. What they do is `kernel.terminal`'s business."""

from __future__ import annotations

import struct
import termios
from typing import TYPE_CHECKING, Final

from balenawasm.personality.posix_call import posix
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process
    from balenawasm.kernel.terminal import Terminal

TERMIOS: Final = struct.Struct("<IIIIB32s3xII")
"""Input, output, control and local modes, line, characters, input and output speed (B*): Linux's
numbers, musl's form."""
WINSIZE: Final = struct.Struct("<HHHH")
"""Rows, columns, and two that are 0."""
_CHARACTERS: Final = 32
_WHEN: Final = (termios.TCSANOW, termios.TCSADRAIN, termios.TCSAFLUSH)
_QUEUES: Final = (termios.TCIFLUSH, termios.TCOFLUSH, termios.TCIOFLUSH)


def _terminal(process: Process, fd: int) -> Terminal:
    """The terminal behind an fd: ENOTTY."""
    description = process.fds.get(fd).description
    if not description.terminal:
        raise GuestError(Errno.ENOTTY)
    from balenawasm.kernel.terminal import TerminalStream  # noqa: PLC0415 - only with a terminal

    if not isinstance(description, TerminalStream):
        raise GuestError(Errno.ENOTTY)
    return description.tty


def _controlling(process: Process, fd: int) -> Terminal:
    """The same, if it is the process's controlling terminal: ENOTTY."""
    terminal = _terminal(process, fd)
    if not terminal.controls(process):
        raise GuestError(Errno.ENOTTY)
    return terminal


def isatty(process: Process, fd: int) -> int:
    """1 for a terminal, else ENOTTY."""
    _terminal(process, fd)
    return 1


def tcgetattr(process: Process, fd: int, result: int) -> int:
    """The settings of a terminal."""
    terminal = _terminal(process, fd)
    process.memory.check(result, TERMIOS.size)
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = terminal.attributes()
    packed = bytes(c if isinstance(c, int) else c[0] for c in characters)
    process.memory.write(
        result, TERMIOS.pack(iflag, oflag, cflag, lflag, 0, packed[:_CHARACTERS], ispeed, ospeed)
    )
    return 0


def tcsetattr(process: Process, fd: int, when: int, settings: int) -> int:
    """Change the settings of a terminal."""
    if when >= len(_WHEN):
        raise GuestError(Errno.EINVAL)
    terminal = _terminal(process, fd)
    iflag, oflag, cflag, lflag, _, characters, ispeed, ospeed = process.memory.unpack(
        TERMIOS, settings
    )
    modes = [iflag, oflag, cflag, lflag, ispeed, ospeed, list(characters)]
    terminal.set_attributes(process, _WHEN[when], modes)
    return 0


def tcflush(process: Process, fd: int, queue: int) -> int:
    """Throw away what was typed, or what is not shown yet."""
    if queue >= len(_QUEUES):
        raise GuestError(Errno.EINVAL)
    _terminal(process, fd).flush(process, _QUEUES[queue])
    return 0


def tcgetwinsize(process: Process, fd: int, result: int) -> int:
    """A terminal's size."""
    columns, rows = _terminal(process, fd).size()
    process.memory.pack(WINSIZE, result, rows, columns, 0, 0)
    return 0


def tcsetwinsize(process: Process, fd: int, size: int) -> int:
    """Change a terminal's size; its foreground group gets SIGWINCH."""
    terminal = _terminal(process, fd)
    rows, columns, _, _ = process.memory.unpack(WINSIZE, size)
    terminal.set_size(columns, rows)
    return 0


def tcgetpgrp(process: Process, fd: int) -> int:
    """The foreground group of the controlling terminal."""
    return _controlling(process, fd).foreground


def tcsetpgrp(process: Process, fd: int, group: int) -> int:
    """Put a group of the session into the foreground."""
    _controlling(process, fd).set_foreground(process, group)
    return 0


def tcgetsid(process: Process, fd: int) -> int:
    """The session that the controlling terminal serves."""
    return _controlling(process, fd).session


def tcsetctty(process: Process, fd: int) -> int:
    """Make a terminal that serves nobody the controlling one of the caller, a session's leader."""
    terminal = _terminal(process, fd)
    if process.sid != process.pid or process.session.terminal is not None or terminal.session:
        raise GuestError(Errno.EPERM)
    terminal.take_control(process, process.kernel.processes)
    return 0


SYSCALLS: Final = (
    posix(isatty, "i"),
    posix(tcgetattr, "ii"),
    posix(tcsetattr, "iii", "TCSANOW, TCSADRAIN (does not wait), TCSAFLUSH. SIGTTOU, EIO."),
    posix(tcflush, "ii"),
    posix(tcgetwinsize, "ii"),
    posix(tcsetwinsize, "ii"),
    posix(tcgetpgrp, "i"),
    posix(tcsetpgrp, "ii", "EPERM: no group of this session. SIGTTOU, EIO."),
    posix(tcgetsid, "i"),
    posix(tcsetctty, "i", "What TIOCSCTTY does: EPERM when either has one already."),
)
