"""Cost of one system call, ours against wasmtime's own WASI, and of a guest's start and end.

Small guests repeat one call; the time of an empty loop is taken off. Each side in turn, the fastest
of several runs, nanoseconds a call and the ratio. Pipes and sockets are ours alone: one byte there
and back again through a pair in the same guest. Below: an empty program from spawn to exit, and
what passes between a signal and the end of a guest that computes.

With --python-only the C accelerator is left out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from wasi_sides import SIDES, ours

from balenawasm.engine.code_cache import CodeCache
from balenawasm.engine.machine import Machine
from balenawasm.engine.wat import wat_to_wasm
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.process import Process
from balenawasm.kernel.workers import WorkerPool
from balenawasm.vfs.node import Content

FILE_BLOCKS = 1024
BLOCK = 4096

MODULE = """(module
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_seek"
    (func $fd_seek (param i32 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get"
    (func $fd_fdstat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv"
    (func $sock_recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send"
    (func $sock_send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 16) "data")
  (data (i32.const 32) "\\00\\80\\00\\00\\00\\10\\00\\00")  ;; iovec: 4 KiB at 32768
  (data (i32.const 64) "\\00\\80\\00\\00\\01\\00\\00\\00")  ;; iovec: 1 byte at 32768
  (data (i32.const 136) "\\02\\00\\00\\00\\00\\00\\00\\00\\02")  ;; subscription: writing to fd 2
  (func $must (param i32) (if (local.get 0) (then unreachable)))
  (func $open (result i32)
    (call $must (call $path_open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 4)
      (i32.const 0) (i64.const 6) (i64.const 0) (i32.const 0) (i32.const 8)))
    (i32.load (i32.const 8)))
  (func (export "_start") (local $i i32) (local $fd i32)
    (local.set $fd (call $open))
    (local.set $i (i32.const %(count)d))
    (loop $again
      %(body)s
      (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))))
"""

READ = f"""
  (call $must (call $fd_read (local.get $fd) (i32.const 32) (i32.const 1) (i32.const 8)))
  (if (i32.eqz (i32.rem_u (local.get $i) (i32.const {FILE_BLOCKS}))) (then
    (call $must (call $fd_seek (local.get $fd) (i64.const 0) (i32.const 0) (i32.const 48)))))
"""

ONE_BYTE = "(i32.const 64) (i32.const 1)"
CALLS = {
    "clock_time_get": (
        200_000,
        "(call $must (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 8)))",
    ),
    "fd_read 4 KiB": (50_000, READ),
    "path_open+close": (20_000, "(call $must (call $fd_close (call $open)))"),
    "fd_fdstat_get": (
        100_000,
        "(call $must (call $fd_fdstat_get (local.get $fd) (i32.const 256)))",
    ),
    "fd_write 1 byte": (
        50_000,
        f"(call $must (call $fd_write (i32.const 2) {ONE_BYTE} (i32.const 8)))",
    ),
    "poll_oneoff": (
        50_000,
        (
            "(call $must (call $poll_oneoff (i32.const 128) (i32.const 512) (i32.const 1)"
            " (i32.const 8)))"
        ),
    ),
}
OURS_ALONE = {
    "pipe write+read": (
        50_000,
        (
            f"(call $must (call $fd_write (i32.const 11) {ONE_BYTE} (i32.const 8)))"
            f"(call $must (call $fd_read (i32.const 10) {ONE_BYTE} (i32.const 8)))"
        ),
    ),
    "sock_send+recv": (
        50_000,
        (
            f"(call $must (call $sock_send (i32.const 13) {ONE_BYTE} (i32.const 0) (i32.const 8)))"
            f"(call $must (call $sock_recv (i32.const 12) {ONE_BYTE} (i32.const 0) (i32.const 8)"
            " (i32.const 16)))"
        ),
    ),
}


def per_call(side: str, name: str, directory: Path, rounds: int) -> float:
    """Nanoseconds of one call."""
    count, body = {**CALLS, **OURS_ALONE}[name]
    seconds = []
    for title, code in (("loop", body), ("empty", "(nop)")):
        program = directory / f"{name.replace(' ', '-')}-{title}.wasm"
        program.write_bytes(wat_to_wasm(MODULE % {"count": count, "body": code}))
        run = SIDES[side](program, [], directory, {b"data": directory / "files" / "data"})
        seconds.append(min(run() for _ in range(rounds)))
    return (seconds[0] - seconds[1]) / count * 1e9


def start_and_kill(directory: Path, rounds: int) -> tuple[float, float]:
    """Median seconds from spawn to exit, and from SIGKILL to the end of a loop."""
    program = directory / "life.wasm"
    program.write_bytes(
        wat_to_wasm('(module (memory (export "memory") 1) (func (export "_start")))')
    )
    run = SIDES["ours"](program, [], directory, {})
    run()
    starts = [run() for _ in range(rounds)]
    machine = Machine(CodeCache(directory), {})
    loop = wat_to_wasm('(module (func (export "_start") (loop $l br $l)))')
    content = Content("benchmark:loop", memoryview(loop))
    machine.load(content)
    kills = []
    for _ in range(rounds):
        process = Process(
            pid=1, argv=(b"loop",), environ=(), cwd=b"/", namespace=None, limits=Limits()
        )
        WorkerPool(Limits().stack_bytes).submit(partial(machine.run, process, content))
        time.sleep(0.002)
        sent = time.perf_counter()
        process.signal(9)
        process.wait_exit()
        kills.append(time.perf_counter() - sent)
    return statistics.median(starts), statistics.median(kills)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python-only", action="store_true")
    options = parser.parse_args()
    SIDES["ours"] = partial(ours, accelerated=not options.python_only)
    sys.setswitchinterval(0.0002)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "files").mkdir()
        (directory / "files" / "data").write_bytes(bytes(FILE_BLOCKS * BLOCK))
        for call in OURS_ALONE:
            cost_of_ours = per_call("ours", call, directory, options.rounds)
            print(f"{call:16} ours {cost_of_ours:8.0f} ns")
        for call in CALLS:
            cost = {side: per_call(side, call, directory, options.rounds) for side in SIDES}
            print(
                f"{call:16} ours {cost['ours']:8.0f} ns   wasmtime {cost['wasmtime']:8.0f} ns"
                f"   ratio {cost['ours'] / cost['wasmtime']:.2f}"
            )
        start, kill = start_and_kill(directory, options.rounds * 20)
        print(f"spawn to exit    {start * 1e6:8.0f} us")
        print(f"kill of a loop   {kill * 1e6:8.0f} us")


if __name__ == "__main__":
    main()
