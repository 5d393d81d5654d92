"""Guests in WebAssembly text that use processes and signals, through an import module of their own:
the kernel's and the engine's part is tested, without any personality's encoding.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from balenawasm.engine.machine import Machine
from balenawasm.engine.wat import wat_to_wasm
from balenawasm.kernel.kernel import Kernel
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.signals import DEFAULT, IGNORE, caught
from balenawasm.personality.preview1 import TABLE
from balenawasm.personality.syscall import Syscall
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.vfs.path import Namespace

if TYPE_CHECKING:
    from balenawasm.engine.code_cache import CodeCache
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.node import Node

MIB = 1 << 20
LONG = 30.0

IMPORTS = """
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "test" "action" (func $action (param i32 i32 i32) (result i32)))
  (import "test" "raise" (func $raise (param i32) (result i32)))
  (import "test" "mask" (func $mask (param i64) (result i32)))
  (import "test" "pause" (func $pause (result i32)))
  (import "test" "suspend" (func $suspend (param i64) (result i32)))
  (import "test" "read" (func $read (result i32)))
  (import "test" "note" (func $note (param i32) (result i32)))
  (import "test" "vfork" (func $vfork (result i32)))
  (import "test" "_exit" (func $_exit (param i32) (result i32)))
  (import "test" "exec" (func $exec (param i32) (result i32)))
  (import "test" "wait" (func $wait (result i32)))
  (import "test" "alarm" (func $alarm (param i64 i64) (result i32)))
  (memory (export "memory") 16)
"""


class World:
    """A kernel with a machine, and what its guests have noted."""

    def __init__(self, cache: CodeCache) -> None:
        self.lines: list[str] = []
        self.notes: list[tuple[int, int]] = []
        """(pid, number)."""
        self.noted = threading.Condition()
        self.readable = threading.Event()
        self.machine = Machine(cache, {"wasi_snapshot_preview1": TABLE, "test": self._table()})
        self.machine.log = self.lines.append
        self.root: Node = Tmpfs(8 * MIB).root
        self.kernel = Kernel(
            namespace=Namespace(self.root),
            executor=self.machine,
            hostname="test",
            limits=Limits(memory_bytes=16 * MIB),
            log=self.lines.append,
        )

    def put(self, name: str, data: bytes) -> None:
        file = self.root.create(name.encode())
        file.open(NOBODY, OpenFlags(write=True)).write(NOBODY, [memoryview(data)])

    def program(self, name: str, body: str) -> None:
        self.put(name, wat_to_wasm(f"(module {IMPORTS} {body})"))

    def spawn(self, name: str, *arguments: str, parent: Process | None = None) -> Process:
        argv = [f"/{name}".encode(), *(a.encode() for a in arguments)]
        return self.kernel.spawn(argv, [], b"/", {}, parent=parent)

    def numbers(self) -> list[int]:
        return [number for _, number in self.notes]

    def await_note(self, number: int) -> None:
        with self.noted:
            assert self.noted.wait_for(lambda: number in self.numbers(), LONG), self.notes

    def _table(self) -> dict[str, Syscall]:
        world = self

        def action(process: Process, signo: int, kind: int, flags: int) -> int:
            chosen = (DEFAULT, IGNORE, caught(flags))[kind]
            process.signals.set_action(signo, chosen)
            return 0

        def raise_(process: Process, signo: int) -> int:
            process.signal(signo)
            return 0

        def mask(process: Process, signals: int) -> int:
            process.signals.set_mask(signals)
            return 0

        def pause(process: Process) -> int:
            process.wait(())
            return 0

        def suspend(process: Process, signals: int) -> int:
            process.suspend(signals)

        def read(process: Process) -> int:
            while not world.readable.is_set():
                process.wait((), 5_000_000_000 if world.readable.is_set() else None)
            return 0

        def note(process: Process, number: int) -> int:
            with world.noted:
                world.notes.append((process.pid, number))
                world.noted.notify_all()
            return 0

        def vfork(process: Process) -> int:
            return process.kernel.vfork(process).pid

        def _exit(process: Process, code: int) -> int:
            process.kernel.vfork_exit(process, code)
            return 0

        def execute(process: Process, number: int) -> int:
            process.kernel.execute(process, b"/%d" % number, [b"%d" % number, b"x"], [b"A=1"])
            return 0

        def wait(process: Process) -> int:
            found = process.kernel.processes.wait(process)
            assert found is not None
            return found[1].wait_status

        def alarm(process: Process, value: int, interval: int) -> int:
            process.kernel.set_timer(process, value, interval)
            return 0

        calls = {
            "action": ("iii", action),
            "raise": ("i", raise_),
            "mask": ("q", mask),
            "read": ("", read),
            "note": ("i", note),
            "vfork": ("", vfork),
            "_exit": ("i", _exit),
            "exec": ("i", execute),
            "wait": ("", wait),
            "alarm": ("qq", alarm),
        }
        table = {n: Syscall(n, s, handler, delivers=True) for n, (s, handler) in calls.items()}
        for name, signature, handler in (("pause", "", pause), ("suspend", "q", suspend)):
            table[name] = Syscall(name, signature, handler, delivers=True, restarts=False)
        return table
