from __future__ import annotations

import os
import select
import signal
import struct
import time
from typing import TYPE_CHECKING

import pytest
from kernel_parts import LONG, in_thread, new_process

from balenawasm.kernel.guest_memory import GuestMemory
from balenawasm.kernel.outcome import Exited, Killed
from balenawasm.kernel.signals import (
    ALL_SIGNALS,
    DEFAULT,
    DEPTH_MAX,
    IGNORE,
    SA_NODEFER,
    SA_RESETHAND,
    SA_RESTART,
    UNBLOCKABLE,
    Interrupted,
    Kind,
    bit_of,
    caught,
    members,
)
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process

USR1, USR2, CHLD = int(signal.SIGUSR1), int(signal.SIGUSR2), int(signal.SIGCHLD)
TERM, STOP, TSTP, CONT = (
    int(s) for s in (signal.SIGTERM, signal.SIGSTOP, signal.SIGTSTP, signal.SIGCONT)
)


def refused(errno: Errno):
    return pytest.raises(GuestError, match=f"^{errno.value}$")


def blocked() -> None:
    time.sleep(0.01)


def deliver(process: Process) -> list[int]:
    """What the engine does, without code: take each delivery and end it."""
    taken = []
    while True:
        with process.lock:
            delivery = process.signals.begin_delivery()
            if delivery is None:
                return taken
            taken.append(delivery.signo)
            process.signals.end_delivery(delivery)


@pytest.mark.parametrize("signo", [signal.SIGKILL, signal.SIGSTOP, 0, -1, 65])
def test_what_cannot_be_arranged(process: Process, signo: int) -> None:
    for action in (IGNORE, DEFAULT, caught()):
        with refused(Errno.EINVAL):
            process.signals.set_action(signo, action)


def test_arrangements_are_answered(process: Process) -> None:
    action = caught(SA_RESTART, ALL_SIGNALS)
    assert process.signals.set_action(USR1, action) == DEFAULT
    assert process.signals.set_action(USR1, IGNORE) == action
    assert action.mask & UNBLOCKABLE == 0
    assert process.signals.ignored == bit_of(USR1)
    assert process.signals.set_action(USR1, DEFAULT) == IGNORE
    assert process.signals.action(USR1) == DEFAULT


def test_ignored_signals_do_nothing(process: Process) -> None:
    process.signals.set_action(TERM, IGNORE)
    process.signal(TERM)
    assert process.killed_by is None
    assert process.signals.pending == 0


def test_a_blocked_signal_waits(process: Process) -> None:
    assert process.signals.set_mask(ALL_SIGNALS) == 0
    assert process.signals.mask == ALL_SIGNALS & ~UNBLOCKABLE
    process.signal(TERM)
    process.signal(TERM)
    assert (process.signals.pending, process.killed_by) == (bit_of(TERM), None)
    assert process.wait((), 1) == []
    process.signals.set_mask(0)
    assert process.killed_by == TERM


def test_kill_is_never_blocked_or_ignored(process: Process) -> None:
    process.signals.set_mask(ALL_SIGNALS)
    process.signal(signal.SIGKILL)
    assert process.killed_by == signal.SIGKILL


def test_a_blocked_signal_that_becomes_ignored_is_gone(process: Process) -> None:
    process.signals.set_mask(ALL_SIGNALS)
    process.signal(TERM)
    process.signals.set_action(TERM, IGNORE)
    process.signals.set_mask(0)
    assert (process.signals.pending, process.killed_by) == (0, None)


def test_a_call_that_need_not_wait_is_not_interrupted(process: Process) -> None:
    reading, writing = os.pipe()
    ready = [(writing, select.POLLOUT)]
    process.memory = GuestMemory.over(bytearray(8))
    process.signals.set_action(USR1, caught(words=((0, 1),)))
    process.signals.set_action(USR2, caught())
    process.signal(USR1)
    process.signal(USR2)
    assert process.wait(ready, None) == ready
    assert process.wait([*ready, (reading, select.POLLIN)], None) == ready
    with pytest.raises(Interrupted):
        process.wait([(reading, select.POLLIN)], None)
    process.signal(TERM)
    with pytest.raises(Killed):
        process.wait(ready, 0)
    for fd in (reading, writing):
        os.close(fd)


