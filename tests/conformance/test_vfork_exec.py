"""vfork, exec, wait, stop and continue of guests with code, and what is left of them."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from process_guests import LONG, World

from balenawasm.engine.code_cache import CodeCache
from balenawasm.kernel.outcome import Exited, Signaled, Stopped, Trapped
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from balenawasm.kernel.process import Process

USR1 = int(signal.SIGUSR1)
SA_NODEFER = 0x4000_0000
ECHO = '(func (export "_start") (drop (call $note (i32.const 55))) (call $exit (i32.const 9)))'
LOOP = '(func (export "_start") (drop (call $note (i32.const 50))) (loop $l (br $l)))'
SLEEP = '(func (export "_start") (drop (call $note (i32.const 51))) (drop (call $pause)))'


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CodeCache:
    return CodeCache(tmp_path_factory.mktemp("native"))


@pytest.fixture
def world(cache: CodeCache) -> Iterator[World]:
    world = World(cache)
    world.program("1", ECHO)
    world.program("2", LOOP)
    world.program("3", SLEEP)
    yield world
    world.kernel.end_all()
    assert world.kernel.wait_all(LONG)


def start(world: World, body: str) -> Process:
    world.program("guest", f'(func (export "_start") {body})')
    return world.spawn("guest")


def run(world: World, body: str) -> object:
    return start(world, body).wait_exit(LONG)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


# exec.


def test_exec_takes_the_processs_place(world: World) -> None:
    process = start(world, "(drop (call $exec (i32.const 1))) (call $exit (i32.const 1))")
    assert process.wait_exit(LONG) == Exited(9)
    assert process.argv == (b"1", b"x")
    assert process.environ == (b"A=1",)
    assert process.executable == b"/1"
    assert world.notes == [(process.pid, 55)]


def test_exec_that_fails_goes_on(world: World) -> None:
    assert run(world, "(call $exit (call $exec (i32.const 77)))") == Exited(int(Errno.ENOENT))


def test_exec_again_and_again(world: World) -> None:
    again = "(drop (call $note (i32.const 1))) (drop (call $exec (i32.const 4)))"
    world.program("4", f'(func (export "_start") {again})')
    process = start(world, "(drop (call $exec (i32.const 4)))")
    with world.noted:
        assert world.noted.wait_for(lambda: len(world.notes) > 200, LONG)
    process.signal(signal.SIGTERM)
    assert process.wait_exit(LONG) == Signaled(signal.SIGTERM)


def test_exec_out_of_a_handler_and_into_a_loop(world: World) -> None:
    world.program(
        "guest",
        f"""(func (export "__balenawasm_signal") (param i32) (drop (call $exec (i32.const 2))))
        (func (export "_start")
          (drop (call $action (i32.const {USR1}) (i32.const 2) (i32.const {SA_NODEFER})))
          (drop (call $note (i32.const 1)))
          (loop $l (br $l)))""",
    )
    process = world.spawn("guest")
    world.await_note(1)
    process.signal(USR1)
    world.await_note(50)
    process.signal(USR1)
    assert process.wait_exit(LONG) == Signaled(USR1), "caught signals are at their default again"


def test_exec_of_what_is_no_program(world: World) -> None:
    world.put("8", b"text")
    world.put("7", b"\0asm\1\0\0\0\xff\xff\xff")
    assert run(world, "(call $exit (call $exec (i32.const 8)))") == Exited(int(Errno.EACCES))
    process = world.kernel.spawn([b"/guest"], [], b"/", {})
    assert process.wait_exit(LONG) == Exited(int(Errno.EACCES))
    world.program("6", '(func (export "_start") (drop (call $exec (i32.const 7))))')
    assert world.spawn("6").wait_exit(LONG) == Exited(126), "past the point of no return"
    assert any("7" in line or "wasm" in line for line in world.lines)


# vfork. The same stack frame serves child and parent: the second half runs as the parent.


def test_vfork_exit_and_wait(world: World) -> None:
    process = start(
        world,
        """(drop (call $note (call $vfork)))
        (drop (call $_exit (i32.const 3)))
        (drop (call $note (i32.const 60)))
        (drop (call $note (call $wait)))""",
    )
    assert process.wait_exit(LONG) == Exited(0)
    pid = process.pid
    assert world.notes == [(pid + 1, pid + 1), (pid, 60), (pid, 3 << 8)]


def test_vfork_exec_runs_beside_its_parent(world: World) -> None:
    process = start(
        world,
        """(drop (call $vfork))
        (drop (call $exec (i32.const 1)))
        (drop (call $note (i32.const 60)))
        (drop (call $note (call $wait)))""",
    )
    assert process.wait_exit(LONG) == Exited(0)
    assert sorted(world.notes) == sorted([(2, 55), (1, 60), (1, 9 << 8)])


def test_vfork_in_a_vfork(world: World) -> None:
    assert run(
        world,
        """(drop (call $vfork)) (drop (call $vfork))
        (drop (call $note (i32.const 1)))
        (drop (call $_exit (i32.const 3)))
        (drop (call $note (call $wait)))
        (drop (call $_exit (i32.const 4)))
        (drop (call $note (call $wait)))""",
    ) == Exited(0)
    assert world.notes == [(3, 1), (2, 3 << 8), (1, 4 << 8)]


@pytest.mark.parametrize(
    ("end", "outcome"),
    [("(call $exit (i32.const 5))", Exited(5)), ("unreachable", None), ("", Exited(0))],
)
def test_an_end_in_a_vfork_child_ends_both(world: World, end: str, outcome: object) -> None:
    process = start(world, f"(drop (call $vfork)) (drop (call $vfork)) {end}")
    ended = process.wait_exit(LONG)
    assert ended == outcome if outcome else isinstance(ended, Trapped)
    until(lambda: len(world.kernel.processes) == 0)


def test_a_killed_vfork_child_reaches_its_end(world: World) -> None:
    process = start(
        world,
        """(drop (call $vfork))
        (drop (call $note (i32.const 1)))
        (drop (call $note (call $pause)))
        (drop (call $_exit (i32.const 3)))
        (drop (call $note (call $wait)))""",
    )
    world.await_note(1)
    world.kernel.processes.signal(process.pid + 1, signal.SIGTERM)
    assert process.wait_exit(LONG) == Exited(0)
    assert world.numbers() == [1, int(Errno.EINTR), int(signal.SIGTERM)]


@pytest.mark.parametrize("hold", ["(loop $l (drop (call $pause)) (br $l))", "(loop $l (br $l))"])
@pytest.mark.parametrize("target", [0, 1], ids=["parent", "child"])
def test_a_vfork_child_that_does_not_end_is_ended_with_its_parent(
    world: World, hold: str, target: int
) -> None:
    process = start(world, f"(drop (call $vfork)) (drop (call $note (i32.const 1))) {hold}")
    world.await_note(1)
    world.kernel.processes.signal(process.pid + target, signal.SIGTERM)
    assert process.wait_exit(LONG) == Signaled(signal.SIGTERM)
    until(lambda: len(world.kernel.processes) == 0)


def test_vfork_bombs_meet_the_limit(world: World) -> None:
    assert run(
        world,
        """(local $pid i32) (loop $l (local.set $pid (call $vfork))
            (br_if $l (i32.gt_u (local.get $pid) (i32.const 1000))))
            (loop $m (local.set $pid (call $vfork))
            (br_if $m (i32.ne (local.get $pid) (i32.const 6))))
            (call $exit (local.get $pid))""",
    ) == Exited(6)
    until(lambda: len(world.kernel.processes) == 0)


# Stop and continue.


@pytest.mark.parametrize("program", ["2", "3"], ids=["loop", "sleep"])
def test_stop_continue_and_kill_a_stopped_one(world: World, program: str) -> None:
    process = world.spawn(program)
    world.await_note(48 + int(program))
    for _ in range(3):
        process.signal(signal.SIGSTOP)
        until(lambda: process.stopped)
        assert process.change == Stopped(signal.SIGSTOP)
        process.signal(signal.SIGCONT)
        until(lambda: not process.stopped)
    process.signal(signal.SIGSTOP)
    until(lambda: process.stopped)
    process.signal(signal.SIGTERM)
    assert process.wait_exit(0.05) is None, "it is stopped"
    process.signal(signal.SIGKILL)
    assert process.wait_exit(LONG) == Signaled(signal.SIGTERM)


def test_a_stopped_loop_uses_no_processor_time(world: World) -> None:
    process = world.spawn("2")
    world.await_note(50)
    process.signal(signal.SIGSTOP)
    until(lambda: process.stopped)
    before = process.cpu_used_ns()
    time.sleep(0.1)
    assert process.cpu_used_ns() - before < 50_000_000
    process.signal(signal.SIGKILL)


# Nothing is left.


def counts() -> tuple[int, int]:
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def test_a_thousand_spawns_leave_nothing(world: World) -> None:
    world.program(
        "guest", '(func (export "_start") (drop (call $alarm (i64.const 1) (i64.const 0))))'
    )

    def round_of(count: int) -> None:
        for _ in range(count):
            processes = [world.spawn(name) for name in ("1", "guest", "3")]
            processes[2].signal(signal.SIGTERM)
            for process in processes:
                assert process.wait_exit(LONG) is not None
        assert world.kernel.wait_all(LONG)

    round_of(20)
    gc.collect()
    fds, threads = counts()
    objects = len(gc.get_objects())
    round_of(330)
    gc.collect()
    until(lambda: counts()[1] <= threads + 2)
    assert counts()[0] <= fds
    world.notes.clear()
    assert len(gc.get_objects()) < objects + 500
    assert len(world.kernel.processes) == 0


def test_vforks_and_execs_leave_nothing(world: World) -> None:
    body = """(local $n i32) (loop $l
        (drop (call $vfork)) (drop (call $exec (i32.const 1)))
        (drop (call $vfork)) (drop (call $_exit (i32.const 3)))
        (drop (call $wait)) (drop (call $wait))
        (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1)))
          (i32.const 200))))"""
    assert run(world, body) == Exited(0)
    gc.collect()
    fds, _ = counts()
    assert start(world.__class__(world.machine._cache), "").wait_exit(LONG) == Exited(0)
    assert world.spawn("guest").wait_exit(LONG) == Exited(0)
    gc.collect()
    assert counts()[0] <= fds + 1
    assert len(world.kernel.processes) == 0


def test_kill_all_misses_nobody_that_is_being_spawned(world: World) -> None:
    """Guests that spawn as fast as they can; after one broadcast all of them are gone."""
    body = """(loop $l (drop (call $vfork)) (drop (call $exec (i32.const 3)))
        (drop (call $note (i32.const 1))) (br $l))"""
    world.program("guest", f'(func (export "_start") {body})')
    for _ in range(5):
        world.notes.clear()
        for _ in range(3):
            world.spawn("guest")
        with world.noted:
            assert world.noted.wait_for(lambda: len(world.notes) > 30, LONG)
        world.kernel.kill_all()
        assert world.kernel.wait_all(LONG)
        until(lambda: len(world.kernel.processes) == 0)
    world.kernel.end_all()
    with pytest.raises(GuestError) as caught:
        world.spawn("guest")
    assert caught.value.errno == Errno.EAGAIN
