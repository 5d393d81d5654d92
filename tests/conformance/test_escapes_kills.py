"""A process that was killed ends, whatever it is busy with when SIGKILL comes."""

from __future__ import annotations

import fcntl
import hashlib
import threading
from typing import TYPE_CHECKING

import pytest
from posix_guest import FDCWD, PosixGuest

from balenawasm.engine.code_cache import COMPILATIONS_MAX, CodeCache
from balenawasm.engine.machine import Machine
from balenawasm.engine.wat import wat_to_wasm
from balenawasm.kernel.kernel import Kernel
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.outcome import Exited, Killed, Signaled
from balenawasm.kernel.process import Process
from balenawasm.kernel.program import Program
from balenawasm.kernel.session import current
from balenawasm.personality.preview1 import TABLE
from balenawasm.vfs.description import PART
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.net import NetFs
from balenawasm.vfs.filesystems.proc import ProcFs
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import Content, OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.flags import Whence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LONG = 30.0
MIB = 1 << 20
KILLED = Signaled(9)
FLOCK = b"\x01\0\0\0" + bytes(20)
"""F_WRLCK of the whole file."""


class Box:
    """A kernel that runs code."""

    def __init__(self, cache: CodeCache) -> None:
        self.lines: list[str] = []
        self.machine = Machine(cache, {"wasi_snapshot_preview1": TABLE})
        self.machine.log = self.lines.append
        self.kernel = Kernel(
            namespace=Namespace(Tmpfs(1 << 20).root),
            executor=self.machine,
            hostname="box",
            limits=Limits(),
            log=self.lines.append,
        )

    def run(self, text: str) -> Callable[[], None]:
        """Start a module; what is answered kills it and sees it end."""
        return self.run_code(wat_to_wasm(text))

    def run_code(self, wasm: bytes) -> Callable[[], None]:
        program = Program(b"/guest", Content(None, memoryview(wasm)))
        process = self.kernel.spawn([b"guest"], [], b"/", {}, program=program)

        def kill() -> None:
            assert process.wait_exit(0.2) is None
            process.signal(9)
            assert process.wait_exit(LONG) == KILLED
            assert self.lines == []

        return kill


@pytest.fixture
def cache(tmp_path: Path) -> CodeCache:
    return CodeCache(tmp_path / "code")


@pytest.fixture
def box(cache: CodeCache) -> Iterator[Box]:
    box = Box(cache)
    yield box
    box.kernel.end_all()
    assert box.kernel.wait_all(LONG)


# While its program is made ready.


def test_while_its_program_is_compiled(box: Box) -> None:
    code = "local.get 0 i32.const 7 i32.mul local.set 0 " * 100
    functions = "".join(
        f"(func (param i32) (result i32) (local.set 0 (i32.const {n})) {code} local.get 0)"
        for n in range(1200)
    )
    box.run(f'(module {functions} (func (export "_start") (loop (br 0))))')()


