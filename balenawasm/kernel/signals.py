"""Signals by their Linux numbers: what each does by default, and what one process has arranged for
them (signal(7), sigaction(2)).

A set of signals is an int: bit `signo - 1`. SIGKILL and SIGSTOP are never caught, ignored or
blocked. Every signal is pending at most once, real-time ones too: they are coalesced like the
others, and carry no value.

A caught signal reaches guest code in one of two ways, chosen per signal by its action:

- *words*: u32 words that are stored in the guest's memory in the moment it arrives. For
  interpreters that poll flags. The next blocking call, or the one under way, gives EINTR, once,
  unless the guest has changed the first of the words by then: it has seen the signal.
- *call*: it stays pending until the engine has called the guest's handler in the guest's own
  thread. A blocking call that is under way gives EINTR.

Lock order: none of its own. Whatever changes a SignalState holds its process's lock.
"""

from __future__ import annotations

import signal
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from balenawasm.record import NamedTuple
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.kernel.process import Process

HIGHEST: Final = 64
"""The last real-time signal."""
WORDS_MAX: Final = 8
"""Most words that one signal may store."""
DEPTH_MAX: Final = 16
"""Handlers that may interrupt each other; further signals stay pending until one returns."""

SA_NOCLDSTOP: Final = 1
SA_NOCLDWAIT: Final = 2
SA_RESTART: Final = 0x1000_0000
SA_NODEFER: Final = 0x4000_0000
SA_RESETHAND: Final = 0x8000_0000


class Action(Enum):
    """What happens by default."""

    TERMINATE = auto()
    IGNORE = auto()
    STOP = auto()
    CONTINUE = auto()


_DEFAULTS: Final = {
    signal.SIGCHLD: Action.IGNORE,
    signal.SIGURG: Action.IGNORE,
    signal.SIGWINCH: Action.IGNORE,
    signal.SIGCONT: Action.CONTINUE,
    signal.SIGSTOP: Action.STOP,
    signal.SIGTSTP: Action.STOP,
    signal.SIGTTIN: Action.STOP,
    signal.SIGTTOU: Action.STOP,
}
_KILL: Final = int(signal.SIGKILL)
_STOP: Final = int(signal.SIGSTOP)
_CONT: Final = int(signal.SIGCONT)


def default_action(signo: int) -> Action:
    """The default action of a signal; ValueError when there is no such signal (0 is none)."""
    if not 1 <= signo <= HIGHEST:
        raise ValueError(f"no signal {signo}")
    return _DEFAULTS.get(signo, Action.TERMINATE)  # type: ignore[call-overload,no-any-return]


def bit_of(signo: int) -> int:
    """The set that holds only this signal."""
    return 1 << (signo - 1)


def members(signals: int) -> Iterator[int]:
    """The signals of a set, lowest first."""
    while signals:
        lowest = signals & -signals
        yield lowest.bit_length()
        signals ^= lowest


ALL_SIGNALS: Final = (1 << HIGHEST) - 1
UNBLOCKABLE: Final = bit_of(_KILL) | bit_of(_STOP)
STOPPING: Final = sum(bit_of(s) for s, action in _DEFAULTS.items() if action is Action.STOP)


class Kind(Enum):
    """What a process has arranged for a signal."""

    DEFAULT = auto()
    IGNORE = auto()
    CAUGHT = auto()


class SigAction(NamedTuple):
    """A signal's disposition."""

    kind: Kind
    flags: int = 0
    """SA_* of Linux."""
    mask: int = 0
    """Blocked in addition while the handler runs."""
    words: tuple[tuple[int, int], ...] = ()
    """(address, value) of u32 words; empty: the guest's handler is called."""


DEFAULT: Final = SigAction(Kind.DEFAULT)
IGNORE: Final = SigAction(Kind.IGNORE)


def caught(flags: int = 0, mask: int = 0, words: tuple[tuple[int, int], ...] = ()) -> SigAction:
    """The disposition of a signal with a handler."""
    return SigAction(Kind.CAUGHT, flags, mask & ~UNBLOCKABLE, words)


class Interrupted(GuestError):
    """A blocking call was interrupted because a caught signal is due: EINTR."""

    def __init__(self) -> None:
        super().__init__(Errno.EINTR)


