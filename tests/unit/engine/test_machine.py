from __future__ import annotations

from wat_guests import Runner, program, start

from balenawasm.kernel.outcome import Exited, Signaled, Trapped


def test_return_from_start_is_exit_zero(runner: Runner) -> None:
    assert runner.outcome(program(start("nop"))) == Exited(0)


def test_proc_exit_unwinds_and_gives_its_code(runner: Runner) -> None:
    body = start("(call $proc_exit (i32.const 7)) unreachable")
    assert runner.outcome(program(body)) == Exited(7)


def test_unreachable_traps_with_a_backtrace(runner: Runner) -> None:
    body = '(func $inner unreachable) (func $main (export "_start") call $inner)'
    outcome = runner.outcome(program(body))
    assert isinstance(outcome, Trapped)
    lines = outcome.message.splitlines()
    assert "unreachable" in lines[0]
    assert "inner" in lines[1]
    assert "main" in lines[2]
    assert any("unreachable" in line for line in runner.lines)


def test_loop_is_killed(runner: Runner) -> None:
    process = runner.spawn(program(start("(loop $l br $l)")))
    process.signal(15)
    assert process.wait_exit(30) == Signaled(15)


def test_blocking_call_is_killed(runner: Runner) -> None:
    process = runner.spawn(program(start("(drop (call $sched_yield)) unreachable")))
    process.signal(9)
    assert process.wait_exit(30) == Signaled(9)