def test_while_another_compiles_the_same_program(box: Box, tmp_path: Path) -> None:
    wasm = wat_to_wasm('(module (func (export "_start")))')
    box.machine.precompile(Content(None, memoryview(wat_to_wasm("(module)"))))  # the directory
    (directory,) = {path.parent for path in (tmp_path / "code").glob("*/*.native")}
    with (directory / f"{hashlib.sha256(wasm).hexdigest()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        box.run_code(wasm)()


def test_while_it_waits_for_its_turn_to_be_compiled(box: Box, cache: CodeCache) -> None:
    for _ in range(COMPILATIONS_MAX):
        assert cache._slots.acquire(timeout=LONG)
    try:
        box.run('(module (func (export "_start")))')()
    finally:
        for _ in range(COMPILATIONS_MAX):
            cache._slots.release()


def test_in_its_start_function(box: Box) -> None:
    box.run('(module (func $f (loop (br 0))) (start $f) (func (export "_start")))')()


# In calls.


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[PosixGuest]:
    guest = PosixGuest(tmp_path / "loopback")
    guest.kernel.namespace.mount(b"/net", NetFs(guest.stack).root)
    guest.kernel.namespace.mount(b"/proc", ProcFs(guest.kernel).root)
    yield guest
    guest.close()


def pair(guest: PosixGuest, kind: int) -> tuple[int, int]:
    fds = guest.alloc(8)
    assert guest.raw("socketpair", 1, kind, 0, fds) == 0
    first, second = guest.unpack("ii", fds)
    return first, second


def read_datagram(guest: PosixGuest) -> tuple[object, ...]:
    fd, _ = pair(guest, 2)
    return "recvfrom", fd, guest.alloc(8), 8, 0, 0, 0


def read_packet(guest: PosixGuest) -> tuple[object, ...]:
    fd, _ = pair(guest, 5)
    return "read", fd, guest.alloc(8), 8


def write_datagrams(guest: PosixGuest) -> tuple[object, ...]:
    fd, _ = pair(guest, 2)
    for _ in range(10_000):
        if guest("sendto", fd, guest.alloc(8), 8, 0x40, 0, 0) < 0:
            break
    return "sendto", fd, guest.alloc(8), 8, 0, 0, 0


def read_udp(guest: PosixGuest) -> tuple[object, ...]:
    fd = guest("socket", 2, 2, 0)
    address = b"\2\0\x1f\x90\x7f\0\0\1" + bytes(8)
    assert guest.raw("bind", fd, guest.put(address), 16) == 0
    return "recvfrom", fd, guest.alloc(8), 8, 0, 0, 0


def accept(guest: PosixGuest) -> tuple[object, ...]:
    fd = guest("socket", 1, 1, 0)
    assert guest.raw("bind", fd, guest.put(b"\1\0\0name"), 7) == 0
    assert guest("listen", fd, 1) == 0
    return "accept4", fd, 0, 0, 0


def lock_file(guest: PosixGuest) -> tuple[object, ...]:
    first = guest("openat", FDCWD, "/f", 0o102, 0o600)
    second = guest("openat", FDCWD, "/f", 2, 0)
    assert guest("flock", first, 2) == 0
    return "flock", second, 2


def open_pipe(guest: PosixGuest) -> tuple[object, ...]:
    assert guest("mknodat", FDCWD, "/pipe", 0o010600, 0) == 0
    return "openat", FDCWD, "/pipe", 0, 0


def suspend(guest: PosixGuest) -> tuple[object, ...]:
    return "sigsuspend", b"\xff" * 8


def take_signal(guest: PosixGuest) -> tuple[object, ...]:
    return "sigtimedwait", b"\xff" * 8, 0


def poll_everything(guest: PosixGuest) -> tuple[object, ...]:
    fd, _ = pair(guest, 1)
    entry = fd.to_bytes(4, "little") + b"\1\0\0\0"
    return "ppoll", entry * 60, 60, 0, b"\xff" * 8


def shake_hands(guest: PosixGuest) -> tuple[object, ...]:
    """With a server that says nothing."""
    assert guest("openat", FDCWD, "/net/tcp/listen/127.0.0.1!443", 2, 0) >= 0
    return "openat", FDCWD, "/net/tls/connect/127.0.0.1!443", 2, 0


CALLS = (
    *(read_datagram, read_packet, write_datagrams, read_udp, accept, lock_file, open_pipe),
    *(suspend, take_signal, poll_everything, shake_hands),
)


@pytest.mark.parametrize("prepare", CALLS)
@pytest.mark.parametrize("stopped", [False, True])
def test_in_a_call(
    guest: PosixGuest, prepare: Callable[[PosixGuest], tuple[object, ...]], stopped: bool
) -> None:
    call = prepare(guest)
    ended, answers = threading.Event(), []

    def use() -> None:
        current.process = guest.process
        try:
            answers.append(guest(*call))  # type: ignore[arg-type]
        except Killed:
            ended.set()

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    thread.join(0.05)
    assert not answers
    if stopped:
        guest.process.signal(19)
    guest.process.signal(9)
    assert ended.wait(LONG), answers


def test_while_programs_are_looked_for_everywhere(guest: PosixGuest) -> None:
    """A request may name 100,000 programs, and a PATH of 100,000 directories."""
    fd = guest("openat", FDCWD, "/proc/spawn", 2, 0)
    names = guest.put(b"program=x\0" * 10_000)
    for part in (b"arg=x\0fd=\0", b"env=PATH=" + b"/d:" * 200_000 + b"\0"):
        buffer = bytearray(part)
        description = guest.process.fds.get(fd).description
        assert description.write(guest.process, [memoryview(buffer)]) == len(part)
    for _ in range(10):
        assert guest.raw("write", fd, names, 100_000) == 100_000
    ended, answers = threading.Event(), []

    def use() -> None:
        current.process = guest.process
        try:
            answers.append(guest.raw("read", fd, guest.alloc(8), 8))
        except Killed:
            ended.set()

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    thread.join(0.2)
    guest.process.signal(9)
    assert ended.wait(LONG), answers


@pytest.mark.parametrize("name", ["read", "write", "pread", "pwrite"])
def test_between_the_parts_of_a_large_transfer(tmp_path: Path, name: str) -> None:
    """A disk may be slow: of many bytes the host gets some at a time."""
    process = Process(
        pid=1,
        argv=[b"x"],
        environ=[],
        cwd=b"/",
        namespace=Namespace(Tmpfs(MIB).root),
        limits=Limits(),
    )
    file = HostDirectory(tmp_path).root.create(b"f")
    description = file.open(NOBODY, OpenFlags(read=True, write=True))
    description.retain()
    size = 3 * PART + 5
    buffers = [memoryview(bytearray(b"x" * size)), memoryview(bytearray(b"yz"))]
    offset = (0,) if name.startswith("p") else ()
    assert description.write(process, buffers) == size + 2
    assert (tmp_path / "f").read_bytes()[-3:] == b"xyz"
    description.seek(0, Whence.SET)
    into = [memoryview(bytearray(1)), memoryview(bytearray(size + 9))]
    assert description.pread(process, into, 0) == size + 2
    assert bytes(into[1][size - 2 : size + 1]) == b"xyz"
    process.signal(9)
    with pytest.raises(Killed):
        getattr(description, name)(process, buffers, *offset)
    description.release()
    process.finish(Exited(0))
