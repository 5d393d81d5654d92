from __future__ import annotations

import gc
import os
import threading
from typing import TYPE_CHECKING

import pytest
from wat_guests import IMPORTS, MODULE, TABLES, Runner, program, start

from balenawasm.engine.library import api
from balenawasm.engine.linker import MissingImportsError
from balenawasm.engine.machine import Machine
from balenawasm.engine.program_file import InvalidModuleError
from balenawasm.engine.wat import wat_to_wasm
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.outcome import Exited, Signaled, Trapped
from balenawasm.vfs.node import Content

if TYPE_CHECKING:
    from balenawasm.engine.code_cache import CodeCache

LOOP = start("(loop $l br $l)")
BLOCKED = start("(drop (call $sched_yield)) unreachable")
PAGE = 65536


def exit_with(code: str) -> str:
    return start(f"(call $proc_exit {code})")


def trap_of(runner: Runner, body: str) -> list[str]:
    outcome = runner.outcome(program(body))
    assert isinstance(outcome, Trapped)
    return outcome.message.splitlines()


# How guests end.


def test_return_from_start_is_exit_zero(runner: Runner) -> None:
    assert runner.outcome(program(start("nop"))) == Exited(0)


def test_reactor_is_initialized(runner: Runner) -> None:
    body = '(func (export "_initialize") (call $proc_exit (i32.const 3)))'
    assert runner.outcome(program(body)) == Exited(3)


def test_program_without_entry_point_says_so(runner: Runner) -> None:
    assert "exports neither _start nor _initialize" in trap_of(runner, "")[0]


def test_entry_point_of_wrong_kind_is_none(runner: Runner) -> None:
    assert "entry point" in trap_of(runner, '(global (export "_start") i32 (i32.const 0))')[0]


def test_entry_point_with_parameters_is_refused(runner: Runner) -> None:
    outcome = runner.outcome(program('(func (export "_start") (param i32))'))
    assert isinstance(outcome, Trapped)


def test_proc_exit_unwinds_and_gives_its_code(runner: Runner) -> None:
    assert runner.outcome(program(start("(call $proc_exit (i32.const 7)) unreachable"))) == Exited(
        7
    )


def test_unreachable_traps_with_a_backtrace_and_a_log_line(runner: Runner) -> None:
    lines = trap_of(runner, '(func $inner unreachable) (func $main (export "_start") call $inner)')
    assert "unreachable" in lines[0]
    assert lines[1].strip().startswith("at inner (offset 0x")
    assert lines[2].strip().startswith("at main (offset 0x")
    assert any("unreachable" in line for line in runner.lines)


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("(drop (i32.load (i32.const -1)))", "out of bounds memory access"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "integer divide by zero"),
        ("(call_indirect $t (i32.const 0))", "uninitialized element"),
        ("(throw $e)", "exception"),
    ],
)
def test_traps_name_their_cause(runner: Runner, code: str, cause: str) -> None:
    lines = trap_of(runner, f"(type $v (func)) (tag $e) (table $t 1 funcref) {start(code)}")
    assert cause in lines[0]


def test_stack_overflow_ends_only_its_guest(runner: Runner) -> None:
    neighbour = runner.spawn(program(BLOCKED))
    body = '(func $f (export "_start") (local i64 i64 i64 i64) call $f call $f)'
    lines = trap_of(runner, body)
    assert "call stack exhausted" in lines[0]
    assert len(lines) < 30
    assert neighbour.outcome is None
    neighbour.signal(9)
    assert neighbour.wait_exit(30) == Signaled(9)


def test_backtrace_of_a_hostile_name_is_cleaned(runner: Runner) -> None:
    lines = trap_of(
        runner,
        start("call $x").replace("(func", '(func $x (@name "\\1b[2J") unreachable) (func', 1),
    )
    assert "\x1b" not in "".join(lines)
    assert "?[2J" in lines[1]


def test_start_section_runs_before_the_entry_point(runner: Runner) -> None:
    section = (
        "(global $g (mut i32) (i32.const 1)) (func $s (global.set $g (i32.const 9))) (start $s)"
    )
    assert runner.outcome(program(section + exit_with("(global.get $g)"))) == Exited(9)


def test_trap_in_the_start_section_is_an_outcome(runner: Runner) -> None:
    assert "unreachable" in trap_of(runner, f"(func $s unreachable) (start $s) {start('')}")[0]


# What is caught in the guest.


def test_exceptions_are_caught_in_the_guest(runner: Runner) -> None:
    body = "(tag $e (param i32))" + exit_with(
        "(block $h (result i32) (try_table (catch $e $h) (throw $e (i32.const 5))) unreachable)"
    )
    assert runner.outcome(program(body)) == Exited(5)


# Host calls.


def test_errno_of_every_kind_of_failure(runner: Runner) -> None:
    """1: GuestError, 2: OSError, 5: a pointer outside."""
    code = (
        "(i32.add (i32.mul (call $fd_close (i32.const 1)) (i32.const 10000))"
        " (i32.add (i32.mul (call $fd_close (i32.const 2)) (i32.const 100))"
        " (call $fd_close (i32.const 5))))"
    )
    assert runner.outcome(program(exit_with(code))) == Exited(8 * 10000 + 44 * 100 + 21)


