"""What guests arrange for signals by commands of /proc/control (docs/guest-files.md): for stock
preview 1 programs, whose C library has no signals.

A handler cannot be called in such a program, so a caught signal stores words in its memory
(`kernel.signals`): whoever sets them names addresses of its own memory only. Numbers are Linux's, a
set is an int with bit `signo - 1`.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.signals import (
    ALL_SIGNALS,
    DEFAULT,
    IGNORE,
    SA_RESTART,
    Kind,
    SigAction,
    caught,
)
from balenawasm.kernel.spawn_request import number_in
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from balenawasm.kernel.kernel import Kernel
    from balenawasm.kernel.process import Process

_OK: Final = b"ok"
_LARGE_DIGITS: Final = 20
_U32_MAX: Final = 0xFFFF_FFFF
_EXPLICIT_DEFAULT: Final = SigAction(Kind.DEFAULT, SA_RESTART)
"""The default, asked for: an interpreter's own arrangements (interrupt_words) are off."""


def _sigaction(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    signo, what = number_in(arguments[0]), arguments[1]
    if what == b"default":
        action = _EXPLICIT_DEFAULT if signo == signal.SIGINT else DEFAULT
    elif what == b"ignore":
        action = IGNORE
    else:
        action = caught(words=words_in(what))
    process.signals.set_action(signo, action)
    process.check_killed()
    return _OK


def words_in(text: bytes) -> tuple[tuple[int, int], ...]:
    """`<address>=<value>,…` as u32 words: EINVAL."""
    words = []
    for word in text.split(b","):
        address, equals, value = word.partition(b"=")
        if not equals:
            raise GuestError(Errno.EINVAL)
        pair = number_in(address), number_in(value)
        if max(pair) > _U32_MAX:
            raise GuestError(Errno.EINVAL)
        words.append(pair)
    return tuple(words)


def _sigprocmask(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    how, signals = arguments[0], _set_in(arguments[1])
    signal_state = process.signals
    old = signal_state.mask
    if how == b"block":
        signal_state.set_mask(old | signals)
    elif how == b"unblock":
        signal_state.set_mask(old & ~signals)
    elif how == b"set":
        signal_state.set_mask(signals)
    else:
        raise GuestError(Errno.EINVAL)
    process.check_killed()
    return b"%d" % old


def _sigpending(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    return b"%d" % process.signals.pending


def _sigwait(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    timeout = None if arguments[1] == b"-1" else _large_number(arguments[1])
    return b"%d" % process.take_signal(_set_in(arguments[0]), timeout)


def _pause(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    process.suspend(process.signals.mask)


def _setitimer(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    value, interval = map(_large_number, arguments)
    return b"%d %d" % kernel.set_timer(process, value, interval)


def _set_in(text: bytes) -> int:
    signals = _large_number(text)
    if signals > ALL_SIGNALS:
        raise GuestError(Errno.EINVAL)
    return signals


def _large_number(text: bytes) -> int:
    """A set, or nanoseconds: EINVAL for what is no decimal number below 10^20."""
    if not text.isdigit() or len(text) > _LARGE_DIGITS:
        raise GuestError(Errno.EINVAL)
    return int(text)


COMMANDS: Final[Mapping[bytes, tuple[int, Callable[[Kernel, Process, list[bytes]], bytes]]]] = {
    b"getitimer": (0, lambda k, p, a: b"%d %d" % k.get_timer(p)),
    b"pause": (0, _pause),
    b"setitimer": (2, _setitimer),
    b"sigaction": (2, _sigaction),
    b"sigpending": (0, _sigpending),
    b"sigprocmask": (2, _sigprocmask),
    b"sigwait": (2, _sigwait),
}
"""The first word of a command → how many arguments it takes and what it does."""
