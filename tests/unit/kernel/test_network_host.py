"""The host's network as a container's: real ports, real loopback, no grants."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

import pytest
from kernel_parts import LONG, in_thread, new_process
from network_parts import CALLER, receive, refusal, send

from balenawasm.kernel.network_host import HostNetwork
from balenawasm.kernel.outcome import Killed
from balenawasm.vfs.endpoint import ANY, LOOPBACK, NOWHERE, Endpoint
from balenawasm.vfs.socket import INET, INET6
from balenawasm.wasi.errno import Errno
from balenawasm.wasi.flags import NONBLOCK, SHUT_RD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Kept(HostNetwork):
    """One that remembers its sockets, as processes would."""

    def __init__(self, path: Path) -> None:
        super().__init__(loopback_directory=path)
        self.kept: list[object] = []

    def new_socket(self, flags: int = 0, family: str = INET):
        made = super().new_socket(flags, family)
        self.kept.append(made)
        return made

    def new_udp(self, flags: int = 0, family: str = INET):
        made = super().new_udp(flags, family)
        self.kept.append(made)
        return made


@pytest.fixture
def stack(tmp_path) -> Iterator[HostNetwork]:
    made = Kept(tmp_path)
    yield made
    made.close()


def test_a_listener_is_a_port_of_the_host(stack) -> None:
    listener = stack.new_socket()
    listener.bind(Endpoint(LOOPBACK, 0))
    listener.listen(5)
    host, port = listener.local()
    assert (host, port > 0) == (LOOPBACK, True)
    with socket.create_connection((host, port), LONG) as client:
        server = listener.accept(CALLER, 0)
        assert server.local() == listener.local()
        assert server.remote() == Endpoint(*client.getsockname())
        client.sendall(b"hello")
        assert receive(server)[0] == b"hello"
    second = stack.new_socket()
    assert refusal(lambda: second.bind(Endpoint(LOOPBACK, port))) is Errno.EADDRINUSE
    assert refusal(lambda: second.bind(Endpoint("192.0.2.77", 1))) is Errno.EADDRNOTAVAIL
    listener.shutdown(SHUT_RD)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), LONG)


def test_connecting_to_the_hosts_loopback(stack) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        client = stack.new_socket()
        client.connect(CALLER, Endpoint(*server.getsockname()))
        accepted, peer = server.accept()
        with accepted:
            assert client.local() == Endpoint(*peer)
            send(client, b"hello")
            assert accepted.recv(100) == b"hello"
    again = stack.new_socket(NONBLOCK)
    nobody = client.remote()
    errno = refusal(lambda: again.connect(CALLER, nobody))
    if errno is Errno.EINPROGRESS:
        CALLER.wait([(again.host_fd, select.POLLOUT)])
        errno = again.take_error()
    assert errno is Errno.ECONNREFUSED


def test_ipv6_and_dual_stack(stack) -> None:
    listener = stack.new_socket(family=INET6)
    try:
        listener.bind(Endpoint("::", 0))
    except Exception:
        pytest.skip("the host has no IPv6")
    listener.listen(1)
    port = listener.local().port
    for address, shown in ((LOOPBACK, "::ffff:127.0.0.1"), ("::1", "::1")):
        with socket.create_connection((address, port), LONG):
            server = listener.accept(CALLER, 0)
            assert (server.local().host, server.remote().host) == (shown, shown)
    client = stack.new_socket(family=INET6)
    client.connect(CALLER, Endpoint("::ffff:127.0.0.1", port))
    assert client.local().host == "::ffff:127.0.0.1"


def test_datagrams(stack) -> None:
    server = stack.new_udp()
    server.bind(Endpoint(LOOPBACK, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(LONG)
        client.sendto(b"hello", server.local())
        sender = receive(server)[1].address
        send(server, b"back", sender)
        assert client.recvfrom(100) == (b"back", tuple(server.local()))
    asking = stack.new_udp()
    assert asking.local() == NOWHERE
    asking.connect(CALLER, server.local())
    assert asking.local().host == LOOPBACK
    send(asking, b"question")
    assert receive(server)[1].address == asking.local()
    wildcard = stack.new_udp()
    wildcard.bind(Endpoint(ANY, 0))
    assert wildcard.local().port > 0


def test_a_kill_wakes_who_accepts(stack) -> None:
    listener = stack.new_socket()
    listener.bind(Endpoint(LOOPBACK, 0))
    listener.listen(1)
    process = new_process(3)
    blocked = in_thread(lambda: listener.accept(process, 0))
    process.signal(9)
    assert isinstance(blocked.exception(LONG), Killed)
    blocked = in_thread(lambda: listener.accept(new_process(4), 0))
    listener.close()
    assert blocked.exception(LONG).errno is Errno.EBADF


def test_names(stack) -> None:
    assert stack.address is None
    assert stack.lookup(CALLER, "localhost") == [LOOPBACK]
    assert stack.lookup(CALLER, "localhost", INET6) == ["::1"]
