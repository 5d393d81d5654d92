"""The memory limit of a container, with guests that grow, wait and end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from wat_guests import TABLES, Runner, program, start

from balenawasm.engine.machine import Machine
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.outcome import Exited, Signaled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from balenawasm.engine.code_cache import CodeCache
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.node import Content

PAGE = 65536


@pytest.fixture
def budget(shared_cache: CodeCache) -> Iterator[Runner]:
    """A machine of one's own: all its guests share one limit."""
    runner = Runner(Machine(shared_cache, TABLES))
    yield runner
    runner.wait_idle()


def grow_then_spin(pages: int) -> Content:
    """Grow page by page as far as it goes, at most so many; then compute until killed."""
    return program(
        start(
            f"""(local $n i32)
  (loop $more
    (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1))
      (then
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $n) (i32.const {pages}))))))
  (loop $again (br $again))"""
        )
    )


def grow_until(pages: int) -> Content:
    """Try to grow page by page until it has worked so often; refusals are tried again."""
    return program(
        start(
            f"""(local $n i32)
  (loop $more
    (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1))
      (then (local.set $n (i32.add (local.get $n) (i32.const 1)))))
    (br_if $more (i32.lt_u (local.get $n) (i32.const {pages}))))
  (call $proc_exit (i32.const 7))"""
        )
    )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def pages(runner: Runner, process: Process) -> int:
    return runner.machine.memory_sizes().get(process, 0) // PAGE


def end(*processes: Process) -> None:
    for process in processes:
        process.signal(9)
        assert process.wait_exit(30) == Signaled(9)


def test_one_guest_may_have_it_all(budget: Runner) -> None:
    limits = Limits(memory_bytes=50 * PAGE)
    process = budget.spawn(grow_then_spin(100), limits=limits)
    until(lambda: pages(budget, process) == 50)
    end(process)


def test_the_second_gets_what_the_first_has_left(budget: Runner) -> None:
    limits = Limits(memory_bytes=50 * PAGE)
    first = budget.spawn(grow_then_spin(29), limits=limits)
    until(lambda: pages(budget, first) == 30)
    second = budget.spawn(grow_then_spin(100), limits=limits)
    until(lambda: pages(budget, second) == 20)
    end(first, second)


def test_what_an_ended_guest_had_is_free_again(budget: Runner) -> None:
    limits = Limits(memory_bytes=50 * PAGE)
    first = budget.spawn(grow_then_spin(39), limits=limits)
    until(lambda: pages(budget, first) == 40)
    second = budget.spawn(grow_until(30), limits=limits)
    until(lambda: pages(budget, second) == 10)
    end(first)
    assert second.wait_exit(30) == Exited(7)


def test_guests_that_grow_at_once_cannot_stay_far_over(budget: Runner) -> None:
    limits = Limits(memory_bytes=50 * PAGE)
    crowd = [budget.spawn(grow_then_spin(100), limits=limits) for _ in range(4)]

    def settled() -> bool:
        return sum(pages(budget, process) for process in crowd) <= 50 + 50 // 16

    until(lambda: sum(pages(budget, process) for process in crowd) >= 40)
    until(settled)
    time.sleep(0.3)
    assert settled()
    # Those that ended were killed for it, or came when there was nothing left to start with.
    ended = [process for process in crowd if process.outcome is not None]
    assert len(budget.lines) == len(ended) < 4
    assert all("memory" in line for line in budget.lines)
    end(*(process for process in crowd if process not in ended))


def test_a_guest_that_does_not_fit_does_not_start(budget: Runner) -> None:
    limits = Limits(memory_bytes=10 * PAGE)
    first = budget.spawn(grow_then_spin(100), limits=limits)
    until(lambda: pages(budget, first) == 10)
    assert budget.outcome(grow_until(1), limits=limits).status != 0
    assert "memory" in budget.lines[-1]
    end(first)


def test_without_a_limit_nothing_is_counted(budget: Runner) -> None:
    process = budget.spawn(grow_then_spin(5))
    assert budget.machine.memory_sizes() == {}
    end(process)
