"""What the engine's tests run: tiny WAT programs over a fake table, in processes without files."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

from balenawasm.engine.wat import wat_to_wasm
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.outcome import ExitRequest, Outcome
from balenawasm.kernel.process import Process
from balenawasm.kernel.workers import WorkerPool
from balenawasm.personality.syscall import Syscall
from balenawasm.vfs.node import Content
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.engine.machine import Machine

MODULE = "wasi_snapshot_preview1"


def proc_exit(process: Process, code: int) -> int:
    raise ExitRequest(code)


def fd_close(process: Process, fd: int) -> int:
    """Raises what its argument says."""
    match fd:
        case 1:
            raise GuestError(Errno.EBADF)
        case 2:
            raise FileNotFoundError(2, "no")
        case 3:
            raise KeyError("bug")
        case 4:
            raise KeyboardInterrupt
        case 5:
            process.memory.write_u32(0xFFFF_FFF0, 1)
    return 0


def clock_time_get(process: Process, clock: int, precision: int, result: int) -> int:
    process.memory.write_u64(result, precision)
    return 0


def sched_yield(process: Process) -> int:
    process.wait((), None)
    return 0


CALLS = (
    Syscall("proc_exit", "i", proc_exit),
    Syscall("fd_close", "i", fd_close),
    Syscall("clock_time_get", "iqi", clock_time_get),
    Syscall("sched_yield", "", sched_yield),
)
TABLES = {MODULE: {call.name: call for call in CALLS}, "wasi_unstable": {"proc_exit": CALLS[0]}}

IMPORTS = f"""
  (import "{MODULE}" "proc_exit" (func $proc_exit (param i32)))
  (import "{MODULE}" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "{MODULE}" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "{MODULE}" "sched_yield" (func $sched_yield (result i32)))
"""


def program(body: str, *, identity: str | None = "", imports: str = IMPORTS) -> Content:
    """A module with a memory and `body`. It counts as immutable unless `identity` is None."""
    wasm = wat_to_wasm(f'(module {imports} (memory (export "memory") 1 200) {body})')
    if identity == "":
        identity = "test:" + hashlib.sha256(wasm).hexdigest()
    return Content(identity, memoryview(wasm))


def start(code: str) -> str:
    return f'(func (export "_start") {code})'


class Runner:
    """Starts guests as the kernel does: each on a worker thread."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.lines: list[str] = []
        self.before: Callable[[], object] = lambda: None
        """Called in the guest's thread before it starts."""
        machine.log = self.lines.append
        self._pid = 0
        self._busy: list[threading.Event] = []

    def spawn(
        self, content: Content, *, limits: Limits | None = None, stack_bytes: int = 8 << 20
    ) -> Process:
        self._pid += 1
        process = Process(
            pid=self._pid,
            argv=(b"guest",),
            environ=(),
            cwd=b"/",
            namespace=None,
            limits=limits or Limits(),
        )
        left = threading.Event()
        self._busy.append(left)

        def job() -> None:
            process.begin()
            self.before()
            try:
                self.machine.run(process, content)
            finally:
                left.set()

        WorkerPool(stack_bytes, idle_seconds=0.0).submit(job)
        return process

    def outcome(self, content: Content, *, limits: Limits | None = None) -> Outcome:
        outcome = self.spawn(content, limits=limits).wait_exit(60)
        assert outcome is not None
        return outcome

    def wait_idle(self) -> None:
        """Until every guest's thread has left the machine, its store freed."""
        for left in self._busy:
            assert left.wait(30)
        self._busy.clear()
