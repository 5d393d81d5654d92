"""One socket: its states, data, blocking, options, and what a close or a kill does."""

from __future__ import annotations

import contextlib
import select
import socket
from typing import TYPE_CHECKING

import pytest
from kernel_parts import LONG, in_thread, new_process

from balenawasm.kernel.network import NetworkStack
from balenawasm.kernel.network_policy import OutboundPolicy
from balenawasm.kernel.outcome import Killed
from balenawasm.vfs.endpoint import ANY, LOOPBACK, NOWHERE, Endpoint
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import NONBLOCK, SHUT_RD, SHUT_WR, Filetype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from balenawasm.kernel.socket import TcpSocket

CALLER = new_process()


@pytest.fixture
def stack(tmp_path) -> Iterator[NetworkStack]:
    made = NetworkStack(loopback_directory=tmp_path, policy=OutboundPolicy.from_texts(["all"]))
    yield made
    made.close()


@pytest.fixture
def pair(stack) -> Iterator[tuple[TcpSocket, TcpSocket]]:
    ends = stack.new_pair()
    for end in ends:
        end.retain()
    yield ends
    for end in ends:
        if end.host_fd >= 0:
            end.release()


def refusal(call: Callable[[], object]) -> Errno:
    with pytest.raises(GuestError) as error:
        call()
    return error.value.errno


def receive(end: TcpSocket, *sizes: int, peek: bool = False, wait_all: bool = False) -> bytes:
    buffers = [bytearray(size) for size in sizes]
    views = [memoryview(buffer) for buffer in buffers]
    count = end.recv(CALLER, views, peek=peek, wait_all=wait_all)
    return b"".join(bytes(buffer) for buffer in buffers)[:count]


def send(end: TcpSocket, *parts: bytes) -> int:
    return end.send(CALLER, [memoryview(part) for part in parts])


def test_new_socket(stack) -> None:
    new = stack.new_socket()
    assert new.stat().filetype is Filetype.SOCKET_STREAM
    assert new.stat().ino == new.inode != stack.new_socket().inode
    assert stack.find(new.inode) is new
    assert new.local() == NOWHERE
    for call in (new.remote, lambda: receive(new, 1), lambda: send(new, b"x")):
        assert refusal(call) is Errno.ENOTCONN
    assert refusal(lambda: new.shutdown(SHUT_WR)) is Errno.ENOTCONN
    assert refusal(lambda: new.accept(CALLER, 0)) is Errno.EINVAL
    assert new.host_fd == -1
    new.close()
    assert refusal(lambda: new.accept(CALLER, 0)) is Errno.EBADF


def test_states(stack) -> None:
    listener = stack.new_socket()
    listener.bind(Endpoint(ANY, 0))
    assert listener.local().port
    assert refusal(lambda: listener.bind(Endpoint(ANY, 0))) is Errno.EINVAL
    listener.listen(-1)
    listener.listen(5)
    assert listener.get_option("SO_ACCEPTCONN") == "1"
    assert refusal(lambda: listener.connect(CALLER, listener.local())) is Errno.EISCONN
    client = stack.new_socket()
    client.connect(CALLER, Endpoint(LOOPBACK, listener.local().port))
    assert refusal(lambda: client.listen(1)) is Errno.EINVAL
    assert refusal(lambda: client.bind(Endpoint(ANY, 0))) is Errno.EINVAL
    server = listener.accept(CALLER, NONBLOCK)
    assert server.flags == NONBLOCK
    assert refusal(lambda: receive(server, 1)) is Errno.EAGAIN
    listener.shutdown(SHUT_RD)
    assert refusal(lambda: listener.accept(CALLER, 0)) is Errno.EINVAL
    listener.listen(1)
    for one in (client, server, listener):
        one.close()


def test_unbound_socket_listens_on_a_port_of_its_own(stack) -> None:
    listener = stack.new_socket()
    listener.listen(1)
    assert listener.local().port >= 32768
    listener.close()


def test_data(pair) -> None:
    first, second = pair
    assert send(first, b"hello ", b"world") == 11
    assert receive(second, 5, peek=True) == b"hello"
    assert second.peek(CALLER, 100) == b"hello world"
    assert receive(second, 3, 4) == b"hello w"
    assert receive(second, 100) == b"orld"
    assert receive(second, 0) == b""
    first.shutdown(SHUT_WR)
    assert receive(second, 10) == b""
    assert second.peek(CALLER, 10) == b""
    assert refusal(lambda: send(first, b"x")) is Errno.EPIPE
    assert refusal(lambda: second.peek(CALLER, 2001)) is Errno.EINVAL
    assert refusal(lambda: second.shutdown(4)) is Errno.EINVAL


def test_blocking_send_sends_all_and_wait_all_fills(pair) -> None:
    first, second = pair
    data = bytes(range(256)) * 8000
    sent = in_thread(lambda: send(first, data[:1000], data[1000:]))
    assert receive(second, 1000, len(data) - 1000, wait_all=True) == data
    assert sent.result(LONG) == len(data)
    send(first, b"tail")
    first.shutdown(SHUT_WR)
    assert receive(second, 3, 3, wait_all=True) == b"tail"


