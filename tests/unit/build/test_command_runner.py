"""Commands in runners of a zygote of the build's own."""

from __future__ import annotations

import os
import signal
import time

import pytest

from balenawasm.build.command_runner import CommandError, CommandRunner
from balenawasm.engine.wat import wat_to_wasm
from balenawasm.errors import BalenaWasmError
from balenawasm.runtime.bundle import Bundle
from balenawasm.runtime.home import Home
from tests.conftest import processes_of, wait_for_no_process

PRINT = r"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 4)
  (data (i32.const 0) "\10\00\00\00\06\00\00\00\16\00\00\00\04\00\00\00one\n\ff\ntwo\n")
  (func (export "_start")
    (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 60)))
    (drop (call $w (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 60)))
    (call $exit (i32.const 7))))
"""
LONG = r"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 0) "\10\00\00\00\00\80\00\00")
  (func (export "_start")
    (local $left i32)
    (local.set $left (i32.const 16))
    (memory.fill (i32.const 16) (i32.const 120) (i32.const 32768))
    (loop $again
      (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))
"""
SPIN = '(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))'


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home").create()


@pytest.fixture
def runner(home):
    made = CommandRunner(home)
    yield made
    made.close()
    assert not wait_for_no_process(home.root)


def run(runner, tmp_path, text, show=lambda line: None):
    program = tmp_path / "program.wasm"
    program.write_bytes(wat_to_wasm(text))
    with runner.place() as place:
        bundle = Bundle(id=place.id, program=str(program), argv=(b"program",), output_pipe=True)
        return runner.run(place, bundle, show)


def files_of(home):
    folders = (home.containers, home.run / "containers", home.run / "networks")
    return [path.name for folder in folders for path in folder.glob(f"run-{os.getpid()}-*")]


def test_both_outputs_come_in_order_and_as_lines(home, runner, tmp_path):
    lines = []
    for _ in range(3):
        end = run(runner, tmp_path, PRINT, lines.append)
        assert (end.code, end.started) == (7, True)
    shown = [line for line in lines if not line.startswith("balenawasm: compiling")]
    assert shown == ["one", "\ufffd", "two"] * 3
    assert files_of(home) == []


def test_a_line_without_an_end_does_not_grow_for_ever(runner, tmp_path):
    lines = []
    assert run(runner, tmp_path, LONG, lines.append).code == 0
    shown = "".join(line for line in lines if line.startswith("x"))
    assert shown == "x" * 524288
    assert max(map(len, lines)) <= 131072


def test_what_cannot_be_started_is_told_apart(runner, tmp_path):
    with runner.place() as place:
        bundle = Bundle(id=place.id, program=str(tmp_path / "no"), argv=(b"x",), output_pipe=True)
        end = runner.run(place, bundle, lambda line: None)
    assert (end.code, end.started) == (127, False)
    assert "there is no file" in end.reason


def test_without_a_state_directory_nothing_runs():
    runner = CommandRunner(None)
    with pytest.raises(CommandError, match="state directory"), runner.place():
        pass
    runner.prepare()
    runner.close()


def test_an_interrupt_ends_the_command(home, runner, tmp_path, monkeypatch):
    """Ctrl-C comes while the builder waits for output: here, as an error of its reader."""

    def interrupt(*_):
        raise KeyboardInterrupt

    runner.prepare()
    monkeypatch.setattr("balenawasm.build.command_runner._follow", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(runner, tmp_path, SPIN)
    assert not wait_for_no_process(home.root)
    assert files_of(home) == []


def test_a_lost_zygote_is_told(home, runner, tmp_path):
    runner.prepare()
    deadline = time.monotonic() + 20
    while not (zygotes := processes_of(home.root)):
        assert time.monotonic() < deadline
    for pid in zygotes:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(BalenaWasmError, match=r"ended unexpectedly|channel"):
        run(runner, tmp_path, SPIN)
    assert files_of(home) == []


def test_what_killed_builders_left_is_swept(home, runner):
    left = home.containers / "run-999999999-abc"
    left.mkdir()
    runner.prepare()
    assert not left.exists()
