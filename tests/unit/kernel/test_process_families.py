"""Groups, sessions, kill and waitpid, without code."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest
from kernel_parts import LONG, in_thread, new_process

from balenawasm.kernel.outcome import Continued, Exited, Signaled, Stopped, Trapped
from balenawasm.kernel.process_table import ProcessTable
from balenawasm.kernel.signals import (
    IGNORE,
    SA_NOCLDSTOP,
    SA_NOCLDWAIT,
    Interrupted,
    caught,
)
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process

CHLD = int(signal.SIGCHLD)


class Family:
    """A table and its processes: init (1), a shell in a session of its own, and its children."""

    def __init__(self) -> None:
        self.table = ProcessTable(32)
        self.init = self.start()
        self.shell = self.start(self.init)
        self.table.setsid(self.shell)

    def start(self, parent: Process | None = None) -> Process:
        process = new_process(self.table.reserve(), parent=parent)
        self.table.add(process)
        return process


@pytest.fixture
def family() -> Family:
    return Family()


def refused(errno: Errno):
    return pytest.raises(GuestError, match=f"^{errno.value}$")


def stop(process: Process) -> object:
    """Stop a process for good: its thread is a test's."""
    halted = in_thread(lambda: process.wait((), None))
    process.signal(signal.SIGSTOP)
    end = time.monotonic() + LONG
    while not process.stopped:
        assert time.monotonic() < end
    return halted


def test_numbers_of_a_family(family: Family) -> None:
    init, shell = family.init, family.shell
    child = family.start(shell)
    assert (init.ppid, init.pgid, init.sid) == (0, 1, 1)
    assert (shell.ppid, shell.pgid, shell.sid) == (1, 2, 2)
    assert (child.ppid, child.pgid, child.sid) == (2, 2, 2)
    shell.finish(Exited(0))
    assert child.ppid == 1
    child.finish(Exited(0))
    assert family.table.wait(init) == (2, Exited(0))
    assert family.table.all() == [init], "the kernel waits for orphans"


def test_setpgid(family: Family) -> None:
    table, shell = family.table, family.shell
    one, two = family.start(shell), family.start(shell)
    table.setpgid(shell, one.pid, 0)
    table.setpgid(shell, two.pid, one.pid)
    assert (one.pgid, two.pgid) == (one.pid, one.pid)
    table.setpgid(two, 0, two.pid)
    assert table.getpgid(one, two.pid) == two.pid
    assert table.getpgid(one, 0) == one.pid
    assert table.getsid(one, two.pid) == shell.pid
    with refused(Errno.EINVAL):
        table.setpgid(shell, one.pid, -1)
    with refused(Errno.ESRCH):
        table.setpgid(one, two.pid, 0)
    with refused(Errno.ESRCH):
        table.setpgid(shell, 4711, 0)
    with refused(Errno.EPERM):
        table.setpgid(shell, 0, 0)
    with refused(Errno.EPERM):
        table.setpgid(one, 0, family.init.pgid)
    one.executed = True
    with refused(Errno.EACCES):
        table.setpgid(shell, one.pid, shell.pid)
    table.setpgid(one, 0, shell.pid)
    with refused(Errno.ESRCH):
        table.getpgid(one, 4711)


def test_setsid(family: Family) -> None:
    table = family.table
    with refused(Errno.EPERM):
        table.setsid(family.shell)
    child = family.start(family.shell)
    assert table.setsid(child) == child.pid
    with refused(Errno.EPERM):
        table.setpgid(family.shell, child.pid, family.shell.pid)


@pytest.mark.parametrize(
    ("target", "killed"),
    [(3, {3}), (0, {2, 3}), (-1, {3, 4, 5}), (-4, {4, 5}), (-2, {2, 3})],
)
def test_kill(family: Family, target: int, killed: set[int]) -> None:
    shell, table = family.shell, family.table
    processes = [family.init, shell, *(family.start(shell) for _ in range(3))]
    table.setpgid(shell, 4, 0)
    table.setpgid(shell, 5, 4)
    table.kill(shell, target, signal.SIGTERM)
    assert {p.pid for p in processes if p.killed_by == signal.SIGTERM} == killed


def test_kill_refuses(family: Family) -> None:
    table, init = family.table, family.init
    for pid in (4711, -4711):
        with refused(Errno.ESRCH):
            table.kill(init, pid, 0)
    with refused(Errno.EINVAL):
        table.kill(init, family.shell.pid, 65)
    family.shell.finish(Exited(0))
    table.kill(init, family.shell.pid, signal.SIGTERM)
    table.wait(init)
    with refused(Errno.ESRCH):
        table.kill(init, -1, 0)


def test_wait_by_group(family: Family) -> None:
    table, shell = family.table, family.shell
    mine, other = family.start(shell), family.start(shell)
    table.setpgid(shell, other.pid, 0)
    other.finish(Exited(3))
    assert table.wait(shell, 0, block=False) is None
    assert table.wait(shell, -other.pid) == (other.pid, Exited(3))
    with refused(Errno.ECHILD):
        table.wait(shell, -other.pid)
    mine.finish(Signaled(9))
    assert table.wait(shell, 0) == (mine.pid, Signaled(9))


