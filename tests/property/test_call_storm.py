"""Random calls by a real guest: the runner survives, and no file outside the grants is touched."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import pkgutil
import random
import sys
import time
from typing import TYPE_CHECKING

import pytest
from call_storm import NEVER, Audit, Counter, storm_module

import balenawasm.kernel
import balenawasm.personality
import balenawasm.vfs.filesystems
from balenawasm.engine.code_cache import CodeCache
from balenawasm.engine.machine import Machine
from balenawasm.engine.wat import wat_to_wasm
from balenawasm.kernel.kernel import Kernel
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.network import NetworkStack
from balenawasm.kernel.outcome import Signaled
from balenawasm.kernel.pipe import make_pipe
from balenawasm.kernel.program import Program
from balenawasm.runtime.machine import TABLES
from balenawasm.vfs.filesystems.dev import DevFs
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.net import NetFs
from balenawasm.vfs.filesystems.proc import ProcFs
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import Content, OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.errno import GuestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AUDIT = Audit()
STUCK_SECONDS = 0.03
"""A guest that made no call for so long is taken to be blocked, and replaced."""


class Storm:
    """A container whose process 1 makes random calls."""

    def __init__(self, place: Path) -> None:
        self.counter = Counter()
        self.volume = place / "volume"
        self.outside = place / "outside"
        for directory in (self.volume, self.outside):
            directory.mkdir()
        (self.outside / "secret").write_text("secret")
        (self.volume / "up").symlink_to("../outside/secret")
        (self.volume / "abs").symlink_to(self.outside / "secret")
        (self.volume / "loop").symlink_to("loop")
        (self.volume / "a").write_text("a")
        self.lines: list[str] = []
        self._stack = NetworkStack(loopback_directory=place / "loopback")
        machine = Machine(CodeCache(place / "code"), self.counter.watched(TABLES))
        namespace = Namespace(Tmpfs(1 << 22).root)
        self.kernel = Kernel(
            namespace=namespace,
            executor=machine,
            hostname="storm",
            limits=Limits(processes=64, open_files=64),
            log=self.lines.append,
        )
        self.kernel.network = lambda: self._stack
        machine.log = self.lines.append
        namespace.mount(b"/vol", HostDirectory(self.volume).root)
        namespace.mount(b"/dev", DevFs().root)
        namespace.mount(b"/net", NetFs(self._stack).root)
        namespace.mount(b"/proc", ProcFs(self.kernel).root)
        module = wat_to_wasm(storm_module(TABLES))
        self._program = Program(b"/storm", Content("storm", memoryview(module)))
        machine.precompile(self._program.content)
        self._other = wat_to_wasm('(module (memory (export "memory") 1) (func (export "_start")))')

    def _put(self, name: bytes, data: bytes) -> None:
        """A file, which the last guest may have removed or changed."""
        root = self.kernel.namespace.root.node
        for remove in (root.unlink, root.rmdir):
            with contextlib.suppress(GuestError):
                remove(name)
        with contextlib.suppress(GuestError):
            file = root.create(name).open(NOBODY, OpenFlags(write=True))
            file.retain()
            file.write(NOBODY, [memoryview(data)])
            file.release()

    def run(self, calls: int) -> None:
        """Let guests make that many calls, one guest after the other."""
        while self.counter.total < calls:
            seed = bytes(random.randrange(1, 256) for _ in range(8))
            self._put(b"program", self._other)
            self._put(b"script", b"#!/program\n")
            self._stack._inodes = itertools.count(1)  # so that guests hit their sockets' numbers
            reading, writing = make_pipe()
            process = self.kernel.spawn(
                [b"storm", seed], [b"A=1"], b"/", {0: reading, 1: writing}, program=self._program
            )
            before = -1
            until = self.counter.total + 20_000
            while process.outcome is None and before < self.counter.total < until:
                before = self.counter.total
                time.sleep(STUCK_SECONDS)
            self.kernel.kill_all()
            assert self.kernel.wait_all(30), f"not killed; seed {seed.hex()}"

    def close(self) -> None:
        """End everything."""
        self.kernel.kill_all()
        assert self.kernel.wait_all(30)
        self._stack.close()


def import_what_is_imported_late() -> None:
    """The kernel imports what few guests use when they use it: those files are no guest's doing."""
    for room in (balenawasm.kernel, balenawasm.personality, balenawasm.vfs.filesystems):
        for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
            importlib.import_module(module.name)


@pytest.fixture
def storm(tmp_path: Path) -> Iterator[Storm]:
    import_what_is_imported_late()
    storm = Storm(tmp_path)
    AUDIT.seen.clear()
    AUDIT.active = True
    yield storm
    AUDIT.active = False
    storm.close()


def check(storm: Storm) -> None:
    AUDIT.active = False
    assert (storm.outside / "secret").read_text() == "secret"
    assert [path.name for path in storm.outside.iterdir()] == ["secret"]
    allowed = (
        f"{storm.volume}/",
        f"{storm.volume.parent}/loopback",
        f"{storm.volume.parent}/code",
        "/proc/self/fd/",
        "/proc/self/",
        "/dev/null",
        "/dev/shm/balenawasm-",
        "\0balenawasm-",
        balenawasm.__path__[0],
    )
    compiler = {sys.executable, os.path.dirname(balenawasm.__path__[0])}
    outside = {(event, path) for event, path in AUDIT.outside(allowed) if path not in compiler}
    assert outside == set()
    faults = [line for line in storm.lines if "kernel error" in line or "Traceback" in line]
    assert faults == []
    names = {name for table in TABLES.values() for name in table} - NEVER
    assert names <= set(storm.counter.calls), names - set(storm.counter.calls)


def test_a_storm_of_calls(storm: Storm) -> None:
    storm.run(20_000)
    check(storm)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_million_calls(storm: Storm) -> None:
    storm.run(1_000_000)
    check(storm)


def test_a_process_that_computes_is_killed(storm: Storm) -> None:
    process = storm.kernel.spawn([b"storm", b"x" * 8], [], b"/", {}, program=storm._program)
    process.signal(9)
    assert process.wait_exit(30) == Signaled(9)
