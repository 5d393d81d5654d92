"""A kill interrupts every call that blocks, wherever it is, and code that computes."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from preview1_guest import Guest, clock_subscription, fd_subscription

from balenawasm.engine.code_cache import CodeCache
from balenawasm.engine.machine import Machine
from balenawasm.engine.wat import wat_to_wasm
from balenawasm.kernel.kernel import Kernel
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.network import NetworkStack
from balenawasm.kernel.network_policy import OutboundPolicy
from balenawasm.kernel.network_resolver import OutsideResolver
from balenawasm.kernel.outcome import Exited, Killed, Signaled
from balenawasm.kernel.pipe import make_pipe
from balenawasm.kernel.program import Program
from balenawasm.personality.preview1 import TABLE
from balenawasm.vfs.endpoint import Endpoint
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.node import Content
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.errno import GuestError
from balenawasm.wasi.flags import NONBLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from balenawasm.kernel.socket import TcpSocket

LONG = 30.0
FOR_EVER = (1 << 64) - 1
MIB = 1 << 20


@pytest.fixture
def guest() -> Iterator[Guest]:
    guest = Guest()
    yield guest
    guest.process.finish(Exited(0))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[NetworkStack]:
    asked = threading.Event()

    def look_up(name: str, family: str) -> list[str]:
        asked.wait(LONG)
        return []

    stack = NetworkStack(
        loopback_directory=tmp_path / "loopback",
        policy=OutboundPolicy.from_texts(["all"]),
        resolver=OutsideResolver(look_up),
    )
    yield stack
    asked.set()
    stack.close()


def read_pipe(guest: Guest, stack: NetworkStack) -> Callable[[], object]:
    reading, writing = make_pipe()
    guest.install(writing)
    fd = guest.install(reading)
    arguments = fd, guest.iovecs((0, 8)), 1, guest.alloc(4)
    return lambda: guest.call("fd_read", *arguments)


def write_pipe(guest: Guest, stack: NetworkStack) -> Callable[[], object]:
    reading, writing = make_pipe()
    guest.install(reading)
    fd = guest.install(writing)
    arguments = fd, guest.iovecs((0, MIB)), 1, guest.alloc(4)
    return lambda: guest.call("fd_write", *arguments)


def sleep(guest: Guest, stack: NetworkStack) -> Callable[[], object]:
    return lambda: guest.poll(clock_subscription(1, FOR_EVER))


def sleep_until(guest: Guest, stack: NetworkStack) -> Callable[[], object]:
    return lambda: guest.poll(clock_subscription(1, FOR_EVER, clock=0, flags=1))


def poll_fd_and_clock(guest: Guest, stack: NetworkStack) -> Callable[[], object]:
    reading, writing = make_pipe()
    guest.install(writing)
    fd = guest.install(reading)
    return lambda: guest.poll(clock_subscription(1, FOR_EVER), fd_subscription(2, fd))


def connected(guest: Guest, stack: NetworkStack) -> tuple[TcpSocket, TcpSocket]:
    pair = stack.new_pair()
    for end in pair:
        guest.install(end)
    return pair


def receive(guest: Guest, stack: NetworkStack) -> Callable[[], object]:
    end, _ = connected(guest, stack)
    buffers = [memoryview(bytearray(8))]
    return lambda: end.recv(guest.process, buffers, peek=False, wait_all=True)


def send(guest: Guest, stack: NetworkStack) -> Callable[[], object]:
    end, _ = connected(guest, stack)
    return lambda: end.send(guest.process, [memoryview(bytes(8 * MIB))])


def accept(guest: Guest, stack: NetworkStack) -> Callable[[], object]:
    listener = stack.new_socket()
    listener.bind(Endpoint("127.0.0.1", 0))
    listener.listen(1)
    fd, result = guest.install(listener), guest.alloc(4)
    return lambda: guest.call("sock_accept", fd, 0, result)


def look_up(guest: Guest, stack: NetworkStack) -> Callable[[], object]:
    return lambda: stack.lookup(guest.process, "slow.example")


@pytest.mark.parametrize(
    "prepare",
    [
        read_pipe,
        write_pipe,
        sleep,
        sleep_until,
        poll_fd_and_clock,
        receive,
        send,
        accept,
        look_up,
    ],
)
@pytest.mark.parametrize("early", [False, True], ids=["during", "before"])
def test_a_kill_interrupts(
    guest: Guest, stack: NetworkStack, prepare: Callable[..., Callable[[], object]], early: bool
) -> None:
    call = prepare(guest, stack)
    ended: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except (Killed, GuestError) as error:
            ended.append(error)

    if early:
        guest.process.signal(9)
    thread = threading.Thread(target=run)
    thread.start()
    if not early:
        thread.join(0.05)
        assert thread.is_alive()
        guest.process.signal(9)
    thread.join(LONG)
    assert not thread.is_alive()
    assert [type(error) for error in ended] == [Killed]


def send_for_ever(connection: TcpSocket, guest: Guest) -> None:
    while True:
        connection.send(guest.process, [memoryview(bytes(MIB))])


def test_closing_never_waits_for_a_peer(tmp_path: Path, guest: Guest) -> None:
    """SO_LINGER would have close(2) block, also on a non-blocking socket."""
    with socket.create_server(("127.0.0.1", 0)) as published:
        stack = NetworkStack(
            loopback_directory=tmp_path / "loopback",
            network_directory=tmp_path / "network",
            address="10.0.0.2",
            published={80: [published.fileno()]},
        )
        listener = stack.new_socket()
        listener.bind(Endpoint("0.0.0.0", 80))
        listener.listen(1)
        with socket.create_connection(published.getsockname()):
            connection = listener.accept(guest.process, NONBLOCK)
            connection.retain()
            connection.set_option("SO_LINGER", "1,3600")
            with pytest.raises(GuestError):
                send_for_ever(connection, guest)
            closing = threading.Thread(target=connection.release, daemon=True)
            closing.start()
            closing.join(LONG)
            assert not closing.is_alive()
        stack.close()


# With code.

PROGRAMS = {
    "loop": '(func (export "_start") (loop $l (br $l)))',
    "start function": '(func $s (loop $l (br $l))) (start $s) (func (export "_start"))',
    "recursion": "(func $f (param i32) (result i32) (if (local.get 0) (then (drop (call $f"
    " (i32.sub (local.get 0) (i32.const 1)))))) (i32.const 1))"
    ' (func (export "_start") (loop $l (br_if $l (call $f (i32.const 1000)))))',
    "filling memory": '(func (export "_start") (loop $l (memory.fill (i32.const 0) (i32.const 1)'
    " (i32.const 1048576)) (br $l)))",
}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    tables = {"wasi_snapshot_preview1": TABLE}
    machine = Machine(CodeCache(tmp_path_factory.mktemp("native")), tables)
    machine.log = lambda line: None
    return Kernel(
        namespace=Namespace(Tmpfs(MIB).root),
        executor=machine,
        hostname="test",
        limits=Limits(memory_bytes=16 * MIB),
        log=lambda line: None,
    )


def program(body: str) -> Program:
    wasm = wat_to_wasm(f'(module {body} (memory (export "memory") 16))')
    return Program(b"/guest", Content(None, memoryview(wasm)))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_kill_ends_computation(kernel: Kernel, name: str) -> None:
    process = kernel.spawn([b"guest"], [], b"/", {}, program=program(PROGRAMS[name]))
    assert process.wait_exit(0.2) is None
    process.signal(9)
    assert process.wait_exit(LONG) == Signaled(9)


EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'


def exit_code(kernel: Kernel, body: str) -> int | None:
    process = kernel.spawn([b"guest"], [], b"/", {}, program=program(EXIT + body))
    outcome = process.wait_exit(LONG)
    return outcome.code if isinstance(outcome, Exited) else None


def test_tables_are_bounded(kernel: Kernel) -> None:
    """They lie outside the linear memory, so its limit does not count them."""
    grow = "(table.grow $t (ref.null func) (i32.const 4000000))"
    body = f'(table $t 0 funcref) (func (export "_start") (call $exit {grow}))'
    assert exit_code(kernel, body) == (1 << 32) - 1
    many = " ".join("(table 0 funcref)" for _ in range(20))
    assert exit_code(kernel, many + '(func (export "_start"))') is None


def test_the_memory_limit_counts_garbage_collected_objects_too(kernel: Kernel) -> None:
    body = (
        "(rec (type $a (array (mut i64)))"
        " (type $n (struct (field (ref null $a)) (field (ref null $n)))))"
        ' (func (export "_start") (local $h (ref null $n)) (loop $l (local.set $h (struct.new $n'
        " (array.new_default $a (i32.const 100000)) (local.get $h))) (br $l)))"
    )
    assert exit_code(kernel, body) is None


def test_host_calls_before_the_memory_is_known_are_refused(kernel: Kernel) -> None:
    body = (
        '(import "wasi_snapshot_preview1" "random_get" (func $r (param i32 i32) (result i32)))'
        "(func $s (call $exit (call $r (i32.const 0) (i32.const 8)))) (start $s)"
        ' (func (export "_start"))'
    )
    assert exit_code(kernel, body) == 21  # EFAULT


def test_no_fd_is_left(kernel: Kernel) -> None:
    bodies = ('(func (export "_start") unreachable)', "(func)", '(func (export "_start"))')

    def open_fds_after_all() -> int:
        for body in bodies:
            exit_code(kernel, body)
        return len(os.listdir("/proc/self/fd"))

    # A program that is kept in memory has one.
    assert open_fds_after_all() == open_fds_after_all()
