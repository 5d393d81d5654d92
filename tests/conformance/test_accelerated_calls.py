"""The C accelerator against its reference, the Python handlers: the same calls, the same memory.

Guests are straight-line programs of random calls, valid and hostile, over every kind of file that
the accelerator knows and some that it does not. Afterwards the whole memory is compared.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import stat
import struct
import time
from typing import TYPE_CHECKING

import pytest

from balenawasm.disk.entry import Entry
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.disk.ext4.writer import write_image
from balenawasm.engine import accelerator
from balenawasm.engine.code_cache import CodeCache
from balenawasm.engine.machine import Machine
from balenawasm.engine.wat import wat_to_wasm
from balenawasm.kernel.kernel import Kernel
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.network import NetworkStack
from balenawasm.kernel.outcome import Exited, Outcome, Signaled
from balenawasm.kernel.pipe import make_pipe
from balenawasm.kernel.program import Program
from balenawasm.kernel.stream import Stream
from balenawasm.personality import posix
from balenawasm.personality.preview1 import TABLE
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.image import ImageFs
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.node import Content
from balenawasm.vfs.path import Namespace
from balenawasm.wasi import flags as w
from balenawasm.wasi.signatures import MODULE, SIGNATURES
from tests.conformance.test_preview1_programs import imports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from balenawasm.kernel.process import Process
    from balenawasm.personality.syscall import Syscall
    from balenawasm.vfs.description import Description

pytestmark = pytest.mark.skipif(
    accelerator.load() is None, reason="the accelerator has not been built (no C compiler?)"
)

LONG = 60.0
PAGE = 65536
RESULTS, IOVECS, TEXTS, SCRATCH = 0, 8192, 12288, 32768
SUBSCRIPTIONS = PAGE + 16384
"""Where no buffer reaches: each eight have one that is over at once, so no call blocks."""
CLOCK_AT = PAGE + 8192
"""Where times go; not compared."""
DUMP = 60000
"""Bytes of memory that are compared: as much as a pipe takes."""
NAMES = (
    "fd_read fd_write fd_seek fd_tell fd_fdstat_get fd_fdstat_set_flags fd_fdstat_set_rights"
    " fd_close fd_renumber path_open sock_recv sock_send poll_oneoff clock_time_get"
    " environ_sizes_get environ_get"
)
POLITE = 10
ENVIRON = (b"PATH=/bin", b"EMPTY=", "ÄÖ=ü".encode())
PATHS = (b"image/data", b"vol/file", b"mem")
DATA = bytes(range(256)) * 64


class World:
    """A container with a machine, with or without the accelerator, and guests that use it."""

    def __init__(self, place: Path, cache: CodeCache, *, accelerated: bool) -> None:
        self.handled = 0
        tables = {
            module: {name: self._counted(call) for name, call in table.items()}
            for module, table in ((MODULE, TABLE), (posix.MODULE, posix.TABLE))
        }
        machine = Machine(cache, tables, accelerated=accelerated)
        machine.log = self._log
        self.lines: list[str] = []
        root = Tmpfs(1 << 22).root
        self.namespace = Namespace(root)
        self.stack = NetworkStack(loopback_directory=place / "loopback")
        self.kernel = Kernel(
            namespace=self.namespace,
            executor=machine,
            hostname="test",
            limits=Limits(),
            log=self._log,
        )
        (place / "vol").mkdir()
        (place / "vol" / "file").write_bytes(DATA)
        (place / "data").write_bytes(DATA)
        layer = place / "layer"
        with layer.open("wb") as out:
            mode = stat.S_IFREG | 0o644
            entry = Entry(path=b"data", mode=mode, size=len(DATA), source=place / "data")
            write_image([entry], out)
        self.namespace.mount(b"/vol", HostDirectory(place / "vol").root)
        self.namespace.mount(b"/image", ImageFs(Ext4Image(layer.read_bytes()), "test:layer").root)

    def _log(self, line: str) -> None:
        self.lines.append(line)

    def _counted(self, call: Syscall) -> Syscall:
        def handler(process: Process, *arguments: int) -> int:
            self.handled += 1
            answer: int = call.handler(process, *arguments)
            return answer

        return call._replace(handler=handler)

    def start(self, wasm: bytes, fds: Mapping[int, Description]) -> Process:
        program = Program(b"/guest", Content(None, memoryview(wasm)))
        return self.kernel.spawn([b"guest"], ENVIRON, b"/", fds, program=program)

    def close(self) -> None:
        self.kernel.kill_all(signal.SIGKILL)
        assert self.kernel.wait_all(LONG)
        self.stack.close()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CodeCache:
    return CodeCache(tmp_path_factory.mktemp("native"))


@pytest.fixture
def worlds(tmp_path: Path, cache: CodeCache) -> Iterator[tuple[World, World]]:
    """Without and with the accelerator."""
    both = []
    for name in ("python", "c"):
        (tmp_path / name).mkdir()
        both.append(World(tmp_path / name, cache, accelerated=name == "c"))
    yield both[0], both[1]
    for world in both:
        world.close()


READING = w.FD_READ | w.FD_SEEK | w.FD_TELL | w.FD_FDSTAT_SET_FLAGS | w.POLL_FD_READWRITE


def opening(path: int, result: int = SCRATCH) -> list[int]:
    """The arguments of path_open for one of PATHS: a layer's is read, one in memory made."""
    made = w.O_CREAT if path == 2 else 0
    rights = READING | (w.FD_WRITE if path else 0)
    return [3, 0, TEXTS + 16 * path, len(PATHS[path]), made, rights, 0, 0, result]