@pytest.mark.parametrize("fds", [0, 1])
def test_a_caught_signal_interrupts_a_wait(process: Process, fds: int) -> None:
    reading, writing = os.pipe()
    process.signals.set_action(USR1, caught())
    waiting = in_thread(lambda: process.wait([(reading, select.POLLIN)] * fds))
    blocked()
    process.signal(USR1)
    assert isinstance(waiting.exception(LONG), Interrupted)
    assert process.due
    with pytest.raises(Interrupted):
        process.wait((), None)
    assert process.wait([(reading, select.POLLIN)], 0) == [], "one that does not wait is not told"
    assert deliver(process) == [USR1]
    assert not process.due
    assert process.wait([(reading, select.POLLIN)], 1) == []
    for fd in (reading, writing):
        os.close(fd)


def test_masks_while_a_handler_runs(process: Process) -> None:
    signals = process.signals
    signals.set_action(USR1, caught(mask=bit_of(TERM)))
    signals.set_action(USR2, caught(SA_NODEFER | SA_RESETHAND))
    process.signal(USR1)
    with process.lock:
        first = signals.begin_delivery()
    assert first is not None
    assert signals.mask == bit_of(USR1) | bit_of(TERM)
    process.signal(USR1)
    process.signal(TERM)
    assert (process.due, process.killed_by) == (False, None)
    process.signal(USR2)
    with process.lock:
        second = signals.begin_delivery()
        assert second is not None
        assert second.signo == USR2
        assert signals.mask == first.mask_after | bit_of(USR1) | bit_of(TERM)
        assert signals.action(USR2) == DEFAULT
        signals.end_delivery(second)
        signals.end_delivery(first)
    assert process.killed_by == TERM


def test_handlers_nest_only_so_deep(process: Process) -> None:
    process.signals.set_action(USR1, caught(SA_NODEFER))
    for _ in range(DEPTH_MAX):
        process.signal(USR1)
        with process.lock:
            assert process.signals.begin_delivery() is not None
    process.signal(USR1)
    assert not process.due
    with process.lock:
        assert process.signals.begin_delivery() is None
        process.signals.abandon_delivery()
    assert process.due


# Words.


def test_words_are_stored_at_once_and_interrupt_once() -> None:
    process = new_process()
    buffer = bytearray(64)
    process.memory = GuestMemory.over(buffer)
    process.signals.set_action(USR1, caught(words=((4, 1), (60, 0x0102_0304))))
    process.signal(USR1)
    assert struct.unpack_from("<I", buffer, 4) == (1,)
    assert struct.unpack_from("<I", buffer, 60) == (0x0102_0304,)
    assert (process.due, process.signals.pending) == (False, 0)
    with pytest.raises(Interrupted):
        process.wait((), None)
    assert process.wait((), 1) == []
    process.finish(Exited(0))


def test_words_wait_for_the_mask_and_end_with_the_memory() -> None:
    process = new_process()
    buffer = bytearray(8)
    process.memory = GuestMemory.over(buffer)
    process.signals.set_action(USR1, caught(SA_RESETHAND, words=((0, 7),)))
    process.signals.set_mask(bit_of(USR1))
    process.signal(USR1)
    assert buffer == bytes(8)
    process.signals.set_mask(0)
    assert buffer[0] == 7
    assert process.signals.action(USR1) == DEFAULT
    process.signals.set_action(USR2, caught(words=((0, 9),)))
    process.unbind_memory()
    process.signal(USR2)
    assert buffer[0] == 7
    process.finish(Exited(0))


@pytest.mark.parametrize(
    ("words", "errno"),
    [(((5, 1),), Errno.EFAULT), (((1 << 40, 1),), Errno.EFAULT), (((0, 1),) * 9, Errno.EINVAL)],
)
def test_words_outside_the_memory(words: tuple[tuple[int, int], ...], errno: Errno) -> None:
    process = new_process()
    process.memory = GuestMemory.over(bytearray(8))
    with refused(errno):
        process.signals.set_action(USR1, caught(words=words))
    process.finish(Exited(0))


# sigsuspend, sigtimedwait.


def test_suspend_swaps_the_mask_until_the_handler_is_over(process: Process) -> None:
    process.signals.set_action(USR1, caught())
    process.signals.set_mask(bit_of(USR1))
    process.signal(USR1)
    with pytest.raises(Interrupted):
        process.suspend(bit_of(USR2))
    assert process.signals.mask == bit_of(USR2)
    assert deliver(process) == [USR1]
    assert process.signals.mask == bit_of(USR1)