class Delivery(NamedTuple):
    """A handler that is going to be called."""

    signo: int
    restart: bool
    """An interrupted call is to be made again afterwards."""
    mask_after: int


class SignalState:
    """One process's arrangements, its blocked and its pending signals."""

    __slots__ = ("_actions", "_awaited", "_depth", "_mark", "_mask", "_mask_after", "_process")

    def __init__(self, process: Process) -> None:
        self._process: Process | None = process
        self._actions: dict[int, SigAction] = {}
        self._mask = 0
        self._mask_after: int | None = None
        """The mask that comes back after the next handler (sigsuspend)."""
        self._awaited = 0
        self._depth = 0
        self._mark: tuple[int, int] | None = None
        """The first of the words that were stored; no blocking call has been told yet."""

    # What a process asks for itself. These take its lock.

    def action(self, signo: int) -> SigAction:
        """The disposition of a signal."""
        return self._actions.get(signo, DEFAULT)

    def set_action(self, signo: int, action: SigAction) -> SigAction:
        """Arrange for a signal; answers the old disposition. EINVAL: SIGKILL, SIGSTOP, no such
        signal; EFAULT: a word outside the memory.
        """
        process = self._owner()
        if not 1 <= signo <= HIGHEST or bit_of(signo) & UNBLOCKABLE:
            raise GuestError(Errno.EINVAL)
        if len(action.words) > WORDS_MAX:
            raise GuestError(Errno.EINVAL)
        for address, _ in action.words:
            process.memory.check(address, 4)
        with process.lock:
            old = self._actions.get(signo, DEFAULT)
            if action.kind is Kind.DEFAULT and not action.flags:
                self._actions.pop(signo, None)
            else:
                self._actions[signo] = action
            self._settle()
        process.tell_if_due()
        return old

    @property
    def mask(self) -> int:
        """The blocked signals."""
        return self._mask

    @property
    def pending(self) -> int:
        """Signals that have arrived and not taken effect yet."""
        process = self._process
        return 0 if process is None else process.pending

    @property
    def ignored(self) -> int:
        """The signals that are ignored by arrangement."""
        return self._of_kind(Kind.IGNORE)

    @property
    def handled(self) -> int:
        """The signals that have a handler."""
        return self._of_kind(Kind.CAUGHT)

    def _of_kind(self, kind: Kind) -> int:
        return sum(bit_of(s) for s, action in list(self._actions.items()) if action.kind is kind)

    def set_mask(self, mask: int) -> int:
        """Block exactly these signals; answers the old set. What becomes free takes effect."""
        process = self._owner()
        with process.lock:
            old = self._mask
            self._mask = mask & ALL_SIGNALS & ~UNBLOCKABLE
            self._settle()
        process.tell_if_due()
        return old

    def swap_mask(self, mask: int) -> None:
        """Block exactly these signals until the next handler returns or `restore_mask`."""
        old = self.set_mask(mask)
        if self._mask_after is None:
            self._mask_after = old

    def restore_mask(self) -> None:
        """Put back what `swap_mask` has replaced, unless a handler's return has done it."""
        if self._mask_after is not None and not self._process_due():
            before, self._mask_after = self._mask_after, None
            self.set_mask(before)

    def _process_due(self) -> bool:
        process = self._process
        return process is not None and bool(self.deliverable)

    def _owner(self) -> Process:
        if self._process is None:
            raise GuestError(Errno.ESRCH)
        return self._process

    # For the process, under its lock.

    def detach(self) -> None:
        """The process has ended: forget it, so that nothing keeps it in memory."""
        self._process = None
        self._actions.clear()

    def inherit(self, parent: SignalState, *, exact: bool) -> None:
        """Take over from a parent: all dispositions (`exact`: vfork), or the ignored ones, and the
        mask.
        """
        self._mask = parent._mask
        for signo, action in list(parent._actions.items()):
            if exact or action.kind is Kind.IGNORE:
                self._actions[signo] = action

    def forget_handlers(self, reset: int = 0) -> None:
        """What execve(2) does: caught signals are back at their default, and those of `reset`."""
        for signo, action in list(self._actions.items()):
            if action.kind is not Kind.IGNORE or reset & bit_of(signo):
                del self._actions[signo]
        self._mark = None
        self._mask_after = None
        self._depth = 0
        self._settle()

    def override_mask(self, mask: int) -> None:
        """Set the mask of a process that has not started."""
        self._mask = mask & ALL_SIGNALS & ~UNBLOCKABLE

    def post(self, signo: int) -> None:
        """A signal has arrived."""
        process = self._process
        if process is None:
            return
        bit = bit_of(signo)
        if signo == _CONT:
            process.pending &= ~STOPPING
        elif bit & STOPPING:
            process.pending &= ~bit_of(_CONT)
        process.pending |= bit
        self._settle()

    def await_signals(self, signals: int) -> int:
        """Take a pending signal of the set, or 0 after noting that it is waited for. Nobody can
        take SIGKILL and SIGSTOP.
        """
        signals &= ~UNBLOCKABLE
        process = self._process
        found = 0 if process is None else process.pending & signals
        if process is None or not found:
            self._awaited = signals
            return 0
        self._awaited = 0
        process.pending &= ~(found & -found)
        self._settle()
        return (found & -found).bit_length()

    @property
    def awaited(self) -> bool:
        """Tell whether a signal that is waited for has arrived."""
        return self._process is not None and bool(self._process.pending & self._awaited)

    def stop_awaiting(self) -> None:
        """The wait is over: what was held back for it takes effect."""
        self._awaited = 0
        self._settle()

    @property
    def interrupting(self) -> bool:
        """Tell whether a blocking call has to give EINTR."""
        return self._mark is not None or bool(self.deliverable)

    def take_interrupt(self) -> bool:
        """The same, for the call that is now going to give EINTR."""
        mark, self._mark = self._mark, None
        process = self._process
        unseen = mark is not None and process is not None and process.memory.has_word(*mark)
        return unseen or bool(self.deliverable)

    @property
    def deliverable(self) -> int:
        """Signals whose handlers are to be called now."""
        process = self._process
        if process is None or self._depth >= DEPTH_MAX or process.vfork_parent is not None:
            return 0
        return process.pending & ~self._mask & ~self._awaited

    def begin_delivery(self) -> Delivery | None:
        """Take the next signal whose handler is to be called, with its mask put in place."""
        process = self._process
        ready = self.deliverable
        if process is None or not ready:
            return None
        signo = (ready & -ready).bit_length()
        action = self._actions[signo]
        process.pending &= ~bit_of(signo)
        after = self._mask if self._mask_after is None else self._mask_after
        self._mask_after = None
        self._mask |= action.mask
        if not action.flags & SA_NODEFER:
            self._mask |= bit_of(signo)
        if action.flags & SA_RESETHAND:
            del self._actions[signo]
        self._depth += 1
        self._settle()
        return Delivery(signo, bool(action.flags & SA_RESTART), after)

    def end_delivery(self, delivery: Delivery) -> None:
        """The handler has returned: its mask goes."""
        self._depth = max(0, self._depth - 1)
        self._mask = delivery.mask_after
        self._settle()

    def abandon_delivery(self) -> None:
        """The handler has left by longjmp: the mask is what sigsetjmp restores, or stays."""
        self._depth = max(0, self._depth - 1)
        self._settle()

    def _settle(self) -> None:
        """Let every pending signal that nothing holds back take effect, but for calls of handlers,
        and tell the process what is left to do.
        """
        process = self._process
        if process is None:
            return
        for signo in members(process.pending & ~self._mask & ~self._awaited):
            self._take_effect(process, signo)
        process.reconsider()

    def _take_effect(self, process: Process, signo: int) -> None:
        action = self._actions.get(signo, DEFAULT)
        if action.kind is Kind.CAUGHT:
            if process.vfork_parent is not None or not action.words:
                return
            process.memory.store_words(action.words)
            self._mark = action.words[0]
            if action.flags & SA_RESETHAND:
                del self._actions[signo]
        elif action.kind is Kind.DEFAULT:
            default = default_action(signo)
            if default is Action.TERMINATE:
                process.doom(signo)
            elif default is Action.STOP:
                process.ask_to_stop(signo)
        process.pending &= ~bit_of(signo)
