from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest
from kernel_parts import LONG, in_thread, new_process

from balenawasm.kernel.outcome import Exited, Killed, Signaled
from balenawasm.kernel.process_table import PID_MAX, ProcessTable
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process


def start(table: ProcessTable, parent: Process | None = None) -> Process:
    process = new_process(table.reserve(), parent=parent)
    table.add(process)
    return process


def errno_of(caught: pytest.ExceptionInfo[GuestError]) -> Errno:
    return caught.value.errno


def test_pids_count_up_and_are_not_used_again_soon() -> None:
    table = ProcessTable(8)
    first = start(table)
    assert first.pid == 1
    second = table.reserve()
    table.release(second)
    first.finish(Exited(0))
    assert (second, start(table).pid) == (2, 3)


def test_pids_wrap_around_and_skip_the_living() -> None:
    table = ProcessTable(8)
    first = start(table)
    table._last_pid = PID_MAX - 1
    assert [table.reserve(), table.reserve()] == [PID_MAX, 2]
    assert first.pid == 1


def test_too_many_are_eagain() -> None:
    table = ProcessTable(2)
    parent = start(table)
    child = start(table, parent)
    child.finish(Exited(0))
    with pytest.raises(GuestError) as caught:
        table.reserve()
    assert errno_of(caught) == Errno.EAGAIN, "a zombie counts"
    assert table.wait(parent, None) == (child.pid, Exited(0))
    table.reserve()


def test_the_hosts_processes_leave_nothing() -> None:
    table = ProcessTable(8)
    process = start(table)
    process.finish(Exited(0))
    assert len(table) == 0
    with pytest.raises(GuestError) as caught:
        table.get(process.pid)
    assert errno_of(caught) == Errno.ESRCH


def test_zombies_go_with_their_parent() -> None:
    table = ProcessTable(8)
    parent = start(table)
    dead, alive = start(table, parent), start(table, parent)
    dead.finish(Exited(1))
    assert table.get(dead.pid) is dead
    parent.finish(Exited(0))
    assert table.all() == [alive]
    assert alive.parent is None
    alive.finish(Exited(0))
    assert len(table) == 0


def test_wait_for_one_and_for_any() -> None:
    table = ProcessTable(8)
    parent = start(table)
    one, two = start(table, parent), start(table, parent)
    assert table.wait(parent, None, block=False) is None
    waiting = in_thread(lambda: table.wait(parent, two.pid))
    time.sleep(0.01)
    one.finish(Exited(1))
    two.finish(Signaled(9))
    assert waiting.result(LONG) == (two.pid, Signaled(9))
    assert table.wait(parent, None) == (one.pid, Exited(1))
    for pid in (None, one.pid, 4711):
        with pytest.raises(GuestError) as caught:
            table.wait(parent, pid)
        assert errno_of(caught) == Errno.ECHILD


def test_only_ones_own_children() -> None:
    table = ProcessTable(8)
    parent, stranger = start(table), start(table)
    child = start(table, parent)
    child.finish(Exited(0))
    with pytest.raises(GuestError) as caught:
        table.wait(stranger, child.pid)
    assert errno_of(caught) == Errno.ECHILD


def test_a_kill_ends_the_wait() -> None:
    table = ProcessTable(8)
    parent = start(table)
    child = start(table, parent)
    waiting = in_thread(lambda: table.wait(parent, None))
    time.sleep(0.01)
    table.signal(parent.pid, signal.SIGTERM)
    assert isinstance(waiting.exception(LONG), Killed)
    child.finish(Exited(0))


def test_signals_by_pid() -> None:
    table = ProcessTable(8)
    process = start(table)
    table.signal(process.pid, 0)
    for pid, signo, errno in ((4711, 9, Errno.ESRCH), (process.pid, 65, Errno.EINVAL)):
        with pytest.raises(GuestError) as caught:
            table.signal(pid, signo)
        assert errno_of(caught) == errno