def test_suspend_ends_with_words_too(process: Process) -> None:
    process.memory = GuestMemory.over(bytearray(8))
    process.signals.set_action(USR1, caught(words=((0, 1),)))
    process.signals.set_mask(bit_of(USR1))
    process.signal(USR1)
    with pytest.raises(Interrupted):
        process.suspend(0)
    assert process.signals.mask == bit_of(USR1)


def test_a_swapped_mask_without_interruption(process: Process) -> None:
    process.signals.set_mask(bit_of(USR1))
    process.signals.swap_mask(0)
    process.signals.restore_mask()
    assert process.signals.mask == bit_of(USR1)
    process.signals.restore_mask()
    assert process.signals.mask == bit_of(USR1)


def test_a_signal_is_taken(process: Process) -> None:
    awaited = bit_of(USR1) | bit_of(CHLD)
    process.signals.set_mask(awaited)
    with refused(Errno.EAGAIN):
        process.take_signal(awaited, 1_000_000)
    with refused(Errno.EAGAIN):
        process.take_signal(awaited, 0)
    taking = in_thread(lambda: process.take_signal(awaited, None))
    blocked()
    process.signal(CHLD)
    assert taking.result(LONG) == CHLD
    process.signal(USR1)
    assert process.take_signal(awaited, 0) == USR1
    assert process.signals.pending == 0


def test_taking_a_signal_is_interrupted_and_killed(process: Process) -> None:
    process.signals.set_action(USR2, caught())
    taking = in_thread(lambda: process.take_signal(bit_of(USR1), None))
    blocked()
    process.signal(USR2)
    assert isinstance(taking.exception(LONG), Interrupted)
    deliver(process)
    taking = in_thread(lambda: process.take_signal(bit_of(USR1), None))
    blocked()
    process.signal(TERM)
    assert isinstance(taking.exception(LONG), Killed)


def test_nobody_takes_a_kill(process: Process) -> None:
    taking = in_thread(lambda: process.take_signal(ALL_SIGNALS, None))
    blocked()
    process.signal(int(signal.SIGKILL))
    assert isinstance(taking.exception(LONG), Killed)
    assert process.killed_by == signal.SIGKILL


# Stop and continue.


def test_stop_and_continue_a_sleep(process: Process) -> None:
    changes = []
    process.on_change = lambda stopped: changes.append(stopped.change)
    sleeping = in_thread(lambda: process.wait((), None))
    for _ in range(20):
        process.signal(TSTP)
        end = time.monotonic() + LONG
        while not process.stopped:
            assert time.monotonic() < end
        process.signal(CONT)
    process.signal(TERM)
    assert isinstance(sleeping.exception(LONG), Killed)
    assert [type(c).__name__ for c in changes].count("Continued") == 20


def test_continue_takes_back_a_stop_that_did_not_happen(process: Process) -> None:
    process.signal(STOP)
    process.signal(CONT)
    assert process.wait((), 1) == []
    process.signals.set_mask(bit_of(TSTP))
    process.signal(TSTP)
    process.signal(CONT)
    assert process.signals.pending == 0


def test_exec_forgets_handlers_but_not_what_is_ignored(process: Process) -> None:
    signals = process.signals
    signals.set_action(USR1, caught())
    signals.set_action(USR2, IGNORE)
    signals.set_action(TERM, IGNORE)
    signals.set_mask(bit_of(CHLD))
    with process.lock:
        signals.forget_handlers(bit_of(TERM))
    assert [signals.action(s).kind for s in (USR1, USR2, TERM)] == [
        Kind.DEFAULT,
        Kind.IGNORE,
        Kind.DEFAULT,
    ]
    assert signals.mask == bit_of(CHLD)


def test_sets() -> None:
    assert list(members(bit_of(1) | bit_of(9) | bit_of(64))) == [1, 9, 64]
    assert list(members(0)) == []


def test_signals_from_all_sides_while_it_waits() -> None:
    """Whatever the order: each is delivered, none is lost, the wait ends."""
    process = new_process()
    process.signals.set_action(USR1, caught())
    process.signals.set_action(USR2, caught())
    seen: set[int] = set()

    def guest() -> None:
        while seen != {USR1, USR2, CHLD}:
            try:
                process.wait((), None)
            except Interrupted:
                taken = deliver(process)
                seen.update(taken)
                if {USR1, USR2} <= seen:
                    seen.add(CHLD)

    running = in_thread(guest)
    senders = [in_thread(lambda s=s: process.signal(s)) for s in (USR1, USR2, CONT, CHLD)]
    assert all(sender.result(LONG) for sender in senders)
    assert running.exception(LONG) is None
    process.finish(Exited(0))
