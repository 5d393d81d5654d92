"""Preview 1 from the guest's side: WebAssembly programs through engine, kernel and pipes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from balenawasm.engine.code_cache import CodeCache
from balenawasm.engine.machine import Machine
from balenawasm.engine.wat import wat_to_wasm
from balenawasm.kernel.kernel import Kernel
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.outcome import Exited, Outcome, Signaled, Trapped
from balenawasm.kernel.pipe import make_pipe
from balenawasm.personality.preview1 import TABLE
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.signatures import MODULE, SIGNATURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from balenawasm.kernel.process import Process
    from balenawasm.vfs.description import Description

LONG = 60.0
TYPES = {"i": "i32", "q": "i64"}


def imports(*names: str) -> str:
    lines = []
    for name in names:
        parameters = " ".join(TYPES[letter] for letter in SIGNATURES[name])
        result = "" if name == "proc_exit" else "(result i32)"
        lines.append(f'(import "{MODULE}" "{name}" (func ${name} (param {parameters}) {result}))')
    return "\n".join(lines)


def program(names: str, start: str, *, data: str = "", pages: str = "1") -> bytes:
    """A module that imports `names` and whose `_start` is `start`."""
    return wat_to_wasm(f"""(module
        {imports(*names.split())}
        (memory (export "memory") {pages})
        {data}
        (func (export "_start") (local $i i32) {start}))""")


def exit_with(expression: str) -> str:
    return f"(call $proc_exit {expression})"


class Container:
    def __init__(self, machine: Machine) -> None:
        self.root = Tmpfs(32 << 20).root
        self.lines: list[str] = []
        self.kernel = Kernel(
            namespace=Namespace(self.root),
            executor=machine,
            hostname="box",
            limits=Limits(),
            log=self.lines.append,
        )
        self._count = 0

    def start(
        self, wasm: bytes, *argv: bytes, fds: Mapping[int, Description] | None = None
    ) -> Process:
        self._count += 1
        name = b"p%d" % self._count
        self.root.create(name).open(NOBODY, OpenFlags(write=True)).write(NOBODY, [memoryview(wasm)])
        return self.kernel.spawn([b"./" + name, *argv], [b"A=1"], b"/", fds or {})

    def run(self, wasm: bytes, *argv: bytes) -> tuple[Outcome | None, bytes]:
        """The outcome and what it wrote to fd 1."""
        reading, writing = make_pipe()
        reading.retain()
        outcome = self.start(wasm, *argv, fds={1: writing}).wait_exit(LONG)
        os.set_blocking(reading.host_fd, True)
        chunks = []
        while chunk := os.read(reading.host_fd, 65536):
            chunks.append(chunk)
        reading.release()
        return outcome, b"".join(chunks)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, accelerated: bool) -> Machine:
    cache = CodeCache(tmp_path_factory.mktemp("native"))
    return Machine(cache, {MODULE: TABLE}, accelerated=accelerated)


@pytest.fixture
def container(machine: Machine) -> Iterator[Container]:
    container = Container(machine)
    yield container
    container.kernel.kill_all(signal.SIGKILL)
    assert container.kernel.wait_all(LONG)


def test_every_function_can_be_imported(container: Container) -> None:
    assert container.run(program(" ".join(SIGNATURES), "")) == (Exited(0), b"")


def test_writing(container: Container) -> None:
    wasm = program(
        "fd_write",
        "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 100)))",
        data=r'(data (i32.const 0) "\20\00\00\00\05\00\00\00\25\00\00\00\01\00\00\00")'
        r'(data (i32.const 32) "hello\n")',
    )
    assert container.run(wasm) == (Exited(0), b"hello\n")


def test_arguments_reach_the_guest(container: Container) -> None:
    wasm = program(
        "args_sizes_get args_get fd_write proc_exit",
        """
        (if (call $args_sizes_get (i32.const 0) (i32.const 4)) (then unreachable))
        (if (call $args_get (i32.const 64) (i32.const 256)) (then unreachable))
        (i32.store (i32.const 16) (i32.const 256))
        (i32.store (i32.const 20) (i32.load (i32.const 4)))
        (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
        """
        + exit_with("(i32.load (i32.const 0))"),
    )
    assert container.run(wasm, b"one", b"", b"\xff") == (Exited(4), b"./p1\0one\0\0\xff\0")


@pytest.mark.parametrize(("code", "status"), [(0, 0), (42, 42), (-1, 255), (256, 0)])
def test_exit_codes(container: Container, code: int, status: int) -> None:
    outcome, _ = container.run(program("proc_exit", exit_with(f"(i32.const {code})")))
    assert outcome == Exited(code & 0xFFFF_FFFF)
    assert outcome.status == status


def test_no_code_after_the_exit(container: Container) -> None:
    wasm = program("proc_exit", exit_with("(i32.const 3)") + "unreachable")
    assert container.run(wasm)[0] == Exited(3)


def test_a_signal_of_its_own(container: Container) -> None:
    wasm = program("proc_raise", "(drop (call $proc_raise (i32.const 6))) unreachable")
    assert container.run(wasm)[0] == Signaled(signal.SIGABRT)


def test_pointers_into_memory_that_grew_meanwhile(container: Container) -> None:
    """The host learns of the growth when its own check misses, in each kind of access."""
    wasm = program(
        "clock_time_get random_get fd_write proc_exit",
        """
        (if (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 65536))
            (then) (else unreachable))
        (drop (memory.grow (i32.const 1)))
        (if (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 131064))
            (then unreachable))
        (drop (memory.grow (i32.const 1)))
        (if (call $random_get (i32.const 131072) (i32.const 65536)) (then unreachable))
        (if (call $random_get (i32.const 131072) (i32.const 65537)) (then) (else unreachable))
        (drop (memory.grow (i32.const 1)))
        (i32.store (i32.const 262136) (i32.const 262143))
        (i32.store (i32.const 262140) (i32.const 1))
        (if (call $fd_write (i32.const 1) (i32.const 262136) (i32.const 1) (i32.const 8))
            (then unreachable))
        """
        + exit_with("(i64.eqz (i64.load (i32.const 131064)))"),
        pages="1 100",
    )
    assert container.run(wasm) == (Exited(0), b"\0")


def test_a_bad_pointer_is_an_errno_and_no_trap(container: Container) -> None:
    wasm = program(
        "fd_write proc_exit",
        exit_with("(call $fd_write (i32.const 1) (i32.const -8) (i32.const 1) (i32.const 0))"),
    )
    assert container.run(wasm)[0] == Exited(21)


def test_a_program_without_memory(container: Container) -> None:
    wasm = wat_to_wasm(f"""(module {imports("clock_time_get", "proc_exit")}
        (func (export "_start") (call $proc_exit
            (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 0)))))""")
    assert container.run(wasm)[0] == Exited(21)


def test_a_trap_ends_this_guest_only(container: Container) -> None:
    outcome, _ = container.run(program("", "unreachable"))
    assert isinstance(outcome, Trapped)
    assert outcome.status == 134
    assert container.run(program("", ""))[0] == Exited(0)


BLOCKING = {
    "loop": program("", "(loop $l (br $l))"),
    "read": program(
        "fd_read",
        "(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 8))"
        "(drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))",
    ),
    "sleep": program(
        "poll_oneoff",
        "(i32.store (i32.const 16) (i32.const 1)) (i64.store (i32.const 24) (i64.const -1))"
        "(drop (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))",
    ),
    "poll": program(
        "poll_oneoff",
        "(i32.store8 (i32.const 8) (i32.const 1))"
        "(drop (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))",
    ),
    "calls": program("sched_yield", "(loop $l (drop (call $sched_yield)) (br $l))"),
}


@pytest.mark.parametrize("kind", sorted(BLOCKING))
def test_a_kill_reaches_a_guest_wherever_it_is(container: Container, kind: str) -> None:
    reading, writing = make_pipe()
    writing.retain()
    process = container.start(BLOCKING[kind], fds={0: reading})
    time.sleep(0.02)
    assert process.outcome is None
    process.signal(signal.SIGTERM)
    assert process.wait_exit(LONG) == Signaled(signal.SIGTERM)
    writing.release()


def test_a_kill_before_the_program_has_started(container: Container) -> None:
    for _ in range(20):
        process = container.start(BLOCKING["loop"])
        process.signal(signal.SIGKILL)
        assert process.wait_exit(LONG) == Signaled(signal.SIGKILL)


COPY = program(
    "fd_read fd_write proc_exit",
    """
    (loop $more
      (i32.store (i32.const 0) (i32.const 64))
      (i32.store (i32.const 4) (i32.const 5000))
      (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
          (then (call $proc_exit (i32.const 1))))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12))
          (then (call $proc_exit (i32.const 2))))
      (br_if $more (i32.load (i32.const 8))))
    """,
)


def test_a_pipeline(container: Container) -> None:
    """Three guests, each reading what the one before it writes; the pipes close behind them."""
    data = os.urandom(400_000)
    reading, writing = make_pipe()
    writing.retain()
    processes = []
    for _ in range(3):
        next_reading, next_writing = make_pipe()
        processes.append(container.start(COPY, fds={0: reading, 1: next_writing}))
        reading = next_reading
    reading.retain()
    received = bytearray()
    os.set_blocking(reading.host_fd, True)
    sent = 0
    while len(received) < len(data):
        if sent < len(data):
            with contextlib.suppress(BlockingIOError):
                sent += os.write(writing.host_fd, data[sent : sent + 30_000])
        received += os.read(reading.host_fd, 65536)
    writing.release()
    assert received == data
    assert os.read(reading.host_fd, 1) == b""
    assert [process.wait_exit(LONG) for process in processes] == [Exited(0)] * 3
    reading.release()


def test_many_at_once(container: Container) -> None:
    wasm = program(
        "sched_yield proc_exit",
        """(local.set $i (i32.const 50))
        (loop $l (drop (call $sched_yield))
          (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))"""
        + exit_with("(i32.const 5)"),
    )
    processes = [container.start(wasm) for _ in range(60)]
    assert {process.wait_exit(LONG) for process in processes} == {Exited(5)}
    assert container.lines == []
