"""The POSIX door's calls in C against their reference, the Python handlers: see
test_accelerated_calls.py, whose containers and files these guests use.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from test_accelerated_calls import DUMP, PAGE, PATHS, POLITE, Choices, World, call_of, perform

from balenawasm.engine import accelerator
from balenawasm.engine.code_cache import CodeCache
from balenawasm.engine.wat import wat_to_wasm
from balenawasm.kernel.outcome import Exited
from balenawasm.personality import posix
from balenawasm.personality.posix import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    accelerator.load() is None, reason="the accelerator has not been built (no C compiler?)"
)

IOVECS, TEXTS, SCRATCH, TIMES = 8192, 12288, 32768, 12800
POLLFDS = PAGE + 16384
NAMES = (
    "read", "write", "readv", "writev", "recvfrom", "sendto", "ppoll", "lseek", "dup2", "close",
    "fcntl", "openat",
)  # fmt: skip
HOT = ("read", "write", "readv", "writev", "recvfrom", "sendto", "ppoll")
F_SETFL, O_NONBLOCK, O_RDWR, O_CREAT, AT_FDCWD = 4, 2048, 2, 64, -100
CALLS = 300


def call(name: str, arguments: list[int]) -> str:
    """One call of the door; its answer is on the stack."""
    return call_of(name, TABLE[name].signature, arguments)


class Calls(Choices):
    """Random calls."""

    FDS = (0, 2, 3, 4, 5, 6, 7, 8, 9, POLITE, 100, 1 << 31)

    def buffer(self) -> tuple[int, int]:
        if self.random.random() < 0.95:
            length = self.pick(0, 1, 7, 64, 300, 4096)
            return SCRATCH + self.random.randrange(20000), length
        return self.pick(2 * PAGE - 5, 2 * PAGE, (1 << 32) - 8), self.pick(5, 6, 1 << 31, 0)

    def vectors(self) -> tuple[int, int]:
        if self.random.random() < 0.95:
            return IOVECS + 8 * self.random.randrange(200), self.pick(1, 1, 2, 3, 0, 40)
        return self.pick(2 * PAGE - 8, 2 * PAGE, (1 << 32) - 8), self.pick(1, 2, 1024, 1025)

    def one(self) -> tuple[str, list[int]]:
        name = self.random.choice((*NAMES, *HOT, *HOT))
        arguments: dict[str, Callable[[], list[int]]] = {
            "read": lambda: [self.fd(0, 4, 5, 3, 6, 7), *self.buffer()],
            "write": lambda: [self.fd(2, 4, 5, POLITE), *self.buffer()],
            "readv": lambda: [self.fd(0, 4, 5, 3, 6, 7), *self.vectors()],
            "writev": lambda: [self.fd(2, 4, 5, POLITE), *self.vectors()],
            "recvfrom": lambda: [
                *(self.fd(4, 5), *self.buffer(), self.pick(0, 0, 0, 2, 64, 66, 1, 32)),
                *((0, 0) if self.pick(0, 0, 0, 1) == 0 else (SCRATCH, TIMES)),
            ],
            "sendto": lambda: [
                *(self.fd(4, 5), *self.buffer(), self.pick(0, 0, 0x4000, 0x4040, 1)),
                *(0, 0),
            ],
            "ppoll": lambda: [
                self.pick(POLLFDS, POLLFDS + 8, POLLFDS + 8 * 13, 2 * PAGE - 8, 3 * PAGE),
                self.pick(1, 3, 8, 20, 0, 600, 5000),
                self.pick(TIMES + 16, TIMES + 16, TIMES + 32, 3 * PAGE - 8),
                0,
            ],
            "lseek": lambda: [
                self.fd(3, 6, 7),
                self.pick(0, 5, -1),
                self.pick(0, 1, 2),
                TIMES + 64,
            ],
            "dup2": lambda: [self.pick(3, 6, 7, 77), self.pick(6, 7, 8, 9)],
            "close": lambda: [self.fd() if self.pick(0, 0, 0, 0, 1) else 77],
            "fcntl": lambda: [self.fd(0, 2, 4, 5), F_SETFL, O_NONBLOCK],
            "openat": lambda: self.opening(self.pick(0, 1, 2)),
        }
        return name, arguments[name]()

    def opening(self, path: int) -> list[int]:
        flags = (0, O_RDWR, O_RDWR | O_CREAT)[path]
        return [AT_FDCWD, TEXTS + 16 * path, len(PATHS[path]), flags, 0o644]

    def memory(self) -> bytes:
        """What the memory starts with: iovecs, paths, times, pollfds."""
        data = bytearray(POLLFDS + 8 * 60)
        for index in range(300):
            start, length = self.random.randrange(DUMP), self.pick(0, 1, 7, 64, 300, 4096)
            if self.random.random() < 0.03:
                start, length = self.pick(2 * PAGE - 5, 1 << 31), self.pick(5, 6, 1 << 31)
            struct.pack_into("<II", data, IOVECS + 8 * index, start, length)
        for index, path in enumerate(PATHS):
            data[TEXTS + 16 * index : TEXTS + 16 * index + len(path)] = path
        struct.pack_into("<QQ", data, TIMES + 32, 0, 2_000_000_000)  # EINVAL
        for index in range(60):
            fd = self.pick(0, 2, 4, 5, POLITE, -1, 6, 99)
            events = self.pick(0, 1, 4, 5, 0x40, 0x145, 2)
            struct.pack_into("<ihh", data, POLLFDS + 8 * index, fd, events, -1)
        return bytes(data)

    def module(self) -> bytes:
        """A guest that makes them, then writes its memory to fd 1."""
        calls = [("openat", self.opening(path)) for path in (0, 0, 1, 2)]
        calls += [("fcntl", [fd, F_SETFL, O_NONBLOCK]) for fd in (0, 2, 4, 5, POLITE)]
        calls += [self.one() for _ in range(CALLS)]
        lines = " ".join(
            f"(i32.store (i32.const {4 * index}) {call(*one)})" for index, one in enumerate(calls)
        )
        kinds = {"i": "i32", "q": "i64"}
        imports = " ".join(
            f'(import "{posix.MODULE}" "{name}" (func ${name}'
            f" (param {' '.join(kinds[c] for c in TABLE[name].signature)}) (result i32)))"
            for name in NAMES
        )
        data = "".join(f"\\{byte:02x}" for byte in self.memory())
        return wat_to_wasm(f"""(module {imports}
            (memory (export "memory") 2 20)
            (data (i32.const 0) "{data}")
            (func (export "_start") {lines}
              (drop (call $write (i32.const 1) (i32.const 0) (i32.const {DUMP})))))""")


def compare(place: Path, cache: CodeCache, seed: int) -> tuple[int, int]:
    """Run a guest without and with the accelerator; how many calls Python has handled."""
    wasm = Calls(seed).module()
    results, handled = [], []
    for name in ("python", "c"):
        folder = place / f"{name}-{seed}"
        folder.mkdir()
        world = World(folder, cache, accelerated=name == "c")
        try:
            results.append(perform(world, wasm))
            assert world.lines == []
        finally:
            world.close()
        handled.append(world.handled)
    expected, got = results
    assert expected[0] == got[0] == Exited(0)
    assert len(expected[1]) == DUMP
    answers = [struct.unpack_from(f"<{CALLS}i", memory) for _, memory, _ in results]
    assert answers[1] == answers[0], f"seed {seed}"
    assert got == expected, f"seed {seed}"
    return handled[0], handled[1]


@pytest.mark.parametrize("seed", range(8))
def test_random_calls_do_the_same(tmp_path: Path, seed: int) -> None:
    python, c = compare(tmp_path, CodeCache(tmp_path / "native"), seed)
    assert c < python, "C handled nothing"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_random_calls_do_the_same(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path / "native")
    for seed in range(100, 600):
        compare(tmp_path, cache, seed)