def test_wait_tells_of_stops(family: Family) -> None:
    table, shell = family.table, family.shell
    child = family.start(shell)
    waiting = in_thread(lambda: table.wait(shell, untraced=True))
    halted = stop(child)
    assert waiting.result(LONG) == (child.pid, Stopped(signal.SIGSTOP))
    assert table.wait(shell, untraced=True, block=False) is None
    child.signal(signal.SIGCONT)
    assert table.wait(shell, block=False) is None
    assert table.wait(shell, continued=True) == (child.pid, Continued())
    child.signal(signal.SIGKILL)
    assert halted.exception(LONG) is not None
    child.finish(child.outcome_of_kill())
    assert table.wait(shell) == (child.pid, Signaled(9))


def test_statuses_are_those_of_wait_h() -> None:
    import os

    assert os.WEXITSTATUS(Exited(0x1FF).wait_status) == 255
    assert os.WTERMSIG(Signaled(9).wait_status) == 9
    assert os.WTERMSIG(Trapped("x").wait_status) == signal.SIGABRT
    assert os.WSTOPSIG(Stopped(19).wait_status) == 19
    assert os.WIFSTOPPED(Stopped(19).wait_status)
    assert os.WIFCONTINUED(Continued().wait_status)


def test_sigchld_interrupts_the_wait_with_the_child_as_its_answer(family: Family) -> None:
    table, shell = family.table, family.shell
    shell.signals.set_action(CHLD, caught())
    child = family.start(shell)
    waiting = in_thread(lambda: table.wait(shell))
    time.sleep(0.01)
    child.finish(Exited(0))
    assert waiting.result(LONG) == (child.pid, Exited(0))
    assert shell.due, "the handler is still to be called"


def test_another_caught_signal_interrupts_the_wait(family: Family) -> None:
    family.shell.signals.set_action(signal.SIGUSR1, caught())
    family.start(family.shell)
    waiting = in_thread(lambda: family.table.wait(family.shell))
    time.sleep(0.01)
    family.shell.signal(signal.SIGUSR1)
    assert isinstance(waiting.exception(LONG), Interrupted)


@pytest.mark.parametrize("action", [IGNORE, caught(SA_NOCLDWAIT)])
def test_no_zombies_for_who_does_not_want_them(family: Family, action: object) -> None:
    table, shell = family.table, family.shell
    shell.signals.set_action(CHLD, action)
    child, last = family.start(shell), family.start(shell)
    child.finish(Exited(0))
    assert child not in table.all()
    waiting = in_thread(lambda: table.wait(shell))
    time.sleep(0.01)
    last.finish(Exited(0))
    error = waiting.exception(LONG)
    assert isinstance(error, GuestError)
    assert error.errno in (Errno.ECHILD, Errno.EINTR)


def test_sigchld_for_stops_unless_not_wanted(family: Family) -> None:
    shell = family.shell
    for flags, told in ((0, True), (SA_NOCLDSTOP, False)):
        shell.signals.set_action(CHLD, caught(flags))
        child = family.start(shell)
        stop(child)
        assert bool(shell.signals.pending) == told
        with shell.lock:
            shell.signals.begin_delivery()
        child.signal(signal.SIGKILL)


def test_an_orphaned_group_that_stopped_is_hung_up(family: Family) -> None:
    table, shell = family.table, family.shell
    member = family.start(shell)
    table.setpgid(shell, member.pid, 0)
    member.signals.set_action(signal.SIGHUP, caught())
    halted = stop(member)
    shell.finish(Exited(0))
    assert isinstance(halted.exception(LONG), Interrupted)
    assert member.signals.pending == 1 << (signal.SIGHUP - 1)


def test_a_group_that_was_orphaned_before_is_left_alone(family: Family) -> None:
    member = family.start(family.init)
    halted = stop(family.init)
    member.finish(Exited(0))
    assert family.init.killed_by is None
    family.init.signal(signal.SIGKILL)
    assert halted.exception(LONG) is not None


@pytest.mark.parametrize("signo", [signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU])
def test_nobody_could_continue_an_orphaned_group(family: Family, signo: int) -> None:
    family.table.signal_group(family.init.pgid, signo)
    assert family.init.wait((), 1) == []


def test_a_sessions_leader_hangs_its_terminal_up(family: Family) -> None:
    class Terminal:
        number = 34816
        foreground = 2
        hung_up = 0

        def hang_up(self) -> None:
            self.hung_up += 1

    terminal = Terminal()
    family.shell.session.terminal = terminal
    child = family.start(family.shell)
    child.finish(Exited(0))
    assert terminal.hung_up == 0
    family.shell.finish(Exited(0))
    assert terminal.hung_up == 1


def test_the_number_of_a_group_is_not_a_new_pid(family: Family) -> None:
    table, shell = family.table, family.shell
    leader, member = family.start(shell), family.start(shell)
    table.setpgid(shell, leader.pid, 0)
    table.setpgid(shell, member.pid, leader.pid)
    leader.finish(Exited(0))
    table.wait(shell)
    table._last_pid = (1 << 22) - 1
    assert table.reserve() == 1 << 22
    assert table.reserve() == member.pid + 1


def test_many_wait_and_end_at_the_same_time(family: Family) -> None:
    """Each end is told exactly once."""
    table, shell = family.table, family.shell
    for _ in range(20):
        children = [family.start(shell) for _ in range(8)]
        ending = [in_thread(lambda c=c: c.finish(Exited(c.pid & 0x7F))) for c in children]
        told = dict(table.wait(shell) for _ in children)  # type: ignore[misc]
        assert told == {c.pid: Exited(c.pid & 0x7F) for c in children}
        assert [f.exception(LONG) for f in ending] == [None] * 8
        with refused(Errno.ECHILD):
            table.wait(shell, block=False)