@pytest.mark.parametrize("bug", [3, 4])
def test_bug_in_a_handler_ends_its_guest_and_is_logged(runner: Runner, bug: int) -> None:
    lines = trap_of(runner, start(f"(drop (call $fd_close (i32.const {bug}))) (loop $l br $l)"))
    assert lines[0].startswith("bug in the kernel, in fd_close")
    assert "Traceback" in "\n".join(runner.lines)


def test_arguments_are_unsigned_and_in_order(runner: Runner) -> None:
    body = exit_with(
        "(block (result i32)"
        " (drop (call $clock (i32.const 1) (i64.const -2) (i32.const 64)))"
        " (i64.eq (i64.load (i32.const 64)) (i64.const -2)))"
    )
    assert runner.outcome(program(body)) == Exited(1)


def test_memory_that_grew_is_reached(runner: Runner) -> None:
    body = exit_with(
        "(block (result i32) (drop (memory.grow (i32.const 100)))"
        f" (call $clock (i32.const 1) (i64.const 1) (i32.const {100 * PAGE})))"
    )
    assert runner.outcome(program(body)) == Exited(0)


def test_program_without_memory_gets_efault(runner: Runner) -> None:
    body = f"(module {IMPORTS} {exit_with('(call $fd_close (i32.const 5))')})"
    assert runner.outcome(Content("test:no memory", memoryview(wat_to_wasm(body)))) == Exited(21)


# Limits.


def test_memory_limit_refuses_growth_and_the_guest_goes_on(runner: Runner) -> None:
    content = program(exit_with("(memory.grow (i32.const 20))"))
    assert runner.outcome(content, limits=Limits(memory_bytes=10 * PAGE)) == Exited(0xFFFF_FFFF)
    assert runner.outcome(content, limits=Limits(memory_bytes=30 * PAGE)) == Exited(1)