def call_of(name: str, signature: str, arguments: list[int]) -> str:
    """One call; its answer is on the stack."""
    constants = " ".join(
        f"({'i64' if letter == 'q' else 'i32'}.const {value})"
        for letter, value in zip(signature, arguments, strict=True)
    )
    return f"(call ${name} {constants})"


def text_of(name: str, arguments: list[int]) -> str:
    """One call of preview 1; its errno is on the stack."""
    return call_of(name, SIGNATURES[name], arguments)


class Choices:
    """What random calls are chosen by."""

    FDS: tuple[int, ...]
    """The fds of unlikely calls."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def pick(self, *choices: int) -> int:
        return self.random.choice(choices)

    def fd(self, *likely: int) -> int:
        if likely and self.random.random() < 0.9:
            return self.pick(*likely)
        return self.pick(*self.FDS)


class Calls(Choices):
    """Random calls."""

    FDS = (*2 * (0, 2, 4, 4, 5, 5, 6, 6, 7, 8, 9), 10, 3, 100, 1 << 31)

    def place(self) -> int:
        """Where a result goes: mostly somewhere harmless, sometimes at or over an end."""
        if self.random.random() < 0.97:
            return SCRATCH + self.random.randrange(20000)
        end = 2 * PAGE
        return self.pick(end - 8, end - 4, end - 3, end, 3 * PAGE - 8, (1 << 32) - 4, 0, IOVECS)

    def vectors(self) -> tuple[int, int]:
        if self.random.random() < 0.95:
            return IOVECS + 8 * self.random.randrange(200), self.pick(1, 1, 1, 2, 3, 0, 40)
        return self.pick(2 * PAGE - 8, 2 * PAGE, (1 << 32) - 8), self.pick(
            1, 2, 1024, 1025, 1 << 31
        )

    def one(self) -> tuple[str, list[int]]:
        name = self.random.choice(NAMES.split())
        name = self.random.choice(
            (name, *3 * ("fd_read", "fd_write", "sock_recv", "sock_send"), "fd_seek", "poll_oneoff")
        )
        arguments: dict[str, Callable[[], list[int]]] = {
            "fd_read": lambda: [self.fd(0, 4, 5, 6, 7, 8), *self.vectors(), self.place()],
            "fd_write": lambda: [self.fd(2, 4, 5, POLITE), *self.vectors(), self.place()],
            "fd_seek": lambda: [
                self.fd(6, 7, 8),
                self.pick(0, 1, 100, -1, -50, 16000, 1 << 62, -(1 << 63)),
                self.pick(0, 1, 2, 2, 1, 3, 1 << 31),
                self.place(),
            ],
            "fd_tell": lambda: [self.fd(), self.place()],
            "fd_fdstat_get": lambda: [self.fd(), self.place()],
            "fd_fdstat_set_flags": lambda: [self.fd(), w.NONBLOCK | self.pick(0, 0, w.APPEND, 64)],
            "fd_fdstat_set_rights": lambda: [
                self.fd(),
                w.RIGHTS_ALL & ~(1 << self.random.randrange(60))
                if self.pick(0, 1)
                else 0x0820_007F,
                0,
            ],
            "fd_close": lambda: [self.fd() if self.pick(0, 0, 0, 1) else 77],
            "fd_renumber": lambda: [self.pick(6, 7, 8, 9, 10, 77), self.pick(6, 7, 8, 9, 10, 77)],
            "path_open": lambda: opening(self.pick(0, 1, 2), self.place()),
            "sock_recv": lambda: [
                *(self.fd(4, 5), *self.vectors(), self.pick(0, 0, 0, 0, 1, 1, 2, 3, 4)),
                *(self.place(), self.place()),
            ],
            "sock_send": lambda: [
                self.fd(4, 5),
                *self.vectors(),
                self.pick(0, 0, 0, 1),
                self.place(),
            ],
            "poll_oneoff": lambda: [
                SUBSCRIPTIONS + 48 * self.random.randrange(40),
                self.pick(SCRATCH, SCRATCH + 5, 2 * PAGE - 64),
                self.pick(8, 8, 8, 0, 600, 5000),
                self.place(),
            ],
            "environ_sizes_get": lambda: [self.place(), self.place()],
            "environ_get": lambda: [self.place(), self.place()],
            "clock_time_get": lambda: [self.pick(0, 1, 9), 0, self.pick(CLOCK_AT, 3 * PAGE - 4)],
        }
        return name, arguments[name]()

    def memory(self) -> bytes:
        """What the memory starts with: iovecs, paths, subscriptions."""
        data = bytearray(SUBSCRIPTIONS + 48 * 60)
        for index in range(300):
            start, length = self.random.randrange(DUMP), self.pick(0, 1, 7, 64, 300, 4096)
            if self.random.random() < 0.03:
                start, length = self.pick(2 * PAGE - 5, 1 << 31), self.pick(5, 6, 1 << 31)
            struct.pack_into("<II", data, IOVECS + 8 * index, start, length)
        for index, path in enumerate(PATHS):
            data[TEXTS + 16 * index : TEXTS + 16 * index + len(path)] = path
        for index in range(60):
            at = SUBSCRIPTIONS + 48 * index
            if index % 8 == 0:  # any eight in a row have one that is over at once
                struct.pack_into("<QB7xI4xQQH", data, at, index, 0, self.pick(0, 1), 0, 0, 0)
            else:
                kind = self.pick(1, 1, 1, 2, 2, 2, 2, 0)
                fd = self.pick(*4 * (0, 2, 4, 5, POLITE), 6, 8)
                struct.pack_into("<QB7xI4xQQH", data, at, index, kind, fd & 1, 1 << 40, 0, 0)
                if kind:
                    struct.pack_into("<I", data, at + 16, fd)
        return bytes(data)

    def module(self, count: int) -> bytes:
        """A guest that makes them, then writes its memory to fd 1."""
        calls = [("path_open", opening(path)) for path in (0, 0, 1, 2)]
        calls += [("fd_fdstat_set_flags", [fd, w.NONBLOCK]) for fd in (0, 2, 4, 5, POLITE)]
        calls += [self.one() for _ in range(count)]
        lines = []
        for index, (name, arguments) in enumerate(calls):
            lines.append(
                f"(i32.store (i32.const {RESULTS + 4 * index}) {text_of(name, arguments)})"
            )
            if name == "clock_time_get":  # a later write could carry the time to where it counts
                lines.append(f"(i64.store (i32.const {CLOCK_AT}) (i64.const 0))")
            if self.random.random() < 0.01:
                lines.append("(drop (memory.grow (i32.const 1)))")
        data = "".join(f"\\{byte:02x}" for byte in self.memory())
        return wat_to_wasm(f"""(module {imports(*NAMES.split())}
            (memory (export "memory") 2 20)
            (data (i32.const 0) "{data}")
            (func (export "_start") {" ".join(lines)}
              (i64.store (i32.const {CLOCK_AT}) (i64.const {DUMP << 32}))
              (drop (call $fd_write (i32.const 1) (i32.const {CLOCK_AT}) (i32.const 1)
                (i32.const {CLOCK_AT + 16})))))""")


def perform(world: World, wasm: bytes) -> tuple[Outcome | None, bytes, bytes]:
    """Run a guest of random calls: how it ended, its memory, and what it wrote into pipes."""
    filled, full = make_pipe()
    reading, writing = make_pipe()
    dump, dumped = make_pipe()
    os.write(full.host_fd, DATA)
    for end in (reading, dump, full):
        end.retain()
    one, other = world.stack.new_pair()
    # As the container's standard output: an open file that the host shares with us.
    polite_reading, polite_fd = os.pipe()
    polite = Stream.inherited(polite_fd, owned=True)
    fds = {0: filled, 1: dumped, 2: writing, 4: one, 5: other, POLITE: polite}
    process = world.start(wasm, fds)
    outcome = process.wait_exit(LONG)
    contents = []
    for fd in (dump.host_fd, reading.host_fd, polite_reading):
        os.set_blocking(fd, True)
        pieces = []
        while piece := os.read(fd, 1 << 16):
            pieces.append(piece)
        contents.append(b"".join(pieces))
    os.close(polite_reading)
    for end in (reading, dump, full):
        end.release()
    return outcome, contents[0], contents[1] + contents[2]


@pytest.mark.parametrize("seed", range(12))
def test_random_calls_do_the_same(worlds: tuple[World, World], seed: int) -> None:
    python, c = worlds
    wasm = Calls(seed).module(400)
    expected, got = perform(python, wasm), perform(c, wasm)
    assert expected[0] == got[0] == Exited(0)
    assert len(expected[1]) == DUMP
    count = 400
    assert struct.unpack_from(f"<{count}I", got[1]) == struct.unpack_from(f"<{count}I", expected[1])
    assert got == expected
    assert c.lines == python.lines == []
    assert c.handled < python.handled, "C handled nothing"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_random_calls_do_the_same(tmp_path: Path, cache: CodeCache) -> None:
    for seed in range(100, 600):
        both = []
        for name in ("python", "c"):
            place = tmp_path / f"{name}-{seed}"
            place.mkdir()
            world = World(place, cache, accelerated=name == "c")
            both.append(perform(world, Calls(seed).module(600)))
            world.close()
        assert both[0] == both[1], f"seed {seed}"


# Waiting in C: a first byte for each use that it takes to learn of an fd, then nothing more.

READ_SUBSCRIPTION = "(i32.store8 (i32.const 136) (i32.const 1))"
WAITING = {
    "fd_read": "(drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))",
    "sock_recv": "(drop (call $sock_recv (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0)"
    " (i32.const 8) (i32.const 16)))",
    "poll_oneoff": "(drop (call $poll_oneoff (i32.const 128) (i32.const 256) (i32.const 1)"
    " (i32.const 8)))"
    "(drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))",
    "fd_write": "(drop (call $fd_write (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))",
    "sock_send": "(drop (call $sock_send (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0)"
    " (i32.const 8)))",
}


def waiter(kind: str) -> bytes:
    """A guest that reads or writes bytes at fd 0 for ever."""
    length = 4096 if kind in ("fd_write", "sock_send") else 1
    return wat_to_wasm(f"""(module {imports(*NAMES.split())} (memory (export "memory") 1)
        (func (export "_start")
          (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const {length}))
          {READ_SUBSCRIPTION}
          (loop $again {WAITING[kind]} (br $again))))""")


@pytest.fixture
def world(worlds: tuple[World, World]) -> World:
    return worlds[1]


def ends(world: World, kind: str) -> tuple[Description, Description]:
    """What the guest gets as fd 0, and the other end, ours."""
    if kind.startswith("sock"):
        return world.stack.new_pair()
    reading, writing = make_pipe()
    return (writing, reading) if kind == "fd_write" else (reading, writing)


def until_blocked(world: World, feed: Callable[[], object]) -> None:
    """Until C alone makes the calls: `feed` lets the guest go on once."""
    before = -1
    calm = 0
    deadline = time.monotonic() + LONG
    while calm < 5 and time.monotonic() < deadline:
        before = world.handled
        feed()
        time.sleep(0.01)
        calm = calm + 1 if world.handled == before else 0
    assert calm == 5, "the calls still go to Python"


@pytest.mark.parametrize("kind", sorted(WAITING))
def test_a_wait_in_c_stops_continues_and_is_killed(world: World, kind: str) -> None:
    mine, other = ends(world, kind)
    other.retain()
    process = world.start(waiter(kind), {0: mine})
    writes = kind in ("fd_write", "sock_send")

    def feed() -> None:
        if writes:
            with contextlib.suppress(BlockingIOError):
                os.read(other.host_fd, 1 << 20)
        else:
            os.write(other.host_fd, b"x")

    if writes:
        time.sleep(0.05)
    until_blocked(world, feed)
    process.signal(signal.SIGSTOP)
    deadline = time.monotonic() + LONG
    while not process.stopped and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.stopped
    process.signal(signal.SIGCONT)
    until_blocked(world, feed)
    process.signal(signal.SIGTERM)
    assert process.wait_exit(LONG) == Signaled(signal.SIGTERM)
    other.release()


def test_an_offset_is_one_whoever_moves_it(world: World) -> None:
    """C has the offset of a file in an image while one fd alone stands for it."""
    body = text_of("path_open", opening(0))
    reads = f"(drop {text_of('fd_read', [1, 0, 1, 8])})" * 7
    wasm = wat_to_wasm(f"""(module {imports(*NAMES.split())} (memory (export "memory") 1)
        (data (i32.const {TEXTS}) "image/data")
        (func (export "_start") (drop {body})
          (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 10))
          {reads}
          (drop {text_of("fd_read", [0, 0, 1, 8])})
          {reads}
          (drop {text_of("fd_read", [0, 0, 1, 8])})))""")
    reading, writing = make_pipe()
    writing.retain()
    process = world.start(wasm, {0: reading})

    def offset() -> int:
        return process.fds.get(1).description.seek(0, w.Whence.CUR)

    def wait_for(value: int) -> None:
        deadline = time.monotonic() + LONG
        while (1 not in process.fds or offset() != value) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert offset() == value

    wait_for(70)
    description = process.fds.get(1).description
    assert description.fast is not None
    description.retain()  # as by dup or inheritance: from now on it is Python's
    assert offset() == 70
    assert description.seek(1000, w.Whence.SET) == 1000
    os.write(writing.host_fd, b"x")
    wait_for(1070)
    description.release()
    writing.release()
    assert process.wait_exit(LONG) == Exited(0)


@pytest.mark.parametrize("kind", ["fd_write", "sock_send"])
def test_the_first_write_is_whole_however_long(world: World, kind: str) -> None:
    """It waits for the rest though nothing has blocked before; the guest ends with what is left."""
    mine, other = ends(world, kind)
    other.retain()
    length = 5 << 20
    wasm = wat_to_wasm(f"""(module {imports(*NAMES.split(), "proc_exit")}
        (memory (export "memory") 100)
        (func (export "_start")
          (i32.store (i32.const 0) (i32.const 1024))
          (i32.store (i32.const 4) (i32.const {length}))
          {WAITING[kind]}
          (call $proc_exit (i32.ne (i32.load (i32.const 8)) (i32.const {length})))))""")
    process = world.start(wasm, {0: mine})
    left = length
    while left and process.outcome is None:
        with contextlib.suppress(BlockingIOError):
            left -= len(os.read(other.host_fd, 1 << 20))
    assert process.wait_exit(LONG) == Exited(0)
    other.release()
