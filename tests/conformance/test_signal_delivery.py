"""Handlers of caught signals run in the guest: at host calls, in busy loops, nested, with masks."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from process_guests import LONG, World

from balenawasm.engine.code_cache import CodeCache
from balenawasm.kernel.outcome import Exited, Signaled, Trapped

if TYPE_CHECKING:
    from pathlib import Path

USR1, USR2, ALRM = int(signal.SIGUSR1), int(signal.SIGUSR2), int(signal.SIGALRM)
EINTR = 27

HANDLER = """
  (global $got (mut i32) (i32.const 0))
  (func (export "__balenawasm_signal") (param $signo i32)
    (drop (call $note (local.get $signo)))
    (global.set $got (i32.add (global.get $got) (i32.const 1))))
"""
CATCH_USR1 = f"(drop (call $action (i32.const {USR1}) (i32.const 2) (i32.const 0)))"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CodeCache:
    return CodeCache(tmp_path_factory.mktemp("native"))


@pytest.fixture
def world(cache: CodeCache) -> World:
    return World(cache)


def run(world: World, body: str) -> object:
    world.program("guest", body)
    return world.spawn("guest").wait_exit(LONG)


def test_a_signal_to_itself_is_handled_before_the_call_returns(world: World) -> None:
    body = f"""{HANDLER} (func (export "_start") {CATCH_USR1}
      (drop (call $raise (i32.const {USR1})))
      (drop (call $note (i32.const 100)))
      (call $exit (global.get $got)))"""
    assert run(world, body) == Exited(1)
    assert world.numbers() == [USR1, 100]


def test_pause_gives_eintr_after_the_handler(world: World) -> None:
    world.program(
        "guest",
        f"""{HANDLER} (func (export "_start") {CATCH_USR1}
      (drop (call $note (i32.const 100)))
      (drop (call $note (i32.add (i32.const 1000) (call $pause))))
      (call $exit (global.get $got)))""",
    )
    process = world.spawn("guest")
    world.await_note(100)
    process.signal(USR1)
    assert process.wait_exit(LONG) == Exited(1)
    assert world.numbers() == [100, USR1, 1000 + EINTR]


def test_a_handler_runs_in_a_busy_loop(world: World) -> None:
    world.program(
        "guest",
        f"""{HANDLER} (func (export "_start") {CATCH_USR1}
      (drop (call $note (i32.const 100)))
      (loop $l (br_if $l (i32.lt_u (global.get $got) (i32.const 3))))
      (call $exit (global.get $got)))""",
    )
    process = world.spawn("guest")
    world.await_note(100)
    for count in (1, 2, 3):
        process.signal(USR1)
        with world.noted:
            assert world.noted.wait_for(lambda c=count: world.numbers().count(USR1) == c, LONG)
    assert process.wait_exit(LONG) == Exited(3)


def test_a_loop_in_a_handler_out_of_a_loop_can_be_killed(world: World) -> None:
    """The engine takes its epoch callback away while it runs; the handler must have one."""
    world.program(
        "guest",
        f"""(func (export "__balenawasm_signal") (param i32)
          (drop (call $note (local.get 0))) (loop $l (br $l)))
        (func (export "_start") {CATCH_USR1}
      (drop (call $note (i32.const 100)))
      (loop $l (br $l)))""",
    )
    process = world.spawn("guest")
    world.await_note(100)
    process.signal(USR1)
    world.await_note(USR1)
    process.signal(USR1)
    assert process.wait_exit(0.05) is None
    process.signal(signal.SIGTERM)
    assert process.wait_exit(LONG) == Signaled(signal.SIGTERM)


def test_handlers_nest_but_not_their_own_signal(world: World) -> None:
    body = f"""
      (func (export "__balenawasm_signal") (param i32)
        (drop (call $note (local.get 0)))
        (if (i32.eq (local.get 0) (i32.const {USR1})) (then
          (drop (call $raise (i32.const {USR1})))
          (drop (call $raise (i32.const {USR2})))
          (drop (call $action (i32.const {USR1}) (i32.const 1) (i32.const 0)))
          (drop (call $note (i32.const 101))))))
      (func (export "_start") {CATCH_USR1}
        (drop (call $action (i32.const {USR2}) (i32.const 2) (i32.const 0)))
        (drop (call $raise (i32.const {USR1}))))"""
    assert run(world, body) == Exited(0)
    assert world.numbers() == [USR1, USR2, 101]


def test_nodefer_nests_up_to_a_limit(world: World) -> None:
    body = f"""
      (func (export "__balenawasm_signal") (param i32)
        (drop (call $note (local.get 0)))
        (drop (call $raise (local.get 0))))
      (func (export "_start")
        (drop (call $action (i32.const {USR1}) (i32.const 2) (i32.const {0x40000000})))
        (drop (call $raise (i32.const {USR1}))))"""
    world.program("guest", body)
    process = world.spawn("guest")
    with world.noted:
        assert world.noted.wait_for(lambda: len(world.notes) > 1000, LONG)
    process.signal(signal.SIGKILL)
    assert process.wait_exit(LONG) == Signaled(signal.SIGKILL)


def test_blocked_until_unblocked_and_suspended(world: World) -> None:
    usr1 = 1 << (USR1 - 1)
    body = f"""{HANDLER} (func (export "_start") {CATCH_USR1}
      (drop (call $mask (i64.const {usr1})))
      (drop (call $raise (i32.const {USR1})))
      (drop (call $note (i32.const 100)))
      (drop (call $note (i32.add (i32.const 1000) (call $suspend (i64.const 0)))))
      (drop (call $raise (i32.const {USR1})))
      (drop (call $note (i32.const 101)))
      (drop (call $mask (i64.const 0)))
      (drop (call $note (i32.const 102))))"""
    assert run(world, body) == Exited(0)
    assert world.numbers() == [100, USR1, 1000 + EINTR, 101, USR1, 102]


def test_sa_restart_goes_on_and_resethand_once(world: World) -> None:
    world.program(
        "guest",
        f"""{HANDLER} (func (export "_start")
      (drop (call $action (i32.const {USR1}) (i32.const 2) (i32.const {0x10000000})))
      (drop (call $action (i32.const {USR2}) (i32.const 2) (i32.const {0x90000000 - (1 << 32)})))
      (drop (call $note (i32.const 100)))
      (drop (call $note (i32.add (i32.const 1000) (call $read)))))""",
    )
    process = world.spawn("guest")
    world.await_note(100)
    for count in range(1, 300):
        process.signal(USR1)
        with world.noted:
            assert world.noted.wait_for(lambda c=count: world.numbers().count(USR1) == c, LONG)
    process.signal(USR2)
    world.await_note(USR2)
    world.readable.set()
    process.signal(USR1)
    assert process.wait_exit(LONG) == Exited(0)
    assert world.numbers()[-1] == 1000
    assert process.signals.action(USR2).kind.name == "DEFAULT"


def test_a_handler_may_exit_or_trap(world: World) -> None:
    for end, outcome in (("(call $exit (i32.const 7))", Exited(7)), ("unreachable", None)):
        world = World(world.machine._cache)
        body = f"""(func (export "__balenawasm_signal") (param i32) {end})
          (func (export "_start") {CATCH_USR1} (drop (call $raise (i32.const {USR1}))))"""
        ended = run(world, body)
        if outcome is None:
            assert isinstance(ended, Trapped)
            assert "handler of signal 10" in ended.message
        else:
            assert ended == outcome


@pytest.mark.parametrize(
    "export",
    [
        "",
        '(func (export "__balenawasm_signal"))',
        '(func (export "__balenawasm_signal") (param i64 i64) (result i32) (i32.const 0))',
        '(global (export "__balenawasm_signal") i32 (i32.const 0))',
    ],
)
def test_a_missing_or_wrong_function_ends_the_guest(world: World, export: str) -> None:
    body = f"""{export}
      (func (export "_start") {CATCH_USR1} (drop (call $raise (i32.const {USR1}))))"""
    ended = run(world, body)
    assert isinstance(ended, Trapped)


def test_longjmp_out_of_a_handler(world: World) -> None:
    """An exception leaves the handler and is caught by the code that made the host call."""
    body = f"""(tag $e)
      (func (export "__balenawasm_signal") (param i32) (throw $e))
      (func (export "_start") {CATCH_USR1}
        (block $caught
          (try_table (catch $e $caught)
            (drop (call $raise (i32.const {USR1})))
            (call $exit (i32.const 1))))
        (drop (call $note (i32.const 100)))
        (drop (call $mask (i64.const 0)))
        (block $again
          (try_table (catch $e $again) (drop (call $raise (i32.const {USR1})))))
        (call $exit (i32.const 5)))"""
    assert run(world, body) == Exited(5), world.lines
    assert world.numbers() == [100]


def test_longjmp_out_of_a_handler_in_a_loop_ends_it(world: World) -> None:
    world.program(
        "guest",
        f"""(tag $e)
      (func (export "__balenawasm_signal") (param i32) (throw $e))
      (func (export "_start") {CATCH_USR1}
        (drop (call $note (i32.const 100)))
        (block $caught (try_table (catch $e $caught) (loop $l (br $l)))))""",
    )
    process = world.spawn("guest")
    world.await_note(100)
    process.signal(USR1)
    ended = process.wait_exit(LONG)
    assert isinstance(ended, Trapped)
    assert "longjmp" in ended.message


def test_an_interval_timer_interrupts_a_loop(world: World) -> None:
    world_body = f"""{HANDLER} (func (export "_start")
      (drop (call $action (i32.const {ALRM}) (i32.const 2) (i32.const 0)))
      (drop (call $alarm (i64.const 1000000) (i64.const 1000000)))
      (loop $l (br_if $l (i32.lt_u (global.get $got) (i32.const 5))))
      (call $exit (i32.const 3)))"""
    assert run(world, world_body) == Exited(3)
    assert world.numbers()[:5] == [ALRM] * 5


def test_an_alarm_kills_by_default(world: World, tmp_path: Path) -> None:
    body = """(func (export "_start")
      (drop (call $alarm (i64.const 1000000) (i64.const 0))) (loop $l (br $l)))"""
    assert run(world, body) == Signaled(ALRM)


def test_a_signal_while_it_is_instantiated_waits(world: World) -> None:
    body = f"""{HANDLER}
      (func $s {CATCH_USR1}
        (drop (call $raise (i32.const {USR1}))) (drop (call $note (i32.const 100))))
      (start $s)
      (func (export "_start") (drop (call $note (i32.const 101))) (call $exit (global.get $got)))"""
    assert run(world, body) == Exited(1)
    assert USR1 in world.numbers()


def test_leaving_handlers_by_longjmp_again_and_again(world: World) -> None:
    """Nothing is left of the handlers that never return: neither depth nor memory."""
    body = f"""(tag $e) (global $n (mut i32) (i32.const 0))
      (func (export "__balenawasm_signal") (param i32) (throw $e))
      (func (export "_start") {CATCH_USR1}
        (loop $l
          (block $caught
            (try_table (catch $e $caught) (drop (call $raise (i32.const {USR1})))))
          (drop (call $mask (i64.const 0)))
          (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (br_if $l (i32.lt_u (global.get $n) (i32.const 5000))))
        (call $exit (i32.const 5)))"""
    assert run(world, body) == Exited(5), world.lines


RECURSE = "(func $r (param i32) (result i32) (i32.add (i32.const 1) (call $r (local.get 0))))"


def test_a_handler_that_overflows_the_stack(world: World) -> None:
    body = f"""{RECURSE}
      (func (export "__balenawasm_signal") (param i32) (drop (call $r (i32.const 0))))
      (func (export "_start") {CATCH_USR1} (drop (call $raise (i32.const {USR1}))))"""
    ended = run(world, body)
    assert isinstance(ended, Trapped)
    assert "stack" in ended.message


def test_handlers_at_the_end_of_the_stack(world: World) -> None:
    """Recursion that raises at every step, with handlers that nest: a trap; the runner lives."""
    body = f"""
      (func $r (param i32) (result i32)
        (drop (call $raise (i32.const {USR1})))
        (i32.add (i32.const 1) (call $r (local.get 0))))
      (func (export "__balenawasm_signal") (param i32) (drop (call $r (i32.const 0))))
      (func (export "_start")
        (drop (call $action (i32.const {USR1}) (i32.const 2) (i32.const {0x40000000})))
        (drop (call $r (i32.const 0))))"""
    ended = run(world, body)
    assert isinstance(ended, Trapped)
    assert "stack" in ended.message
    assert run(World(world.machine._cache), '(func (export "_start"))') == Exited(0)


def test_a_handler_that_overflows_the_stack_out_of_a_loop(world: World) -> None:
    world.program(
        "guest",
        f"""{RECURSE}
      (func (export "__balenawasm_signal") (param i32) (drop (call $r (i32.const 0))))
      (func (export "_start") {CATCH_USR1}
        (drop (call $note (i32.const 100))) (loop $l (br $l)))""",
    )
    process = world.spawn("guest")
    world.await_note(100)
    process.signal(USR1)
    assert isinstance(process.wait_exit(LONG), Trapped)
