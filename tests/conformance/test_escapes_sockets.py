"""What hostile guests try with sockets: reaching the host and other containers, posing as others,
and having the kernel keep more than it may.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest
from posix_guest import PosixGuest

from balenawasm.kernel.fd_table import FdEntry
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.network import NetworkStack
from balenawasm.kernel.network_policy import OutboundPolicy
from balenawasm.kernel.network_resolver import OutsideResolver
from balenawasm.kernel.passing import MOST_FILES
from balenawasm.kernel.process import Process
from balenawasm.vfs.endpoint import UNNAMED, Endpoint, LocalName
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.net import NetFs
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.node import OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.vfs.socket import DGRAM, SEQPACKET, STREAM
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REBOUND = {
    "loopback.example": ["127.0.0.1"],
    "wildcard.example": ["0.0.0.0"],
    "network.example": ["10.5.0.3"],
    "outside.example": ["192.0.2.7"],
}


class Container:
    """A network stack and its files, with a process that uses them."""

    def __init__(self, base: Path, name: str, address: str, *grants: str) -> None:
        self.lines: list[str] = []
        self.stack = NetworkStack(
            loopback_directory=base / name,
            hostname=name,
            address=address,
            network_directory=base / "network",
            policy=OutboundPolicy.from_texts(grants),
            resolver=OutsideResolver(lambda name, family: REBOUND.get(name, [])),
            log=self.lines.append,
        )
        self.namespace = Namespace(Tmpfs(1 << 20).root)
        self.stack.namespace = self.namespace
        (base / "volume").mkdir(exist_ok=True)
        self.namespace.mount(b"/v", HostDirectory(base / "volume").root)
        self.namespace.mount(b"/net", NetFs(self.stack).root)
        self.process = Process(
            pid=7, argv=[b"x"], environ=[], cwd=b"/", namespace=self.namespace, limits=Limits()
        )

    def send(self, path: str) -> None:
        """Open a socket by a path and send a byte."""
        _, opened = self.namespace.open(
            self.process,
            self.namespace.root,
            path.encode(),
            oflags=0,
            flags=OpenFlags(read=True, write=True),
            follow=True,
        )
        opened.retain()
        try:
            opened.write(self.process, [memoryview(b"x")])
        finally:
            opened.release()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Container]]:
    with contextlib.ExitStack() as stack:

        def make(name: str, address: str, *grants: str) -> Container:
            made = Container(tmp_path, name, address, *grants)
            stack.callback(made.stack.close)
            return made

        yield make


def refusal(call: Callable[..., object], *arguments: object) -> Errno:
    with pytest.raises(GuestError) as error:
        call(*arguments)
    return error.value.errno


# Addresses.

HOSTS_OWN = (
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "*", "localhost", "x.localhost", "::1", "::"),
    *("::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:0.0.0.0"),
    *("::1%lo", "0", "127.1", "2130706433", "0x7f000001", "017700000001"),
    *("loopback.example", "wildcard.example"),
)


@pytest.fixture
def host_listeners() -> Iterator[list[socket.socket]]:
    """TCP and UDP, IPv4 and IPv6, on one port of the host's loopback."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = first.getsockname()[1]
        made = [first]
        for family, kind, address in (
            (socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1"),
            (socket.AF_INET6, socket.SOCK_STREAM, "::1"),
            (socket.AF_INET6, socket.SOCK_DGRAM, "::1"),
        ):
            with contextlib.suppress(OSError):  # a host without IPv6
                other = stack.enter_context(socket.socket(family, kind))
                if family == socket.AF_INET6:
                    other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                other.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    other.listen()
                made.append(other)
        for one in made:
            one.setblocking(False)
        yield made


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_no_address_is_the_hosts_loopback(
    make: Callable[..., Container], host_listeners: list[socket.socket], protocol: str
) -> None:
    """Not even with a grant for everything, and for names whose owner lies about them."""
    container = make("a", "10.5.0.2", "all")
    port = host_listeners[0].getsockname()[1]
    for host in HOSTS_OWN:
        with contextlib.suppress(GuestError):
            container.send(f"/net/{protocol}/connect/{host}!{port}")
    for listener in host_listeners:
        with pytest.raises(BlockingIOError):
            (listener.accept if listener.type == socket.SOCK_STREAM else listener.recv)(
                *(() if listener.type == socket.SOCK_STREAM else (9,))
            )


def test_a_grant_is_for_its_protocol_and_port(make: Callable[..., Container]) -> None:
    container = make("a", "10.5.0.2", "tcp://192.0.2.1:53", "udp://192.0.2.2:53")
    for path in (
        "/net/udp/connect/192.0.2.1!53",
        "/net/udp/connect/::ffff:192.0.2.1!53",
        "/net/tcp/connect/192.0.2.2!53",
        "/net/tcp/connect/192.0.2.1!80",
        "/net/udp/connect/192.0.2.2!80",
        "/net/tls/connect/192.0.2.2!53",
        "/net/tcp/connect/::ffff:192.0.2.2!53",
        "/net/udp/connect/255.255.255.255!53",
        "/net/udp/connect/224.0.0.1!53",
    ):
        assert refusal(container.send, path) is Errno.EACCES, path


def test_a_name_gives_its_address_only_with_a_grant_and_a_lookup(
    make: Callable[..., Container],
) -> None:
    container = make("a", "10.5.0.2", "tcp://network.example:80", "udp://outside.example:9")
    assert refusal(container.stack.lookup, container.process, "loopback.example") is Errno.ENOENT
    assert refusal(container.send, "/net/udp/connect/192.0.2.7!9") is Errno.EACCES
    assert container.stack.lookup(container.process, "outside.example") == ["192.0.2.7"]
    assert refusal(container.send, "/net/tcp/connect/192.0.2.7!9") is Errno.EACCES
    assert refusal(container.send, "/net/udp/connect/192.0.2.7!10") is Errno.EACCES
    # What the name's owner says of our network leads there, not to the host's of that address.
    other = make("b", "10.5.0.3")
    listener = other.stack.new_socket()
    listener.retain()
    listener.bind(Endpoint("10.5.0.3", 80))
    listener.listen(1)
    container.send("/net/tcp/connect/network.example!80")
    accepted = listener.accept(other.process, 0)
    accepted.retain()
    assert accepted.remote().host == "10.5.0.2"
    accepted.release()
    listener.release()


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_no_port_of_another_container_is_taken(
    make: Callable[..., Container], protocol: str
) -> None:
    make("b", "10.5.0.3")
    container = make("a", "10.5.0.2")
    new = container.stack.new_udp() if protocol == "udp" else container.stack.new_socket()
    new.retain()
    for host in ("10.5.0.3", "10.5.0.1", "192.0.2.1", "255.255.255.255", "fe80::1"):
        assert refusal(new.bind, Endpoint(host, 53)) in (Errno.EADDRNOTAVAIL, Errno.EAFNOSUPPORT)
    new.release()


# Unix sockets.


@pytest.mark.parametrize("kind", [STREAM, SEQPACKET, DGRAM])
def test_private_names_are_private(make: Callable[..., Container], kind: str) -> None:
    containers = make("a", "10.5.0.2"), make("b", "10.5.0.3")
    for name in (b"\0abstract", b"/path", b"\0", b"\0balenawasm-x"):
        bound = containers[0].stack.new_local(kind)
        bound.retain()
        bound.bind(LocalName(name))
        if kind != DGRAM:
            bound.listen(1)
        other = containers[1].stack.new_local(kind)
        other.retain()
        errno = refusal(other.connect, containers[1].process, LocalName(name))
        assert errno in (Errno.ECONNREFUSED, Errno.ENOENT)
        bound.release()
        other.release()


def test_nobody_poses_as_a_socket_of_the_other_container(
    make: Callable[..., Container],
) -> None:
    """Through a shared volume: a stranger has no name and no pid here."""
    ours, theirs = make("a", "10.5.0.2"), make("b", "10.5.0.3")
    with contextlib.ExitStack() as stack:

        def local(container: Container, kind: str, name: bytes) -> object:
            made = container.stack.new_local(kind)
            made.retain()
            stack.callback(made.release)
            if name:
                made.bind(LocalName(name))
            return made

        server = local(ours, DGRAM, b"/v/datagrams")
        for name in (b"\0first", b"\0second", b"/third"):
            local(ours, DGRAM, name)
            poser = local(theirs, DGRAM, name)
            poser.send_to(theirs.process, [memoryview(b"x")], LocalName(b"/v/datagrams"))
            received = server.receive(ours.process, [memoryview(bytearray(9))])
            assert received.address == UNNAMED
        listener = local(ours, STREAM, b"/v/stream")
        listener.listen(1)
        client = local(theirs, STREAM, b"")
        client.connect(theirs.process, LocalName(b"/v/stream"))
        accepted = listener.accept(ours.process, 0)
        accepted.retain()
        stack.callback(accepted.release)
        assert accepted.get_option("SO_PEERCRED") == "0,0,0"


# What the kernel keeps.


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[PosixGuest]:
    guest = PosixGuest(tmp_path / "loopback")
    yield guest
    guest.close()


def host_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def pair(guest: PosixGuest, kind: int = 1) -> tuple[int, int]:
    fds = guest.alloc(8)
    assert guest.raw("socketpair", 1, kind, 0, fds) == 0
    first, second = guest.unpack("ii", fds)
    return first, second


def send_fds(guest: PosixGuest, fd: int, *passed: int) -> int:
    """One byte with open files."""
    data = b"".join(number.to_bytes(4, "little") for number in passed)
    header = (12 + len(data)).to_bytes(4, "little") + b"\1\0\0\0" + b"\1\0\0\0"
    control = guest.put(header + data)
    vector = guest.put(guest.put(b"x").to_bytes(4, "little") + b"\1\0\0\0")
    words = (0, 0, vector, 1, control, 12 + len(data), 0)
    message = guest.put(b"".join(word.to_bytes(4, "little") for word in words))
    return guest.raw("sendmsg", fd, message, 0x40)


def test_sockets_on_their_way_through_each_other_are_bounded(guest: PosixGuest) -> None:
    """Nobody can ever receive them."""
    before = host_fds()
    answers = []
    for _ in range(600):
        mark = guest._top
        first, second = pair(guest)
        others = [fd for _ in range(4) for fd in pair(guest)]
        answers.append(send_fds(guest, first, first, second, *others))
        for fd in (first, second, *others):
            guest("close", fd)
        guest._top = mark
    assert answers[0] == 1
    assert answers[-1] == -24  # EMFILE
    assert host_fds() - before < 3 * MOST_FILES
    first, second = pair(guest)  # all else goes on
    assert guest.raw("write", first, guest.put(b"x"), 1) == 1
    assert guest.raw("read", second, guest.alloc(1), 1) == 1


def test_what_nobody_reads_is_let_go_of(guest: PosixGuest) -> None:
    before = host_fds()
    for _ in range(300):
        mark = guest._top
        first, second = pair(guest)
        passed, other = pair(guest, 2)
        assert send_fds(guest, first, passed, other) == 1
        for fd in (passed, other, second, first):
            guest("close", fd)
        guest._top = mark
    assert host_fds() - before < 20


def test_accepted_sockets_that_nobody_fetches_are_bounded(make: Callable[..., Container]) -> None:
    container = make("a", "10.5.0.2")
    before = host_fds()
    namespace, process = container.namespace, container.process
    _, listener = namespace.open(
        process,
        namespace.root,
        b"/net/tcp/listen/*!80",
        oflags=0,
        flags=OpenFlags(read=True, write=True),
        follow=True,
    )
    listener.retain()

    process.fds.put(5, FdEntry(listener))
    for _ in range(200):
        container.send("/net/tcp/connect/127.0.0.1!80")
        command = b"/net/sock/%d/accept" % listener.stat().ino
        assert namespace.read_link(process, namespace.root, command)
    assert host_fds() - before < 100
    process.fds.close_all()
    listener.release()
