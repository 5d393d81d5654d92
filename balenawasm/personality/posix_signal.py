"""The POSIX door: signals.

A set of signals is a u64, bit `signo - 1`. A signal that is caught reaches the program by a call of
its export `__balenawasm_signal`, or by words that the kernel stores in its memory
(`kernel.signals`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.signals import (
    DEFAULT,
    IGNORE,
    SA_NOCLDSTOP,
    SA_NOCLDWAIT,
    SA_NODEFER,
    SA_RESETHAND,
    SA_RESTART,
    WORDS_MAX,
    Kind,
    SigAction,
    caught,
)
from balenawasm.personality import linux
from balenawasm.personality.posix_call import posix, read_time
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.guest_memory import GuestMemory
    from balenawasm.kernel.process import Process

SIGACTION: Final = struct.Struct("<IIQ")
"""Kind (0 default, 1 ignore, 2 caught), flags, mask."""
WORD: Final = struct.Struct("<II")
"""Address and value."""
ITIMERVAL: Final = struct.Struct("<qqqq")
"""Interval and value, seconds and microseconds each."""
_KINDS: Final = (Kind.DEFAULT, Kind.IGNORE, Kind.CAUGHT)
_KNOWN_FLAGS: Final = SA_NOCLDSTOP | SA_NOCLDWAIT | SA_RESTART | SA_NODEFER | SA_RESETHAND
_US_PER_SECOND: Final = 1_000_000
_NS_PER_US: Final = 1000
_SECONDS_MAX: Final = 1 << 33


def sigaction(process: Process, signo: int, action: int, old: int) -> int:
    """Ask for a signal's disposition (`old`) and set it (`action`); NULL leaves either out."""
    signals = process.signals
    memory = process.memory
    if old:
        memory.check(old, SIGACTION.size)
    if action:
        kind, flags, mask = memory.unpack(SIGACTION, action)
        before = signals.set_action(signo, _action(kind, flags, mask))
    elif 1 <= signo <= 64:
        before = signals.action(signo)
    else:
        raise GuestError(Errno.EINVAL)
    if old:
        memory.pack(SIGACTION, old, _KINDS.index(before.kind), before.flags, before.mask)
    return 0


def _action(kind: int, flags: int, mask: int) -> SigAction:
    if kind >= len(_KINDS) or flags & ~_KNOWN_FLAGS:
        raise GuestError(Errno.EINVAL)
    if _KINDS[kind] is Kind.CAUGHT:
        return caught(flags, mask)
    return (DEFAULT if _KINDS[kind] is Kind.DEFAULT else IGNORE)._replace(flags=flags)


def sigwords(process: Process, signo: int, flags: int, words: int, count: int) -> int:
    """Catch a signal by words: the kernel stores each value at its address when the signal comes,
    and the blocking call that is under way, else the next one, gives EINTR.
    """
    if flags & ~_KNOWN_FLAGS or not 1 <= count <= WORDS_MAX:
        raise GuestError(Errno.EINVAL)
    pairs = tuple(WORD.iter_unpack(process.memory.read(words, count * WORD.size)))
    process.signals.set_action(signo, caught(flags, 0, pairs))
    return 0


def sigprocmask(process: Process, how: int, new: int, old: int) -> int:
    """Ask for the blocked signals (`old`) and change them (`new`); NULL leaves either out."""
    memory = process.memory
    if old:
        memory.check(old, 8)
    before = process.signals.mask
    if new:
        chosen = memory.read_u64(new)
        if how == linux.SIG_BLOCK:
            chosen |= before
        elif how == linux.SIG_UNBLOCK:
            chosen = before & ~chosen
        elif how != linux.SIG_SETMASK:
            raise GuestError(Errno.EINVAL)
        process.signals.set_mask(chosen)
    if old:
        memory.write_u64(old, before)
    return 0


def sigpending(process: Process, result: int) -> int:
    """The signals that are blocked and have arrived."""
    process.memory.write_u64(result, process.signals.pending)
    return 0


def sigsuspend(process: Process, mask: int) -> int:
    """Block exactly these signals until one is caught; always EINTR."""
    process.suspend(mask)


def sigtimedwait(process: Process, signals: int, timeout: int) -> int:
    """Wait for one of these signals, which should be blocked, and take it; answers its number.

    `timeout` NULL waits for ever; EAGAIN when it is over.
    """
    wait_ns = None if timeout == 0 else read_time(process.memory, timeout)
    return process.take_signal(signals, wait_ns)


def setitimer(process: Process, which: int, new: int, old: int) -> int:
    """Have SIGALRM sent after a time, and from then on at intervals; 0 turns the timer off."""
    if which != linux.ITIMER_REAL:
        raise GuestError(Errno.EINVAL)
    memory = process.memory
    if old:
        memory.check(old, ITIMERVAL.size)
    interval_s, interval_us, value_s, value_us = memory.unpack(ITIMERVAL, new)
    value, interval = _nanoseconds(value_s, value_us), _nanoseconds(interval_s, interval_us)
    before = process.kernel.set_timer(process, value, interval)
    if old:
        _write_timer(memory, old, *before)
    return 0


def getitimer(process: Process, which: int, result: int) -> int:
    """What is left of the timer."""
    if which != linux.ITIMER_REAL:
        raise GuestError(Errno.EINVAL)
    process.memory.check(result, ITIMERVAL.size)
    _write_timer(process.memory, result, *process.kernel.get_timer(process))
    return 0


def _nanoseconds(seconds: int, microseconds: int) -> int:
    if not 0 <= microseconds < _US_PER_SECOND or seconds < 0:
        raise GuestError(Errno.EINVAL)
    return (min(seconds, _SECONDS_MAX) * _US_PER_SECOND + microseconds) * _NS_PER_US


def _write_timer(memory: GuestMemory, pointer: int, left: int, interval: int) -> None:
    # What is left rounds up: a timer that runs never shows 0.
    memory.pack(
        ITIMERVAL,
        pointer,
        *divmod(-(-interval // _NS_PER_US), _US_PER_SECOND),
        *divmod(-(-left // _NS_PER_US), _US_PER_SECOND),
    )


SYSCALLS: Final = (
    posix(
        sigaction,
        "iii",
        "SA_RESTART, SA_NODEFER, SA_RESETHAND, SA_NOCLDSTOP, SA_NOCLDWAIT; other flags are EINVAL. "
        "No alternative stacks and no siginfo.",
    ),
    posix(sigwords, "iiii", "At most 8 words."),
    posix(sigprocmask, "iii"),
    posix(sigpending, "i"),
    posix(sigsuspend, "q", restarts=False),
    posix(sigtimedwait, "qi", "Real-time signals are not queued.", restarts=False),
    posix(setitimer, "iii", "ITIMER_REAL only: EINVAL."),
    posix(getitimer, "ii", "ITIMER_REAL only: EINVAL."),
)