def test_nonblocking(pair) -> None:
    first, second = pair
    first.set_flags(NONBLOCK)
    sent = send(first, b"x" * 10_000_000)
    assert 0 < sent < 10_000_000
    assert refusal(lambda: send(first, b"x" * 100_000)) is Errno.EAGAIN
    second.set_flags(NONBLOCK)
    received = 0
    while received < sent:
        received += len(receive(second, 1 << 20))
    assert refusal(lambda: receive(second, 1, wait_all=True)) is Errno.EAGAIN


def test_close_with_unread_data_resets_and_a_closed_peer_is_epipe(pair) -> None:
    first, second = pair
    send(first, b"unread")
    second.close()
    assert refusal(lambda: send(first, b"x")) in (Errno.EPIPE, Errno.ECONNRESET)
    assert refusal(lambda: send(first, b"x")) is Errno.EPIPE


@pytest.mark.parametrize("what", ["recv", "accept"])
def test_kill_and_close_wake_the_blocked(stack, pair, what) -> None:
    target = pair[0]
    if what == "accept":
        target = stack.new_socket()
        target.listen(1)

    def block(process) -> object:
        if what == "accept":
            return target.accept(process, 0)
        return target.recv(process, [memoryview(bytearray(1))], peek=False, wait_all=False)

    killed = new_process(2)
    future = in_thread(lambda: block(killed))
    killed.signal(9)
    assert isinstance(future.exception(LONG), Killed)
    future = in_thread(lambda: block(new_process(3)))
    target.close()
    error = future.exception(LONG)
    assert isinstance(error, GuestError)
    assert error.errno is Errno.EBADF
    assert target.host_fd == -1


def test_close_while_somebody_waits_keeps_the_host_fd_until_they_left(stack) -> None:
    listener = stack.new_socket()
    listener.listen(1)
    entered = []

    class Caller:
        pid = 1

        def wait(self, fds, timeout_ns=None):
            entered.append(fds)
            listener.close()
            poll = select.poll()
            poll.register(*fds[0])
            assert poll.poll(LONG * 1000)
            return fds

        def holds(self, description):
            return True

    assert refusal(lambda: listener.accept(Caller(), 0)) is Errno.EBADF
    assert entered
    assert listener.host_fd == -1


def test_options(stack, pair) -> None:
    new = stack.new_socket()
    assert new.get_option("SO_TYPE") == "stream"
    assert new.get_option("SO_ERROR") == "0"
    assert new.get_option("TCP_NODELAY") == "1"
    new.set_option("TCP_NODELAY", "0")
    assert new.get_option("TCP_NODELAY") == "0"
    new.set_option("SO_LINGER", "1,5")
    assert new.get_option("SO_LINGER") == "1,5"
    new.set_option("SO_REUSEADDR", "7")
    assert new.get_option("SO_REUSEADDR") == "1"
    pair[0].set_option("SO_SNDBUF", "8192")
    assert int(pair[0].get_option("SO_SNDBUF")) >= 8192
    pair[0].set_option("TCP_KEEPIDLE", "60")
    assert pair[0].get_option("TCP_KEEPIDLE") == "60"
    for name, value in (("SO_LINGER", "1"), ("TCP_NODELAY", "-1"), ("SO_SNDBUF", "9" * 11)):
        assert refusal(lambda name=name, value=value: new.set_option(name, value)) is Errno.EINVAL
    assert refusal(lambda: new.get_option("SO_NONSENSE")) is Errno.ENOPROTOOPT
    assert refusal(lambda: new.set_option("SO_TYPE", "1")) is Errno.ENOPROTOOPT


def outside_endpoint(stack, monkeypatch, host_port: int) -> Endpoint:
    """A destination outside that is really the host's loopback, which guests cannot name."""
    connect_ex = socket.socket.connect_ex
    monkeypatch.setattr(
        socket.socket, "connect_ex", lambda self, _: connect_ex(self, ("127.0.0.1", host_port))
    )
    return Endpoint("192.0.2.1", host_port)


def test_connect_outside(stack, monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        destination = outside_endpoint(stack, monkeypatch, server.getsockname()[1])
        client = stack.new_socket()
        client.set_option("SO_KEEPALIVE", "1")
        client.connect(CALLER, destination)
        accepted, _ = server.accept()
        with accepted:
            assert client.remote() == destination
            assert client.get_option("SO_KEEPALIVE") == "1"
            send(client, b"x")
            assert accepted.recv(1) == b"x"
        client.close()


def test_nonblocking_connect_outside(stack, monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        destination = outside_endpoint(stack, monkeypatch, server.getsockname()[1])
        client = stack.new_socket(NONBLOCK)
        with contextlib.suppress(GuestError):  # EINPROGRESS, as a rule
            client.connect(CALLER, destination)
        CALLER.wait([(client.host_fd, select.POLLOUT)], 10_000_000_000)
        assert client.take_error() == Errno.SUCCESS
        assert client.remote() == destination
        client.close()
    destination = outside_endpoint(stack, monkeypatch, destination.port)  # nobody listens now
    client = stack.new_socket(NONBLOCK)
    errno = refusal(lambda: client.connect(CALLER, destination))
    if errno is Errno.EINPROGRESS:
        CALLER.wait([(client.host_fd, select.POLLOUT)], 10_000_000_000)
        errno = client.take_error()
    assert errno is Errno.ECONNREFUSED
    assert client.take_error() == Errno.SUCCESS
    assert refusal(client.remote) is Errno.ENOTCONN
    client.close()
