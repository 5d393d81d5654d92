"""Signals of every kind from several threads at once at guests with code: nobody hangs, nobody is
left, and every process ends in the way its signals say.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from process_guests import LONG, World

from balenawasm.engine.code_cache import CodeCache
from balenawasm.kernel.outcome import Signaled
from balenawasm.wasi.errno import GuestError

if TYPE_CHECKING:
    from pathlib import Path

USR1, USR2, CHLD = int(signal.SIGUSR1), int(signal.SIGUSR2), int(signal.SIGCHLD)
CATCH = " ".join(
    f"(drop (call $action (i32.const {signo}) (i32.const 2) (i32.const {flags})))"
    for signo, flags in ((USR1, 0), (USR2, 0x10000000), (CHLD, 0x50000000))
)
READY = "(drop (call $note (i32.const 1)))"
HANDLER = """(global $n (mut i32) (i32.const 0))
  (func (export "__balenawasm_signal") (param i32)
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (drop (call $raise (i32.const 0))))"""
BODIES = {
    "computes": "(loop $l (br $l))",
    "sleeps": "(loop $l (drop (call $pause)) (br $l))",
    "reads": "(loop $l (drop (call $read)) (br $l))",
    "raises": f"(loop $l (drop (call $raise (i32.const {USR1}))) (br $l))",
    "spawns": "(loop $l (drop (call $vfork)) (drop (call $_exit (i32.const 0)))"
    " (drop (call $wait)) (br $l))",
    "execs": "(loop $l (drop (call $vfork)) (drop (call $exec (i32.const 1)))"
    " (drop (call $wait)) (br $l))",
    "times": "(drop (call $action (i32.const 14) (i32.const 2) (i32.const 0)))"
    " (drop (call $alarm (i64.const 1000000) (i64.const 1000000))) (loop $l (br $l))",
}
HARMLESS = (USR1, USR2, CHLD, signal.SIGCONT, signal.SIGWINCH)
STOPS = (signal.SIGSTOP, signal.SIGCONT, signal.SIGCONT)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(CodeCache(tmp_path / "native"))
    world.program("1", '(func (export "_start"))')
    for name, body in BODIES.items():
        world.program(name, f'{HANDLER} (func (export "_start") {CATCH} {READY} {body})')
    return world


def storm(world: World, seconds: float, seed: int) -> None:
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        living = world.kernel.processes.all()
        for process in chance.sample(living, min(4, len(living))):
            process.signal(chance.choice(HARMLESS if chance.random() < 0.7 else STOPS))
            if process.parent is not None and chance.random() < 0.05:
                process.signal(signal.SIGTERM)


def run_storm(world: World, seconds: float) -> None:
    processes = [world.spawn(name) for name in BODIES]
    with world.noted:
        assert world.noted.wait_for(lambda: len(world.notes) == len(BODIES), LONG)
    threads = [threading.Thread(target=storm, args=(world, seconds, seed)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG + seconds)
        assert not thread.is_alive()
    for process in processes:
        process.signal(signal.SIGCONT)
        assert process.outcome is None or process.outcome == Signaled(signal.SIGTERM), (
            process,
            world.lines,
        )
        if process.outcome is None:
            process.signal(signal.SIGTERM)
            assert process.wait_exit(LONG) == Signaled(signal.SIGTERM), process
    world.kernel.end_all()
    assert world.kernel.wait_all(LONG)
    assert len(world.kernel.processes) == 0
    with pytest.raises(GuestError):
        world.spawn("1")


def test_a_signal_storm(world: World) -> None:
    run_storm(world, 1.5)


@pytest.mark.long
def test_a_long_signal_storm(world: World) -> None:
    run_storm(world, 60.0)