def test_program_larger_than_the_limit_does_not_start(runner: Runner) -> None:
    outcome = runner.outcome(program(start("")), limits=Limits(memory_bytes=PAGE // 2))
    assert isinstance(outcome, Trapped)
    assert "limit" in outcome.message


def test_tables_are_limited(runner: Runner) -> None:
    code = "(table.grow $t (ref.null func) (i32.const 0x7fffffff))"
    body = f"(table $t 1 funcref) {exit_with(code)}"
    assert runner.outcome(program(body)) == Exited(0xFFFF_FFFF)


# Kills.


def test_loop_is_killed(runner: Runner) -> None:
    process = runner.spawn(program(LOOP))
    process.signal(15)
    assert process.wait_exit(30) == Signaled(15)


def test_kill_leaves_computing_neighbours_alone(runner: Runner) -> None:
    processes = [runner.spawn(program(LOOP)) for _ in range(4)]
    for process in processes[:3]:
        process.signal(9)
        assert process.wait_exit(30) == Signaled(9)
        assert processes[3].outcome is None
    processes[3].signal(15)
    assert processes[3].wait_exit(30) == Signaled(15)


def test_many_loops_started_and_killed_at_once(runner: Runner) -> None:
    """The kill may come at any moment: before the store, while instantiating, in the loop."""
    for _ in range(30):
        process = runner.spawn(program(LOOP))
        process.signal(9)
        assert process.wait_exit(30) == Signaled(9)


def test_killed_before_it_started(runner: Runner) -> None:
    gate = threading.Event()
    content = program(LOOP)
    runner.machine.load(content)
    runner.before = gate.wait
    process = runner.spawn(content)
    process.signal(9)
    gate.set()
    assert process.wait_exit(30) == Signaled(9)


def test_blocking_call_is_killed(runner: Runner) -> None:
    process = runner.spawn(program(BLOCKED))
    process.signal(9)
    assert process.wait_exit(30) == Signaled(9)


# Programs that cannot be run.


def test_missing_imports_are_listed(runner: Runner) -> None:
    imports = f'(import "{MODULE}" "sock_open" (func)) (import "env" "fork" (func)) {IMPORTS}'
    content = program(start(""), imports=imports)
    with pytest.raises(MissingImportsError) as caught:
        runner.machine.load(content, name="tool.wasm")
    assert f"tool.wasm imports what this system does not provide: {MODULE}.sock_open, env.fork" in (
        caught.value.message
    )
    assert runner.outcome(content) == Exited(126)
    assert "env.fork" in runner.lines[-1]


def test_import_of_another_type_is_named(runner: Runner) -> None:
    imports = f'(import "{MODULE}" "fd_close" (func (param i64) (result i32)))'
    with pytest.raises(InvalidModuleError, match=r"incompatible import type for `.*fd_close`"):
        runner.machine.load(program(start(""), imports=imports))


def test_second_table_is_defined_when_asked_for(runner: Runner) -> None:
    imports = '(import "wasi_unstable" "proc_exit" (func $proc_exit (param i32)))'
    content = program(exit_with("(i32.const 4)"), imports=imports)
    assert runner.outcome(content) == Exited(4)


def test_no_program_is_exit_126_with_a_line_in_the_log(runner: Runner) -> None:
    assert runner.outcome(Content(None, memoryview(b"\x7fELF"))) == Exited(126)
    assert "native Linux (ELF) executable" in runner.lines[-1]


# Loading.


def test_program_is_loaded_once(runner: Runner) -> None:
    content = program(start(""))
    assert runner.machine.load(content) is runner.machine.load(content)
    changing = Content(None, content.data)
    assert runner.machine.load(changing) is runner.machine.load(changing)


def test_refused_native_code_is_compiled_anew(cache: CodeCache) -> None:
    content = program(exit_with("(i32.const 6)"))
    path = cache.compiled(content)
    # Native code of the right size and digest that the engine does not accept.
    path.write_bytes(bytes(path.stat().st_size))
    assert Runner(Machine(cache, TABLES)).outcome(content) == Exited(6)


def test_least_recently_used_programs_go(cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("balenawasm.engine.machine._PROGRAMS_MAX", 1)
    machine = Machine(cache, TABLES)
    first, second = program(exit_with("(i32.const 1)")), program(BLOCKED)
    runner = Runner(machine)
    waiting = runner.spawn(second)
    assert runner.outcome(first) == Exited(1)
    assert machine.load(second) is not None
    assert runner.outcome(first) == Exited(1)
    waiting.signal(9)
    assert waiting.wait_exit(30) == Signaled(9)


def test_runs_in_a_forked_child_of_a_process_that_loaded_it(shared_cache: CodeCache) -> None:
    """The zygote: machine and program before the fork; guest, neighbour and kill after it."""
    machine = Machine(shared_cache, TABLES)
    content, loop = program(exit_with("(i32.const 5)")), program(LOOP)
    machine.load(content)
    machine.load(loop)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            runner = Runner(machine)
            doomed = runner.spawn(loop)
            good = runner.outcome(content) == Exited(5)
            doomed.signal(9)
            good = good and doomed.wait_exit(30) == Signaled(9)
            status = 0 if good else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_runs_in_a_child_forked_after_a_kill(shared_cache: CodeCache) -> None:
    """The thread that repeats interruptions does not survive the fork: the child starts its own."""
    machine = Machine(shared_cache, TABLES)
    runner = Runner(machine)
    first = runner.spawn(program(LOOP))
    first.signal(9)
    assert first.wait_exit(30) == Signaled(9)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            second = Runner(machine).spawn(program(LOOP))
            second.signal(9)
            status = 0 if second.wait_exit(30) == Signaled(9) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# Resources.


@pytest.mark.parametrize(
    ("body", "signo"),
    [(start(""), 0), (start("unreachable"), 0), (LOOP, 9), (BLOCKED, 9), ("", 0)],
    ids=["exit", "trap", "loop", "blocked", "no entry"],
)
def test_every_end_frees_its_store(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, body: str, signo: int
) -> None:
    living: set[int] = set()
    make, free = api.wasmtime_store_new, api.wasmtime_store_delete

    def counted_make(*arguments: int) -> int:
        store: int = make(*arguments)
        living.add(store)
        return store

    def counted_free(store: int) -> None:
        living.remove(store)
        free(store)

    monkeypatch.setattr(api, "wasmtime_store_new", counted_make)
    monkeypatch.setattr(api, "wasmtime_store_delete", counted_free)
    process = runner.spawn(program(body))
    if signo:
        process.signal(signo)
    assert process.wait_exit(30) is not None
    runner.wait_idle()
    assert not living


def test_guest_memory_is_out_of_reach_afterwards(runner: Runner) -> None:
    process = runner.spawn(program(start("")))
    process.wait_exit(30)
    runner.wait_idle()
    assert len(process.memory.view) == 0


def test_address_space_does_not_grow_with_the_number_of_guests(runner: Runner) -> None:
    content = program(start("(drop (memory.grow (i32.const 100)))"))

    def mappings(count: int) -> int:
        for _ in range(count):
            runner.outcome(content)
        runner.wait_idle()
        with open("/proc/self/maps") as maps:
            return len(maps.readlines())

    mappings(20)
    assert mappings(200) <= mappings(20) + 20


def test_guest_leaves_nothing_for_the_garbage_collector(runner: Runner) -> None:
    """Collections stop all guests, so runners hardly make any (runtime/hostprocess.py)."""
    content = program(start("(drop (memory.grow (i32.const 100)))"))
    for _ in range(40):  # tables that grow by doubling have grown
        runner.outcome(content)
    runner.wait_idle()
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(20):
            runner.outcome(content)
        runner.wait_idle()
        gc.collect()
        left = [repr(thing) for thing in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert left == []


def test_small_thread_is_refused(runner: Runner) -> None:
    """A guest on it could run off the end of the stack and take the process down."""
    before = threading.stack_size(1 << 20)
    try:
        process = runner.spawn(program(start("")), stack_bytes=1 << 20)
    finally:
        threading.stack_size(before)
    assert process.wait_exit(30) == Exited(126)
    assert "KiB of stack" in runner.lines[-1]
