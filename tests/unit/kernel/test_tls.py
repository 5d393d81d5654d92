"""TLS between a guest's socket and a server outside: handshake, data, endings, verification,
grants."""

from __future__ import annotations

import gc
import os
import select
import socket
import ssl
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
from kernel_parts import LONG, in_thread, new_process

from balenawasm.kernel.network import NetworkStack
from balenawasm.kernel.network_policy import OutboundPolicy
from balenawasm.kernel.network_resolver import OutsideResolver
from balenawasm.kernel.outcome import Killed
from balenawasm.kernel.tls_settings import TlsSettings
from balenawasm.vfs.endpoint import Endpoint
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import NONBLOCK, SHUT_WR
from tests.outside import outside_network
from tests.tls_authority import Authority, TlsServer, server_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from balenawasm.kernel.socket import TcpSocket

CALLER = new_process()


@pytest.fixture
def outside() -> Iterator[str]:
    with outside_network() as address:
        yield address


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    (tmp_path / "authority").mkdir()
    return Authority(tmp_path / "authority")


class Net:
    """A container's stack that may reach everything; whatever name is looked up is the server's."""

    def __init__(self, directory: Path, address: str, **options: object) -> None:
        self.address = address
        self.closed = False
        self.log: list[str] = []
        self.stack = NetworkStack(
            loopback_directory=directory / "loopback",
            policy=OutboundPolicy.from_texts(["all"]),
            resolver=OutsideResolver(lambda name, family: [address]),
            log=self.log.append,
            **options,
        )

    def connect(self, port: int, flags: int = 0) -> TcpSocket:
        made = self.stack.new_socket(0)
        made.connect(CALLER, Endpoint(self.address, port))
        made.set_flags(flags)
        return made

    def tls(
        self,
        port: int,
        name: str = "server.test",
        *,
        settings: TlsSettings | None = None,
        flags: int = 0,
    ) -> TcpSocket:
        """A connection after the handshake."""
        if name:
            self.stack.lookup(CALLER, name)
        made = self.connect(port, flags)
        try:
            self.stack.tls().begin(CALLER, made, settings or TlsSettings(), name)
        except GuestError:
            made.close()
            raise
        return made

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.stack.close()


@pytest.fixture
def net(tmp_path: Path, outside: str) -> Iterator[Callable[..., Net]]:
    made: list[Net] = []

    def make(**options: object) -> Net:
        made.append(Net(tmp_path, outside, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def trusting(authority: Authority, **more: object) -> TlsSettings:
    return TlsSettings(ca=(authority.certificate.read_text(),), **more)


def receive(end: TcpSocket, size: int = 100) -> bytes:
    buffer = bytearray(size)
    count = end.recv(CALLER, [memoryview(buffer)], peek=False, wait_all=False)
    return bytes(buffer[:count])


def send(end: TcpSocket, data: bytes) -> int:
    return end.send(CALLER, [memoryview(data)])


def refusal(call: Callable[[], object]) -> Errno:
    with pytest.raises(GuestError) as error:
        call()
    return error.value.errno


def echo(connection: ssl.SSLSocket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.unwrap()


def readable(end: TcpSocket, seconds: float = LONG) -> bool:
    return bool(select.select([end.host_fd], [], [], seconds)[0])


def test_a_conversation(net, authority, outside) -> None:
    context = server_context(authority.issue("server.test"), "h2", "http/1.1")
    with TlsServer(context, echo, outside) as server:
        one = net().tls(server.port, settings=trusting(authority, alpn=("http/1.1",)))
        assert send(one, b"hello") == 5
        assert receive(one) == b"hello"
        facts = one.layer.facts
        assert facts.version == "TLSv1.3"
        assert facts.alpn == "http/1.1"
        assert facts.cipher[2] >= 128
        assert ssl.DER_cert_to_PEM_cert(facts.certificate).startswith("-----BEGIN")
        assert facts.peer["subjectAltName"] == (("DNS", "server.test"),)
        assert one.remote() == Endpoint(outside, server.port)
        assert one.fast_form() is None  # native code would take a broken stream for a whole one
        # Our end is closed, theirs is not: what they still have to say arrives.
        one.shutdown(SHUT_WR)
        assert receive(one) == b""
        one.close()


def test_much_data_both_ways(net, authority, outside) -> None:
    with TlsServer(server_context(authority.issue("server.test")), echo, outside) as server:
        one = net().tls(server.port, settings=trusting(authority))
        data = bytes(range(256)) * 16384
        sending = in_thread(lambda: send(one, data))
        received = b""
        while len(received) < len(data):
            received += receive(one, 100_000)
        assert sending.result(LONG) == len(data)
        assert received == data
        one.close()


def test_nobody_reads_and_nothing_is_piled_up(net, authority, outside) -> None:
    stop = threading.Event()

    def flood(connection: ssl.SSLSocket) -> None:
        connection.settimeout(0.3)
        sent = 0
        while sent < 200 << 20:
            try:
                sent += connection.send(b"x" * 65536)
            except TimeoutError:
                break
        accepted.append(sent)
        stop.wait(LONG)

    accepted: list[int] = []
    with TlsServer(server_context(authority.issue("server.test")), flood, outside) as server:
        one = net().tls(server.port, settings=trusting(authority))
        while not accepted:
            assert not stop.wait(0.05)
        assert accepted[0] < 64 << 20  # the sockets' buffers
        stop.set()
        one.close()


def test_pending_data_is_readable_and_a_finished_record_too(net, authority, outside) -> None:
    go = threading.Event()

    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"x" * 10_000)  # one record
        go.wait(LONG)

    with TlsServer(server_context(authority.issue("server.test")), serve, outside) as server:
        one = net().tls(server.port, settings=trusting(authority), flags=0)
        assert readable(one)
        assert receive(one, 1) == b"x"
        assert readable(one, 0)
        left = 9_999
        while left:
            left -= len(receive(one, 4096))
        assert not readable(one, 0)
        go.set()
        one.close()


def test_tls_begins_after_some_plain_text(net, authority, outside) -> None:
    context = server_context(authority.issue("server.test"))
    with socket.create_server((outside, 0)) as listener:

        def serve() -> None:
            plain, _ = listener.accept()
            plain.sendall(b"220 hello")
            assert plain.recv(100) == b"STARTTLS"
            plain.sendall(b"220 go")
            with context.wrap_socket(plain, server_side=True) as connection:
                connection.sendall(connection.recv(100))

        serving = in_thread(serve)
        stack = net()
        stack.stack.lookup(CALLER, "server.test")
        one = stack.connect(listener.getsockname()[1])
        assert receive(one) == b"220 hello"
        send(one, b"STARTTLS")
        assert receive(one) == b"220 go"
        stack.stack.tls().begin(CALLER, one, trusting(authority), "server.test")
        send(one, b"secret")
        assert receive(one) == b"secret"
        one.close()
        serving.result(LONG)


def test_nonblocking(net, authority, outside) -> None:
    with TlsServer(server_context(authority.issue("server.test")), echo, outside) as server:
        stack = net()
        stack.stack.lookup(CALLER, "server.test")
        one = stack.connect(server.port, NONBLOCK)

        def begin() -> None:
            stack.stack.tls().begin(CALLER, one, trusting(authority), "server.test")

        assert refusal(begin) is Errno.EINPROGRESS
        assert readable(one)
        assert not one.is_connecting()
        assert refusal(begin) is Errno.EISCONN
        assert refusal(lambda: receive(one)) is Errno.EAGAIN
        send(one, b"x")
        assert readable(one)
        assert receive(one) == b"x"
        one.close()


@pytest.mark.parametrize(
    ("issue", "name", "code", "text"),
    [
        ({"self_signed": True}, "server.test", 18, "self-signed certificate"),
        ({"expired": True}, "server.test", 10, "certificate has expired"),
        ({}, "other.test", 62, "Hostname mismatch, certificate is not valid for 'other.test'."),
        (None, "server.test", 20, "unable to get local issuer certificate"),
    ],
)
def test_a_bad_certificate(net, authority, outside, tmp_path, issue, name, code, text) -> None:
    if issue is None:
        (tmp_path / "stranger").mkdir()
        issued = Authority(tmp_path / "stranger", "stranger").issue("server.test")
    else:
        issued = authority.issue("server.test", **issue)
    with TlsServer(server_context(issued), echo, outside) as server:
        stack = net()
        one = stack.connect(server.port)
        begin = stack.stack.tls().begin
        assert refusal(lambda: begin(CALLER, one, trusting(authority), name)) is Errno.EPROTO
        failure = one.layer.failure
        assert (failure.kind, failure.code) == ("verify", code)
        assert failure.text == f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {text}"
        assert refusal(lambda: receive(one)) is Errno.EPROTO
        assert refusal(lambda: send(one, b"x")) is Errno.EPROTO
        one.close()


def test_no_store_on_this_machine(net, authority, outside, monkeypatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "/nowhere")
    with TlsServer(server_context(authority.issue("server.test")), echo, outside) as server:
        stack = net()
        one = stack.connect(server.port)
        settings = TlsSettings(system_trust=True)
        begin = stack.stack.tls().begin
        assert refusal(lambda: begin(CALLER, one, settings, "server.test")) is Errno.EPROTO
        assert one.layer.failure.text.endswith("(this machine has no store of CA certificates)")
        assert "ca: ./ca.pem" in stack.log[0]
        one.close()
        # A guest that brings its own trust needs none.
        other = stack.tls(server.port, settings=trusting(authority, system_trust=True))
        other.close()


def test_a_stream_that_breaks_off_is_an_error_after_its_data(net, authority, outside) -> None:
    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"part")
        connection.shutdown(socket.SHUT_RDWR)  # of the TCP connection, without close_notify

    with TlsServer(server_context(authority.issue("server.test")), serve, outside) as server:
        one = net().tls(server.port, settings=trusting(authority))
        assert receive(one) == b"part"
        assert refusal(lambda: receive(one)) is Errno.EPROTO
        assert one.layer.failure.kind == "eof"
        one.close()


def test_the_peer_ends_first(net, authority, outside) -> None:
    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"bye")
        connection.unwrap()  # raises an error for data that still come

    with TlsServer(server_context(authority.issue("server.test")), serve, outside) as server:
        one = net().tls(server.port, settings=trusting(authority))
        assert receive(one) == b"bye"
        assert receive(one) == b""
        assert send(one, b"still here") == 10
        one.close()


def test_no_tls_at_the_other_end(net, outside) -> None:
    with socket.create_server((outside, 0)) as listener:

        def answer() -> None:
            accepted, _ = listener.accept()
            accepted.sendall(b"220 I speak first\r\n" * 10)
            accepted.recv(1000)
            accepted.close()

        answering = in_thread(answer)
        stack = net()
        one = stack.connect(listener.getsockname()[1])
        settings = TlsSettings()
        begin = stack.stack.tls().begin
        assert refusal(lambda: begin(CALLER, one, settings, "server.test")) is Errno.EPROTO
        assert one.layer.failure.reason == "WRONG_VERSION_NUMBER"
        one.close()
        answering.result(LONG)


def test_a_kill_ends_the_handshake(net, outside) -> None:
    with socket.create_server((outside, 0)) as listener:
        stack = net()
        one = stack.connect(listener.getsockname()[1])
        accepted, _ = listener.accept()
        victim = new_process(2)
        tls = stack.stack.tls()
        waiting = in_thread(lambda: tls.begin(victim, one, TlsSettings(), "server.test"))
        assert accepted.recv(1)  # it has said hello
        victim.signal(9)
        with pytest.raises(Killed):
            waiting.result(LONG)
        one.close()
        while accepted.recv(1000):
            pass
        accepted.close()


def test_what_was_written_is_sent_when_the_container_ends(net, authority, outside) -> None:
    heard = bytearray()
    done = threading.Event()

    def serve(connection: ssl.SSLSocket) -> None:
        while data := connection.recv(65536):
            heard.extend(data)
        done.set()

    with TlsServer(server_context(authority.issue("server.test")), serve, outside) as server:
        stack = net()
        one = stack.tls(server.port, settings=trusting(authority))
        send(one, b"x" * 150_000)
        one.close()
        stack.close()
        assert done.wait(LONG)  # and with close_notify: recv would have raised
        assert len(heard) == 150_000


def test_nothing_is_left_open(net, authority, outside) -> None:
    with TlsServer(server_context(authority.issue("server.test")), echo, outside) as server:
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        stack = net()
        for number in range(20):
            one = stack.tls(server.port, settings=trusting(authority))
            send(one, b"x" * (number * 10_000))
            if number % 2:
                one.shutdown(SHUT_WR)
            one.close()
            assert refusal(lambda: stack.tls(server.port)) is Errno.EPROTO
            half = stack.connect(server.port, NONBLOCK)
            begin = partial(stack.stack.tls().begin, CALLER, half, trusting(authority))
            assert refusal(partial(begin, "server.test")) is Errno.EINPROGRESS
            half.close()
        stack.close()
    gc.collect()
    # The server's own listener is closed by now, and its connections.
    assert len(os.listdir("/proc/self/fd")) <= before


def test_no_verification_needs_a_grant(net, authority, outside) -> None:
    issued = authority.issue("server.test", self_signed=True)
    with TlsServer(server_context(issued), echo, outside) as server:
        stack = net()
        for settings in (TlsSettings(verify=False), TlsSettings(check_name=False)):
            assert refusal(lambda s=settings: stack.tls(server.port, settings=s)) is Errno.EACCES
        assert f'{{to: "tcp://server.test:{server.port}", verify: false}}' in stack.log[0]
        assert len(stack.log) == 1
        granted = net(tls=[(f"tcp://server.test:{server.port}", "", "", "", False)])
        one = granted.tls(server.port, settings=TlsSettings(verify=False))
        send(one, b"x")
        assert receive(one) == b"x"
        one.close()


def test_a_grant_brings_trust_and_a_client_certificate(net, authority, outside) -> None:
    subjects: list[object] = []

    def serve(connection: ssl.SSLSocket) -> None:
        subjects.append(connection.getpeercert()["subject"][0][0][1])
        echo(connection)

    context = server_context(authority.issue("server.test"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.certificate)
    client = authority.issue("device-7")
    files = (str(authority.certificate), str(client.certificate), str(client.key), True)
    with TlsServer(context, serve, outside) as server:
        stack = net(tls=[(f"tcp://server.test:{server.port}", *files)])
        one = stack.tls(server.port)
        send(one, b"x")
        assert receive(one) == b"x"
        assert subjects == ["device-7"]
        one.close()
        # Another name of the same address is not who the certificate was given for.
        stack = net(tls=[("tcp://friend.test:1", *files)])
        assert refusal(lambda: stack.tls(server.port)) is Errno.EPROTO


def test_a_grants_file_that_is_missing(net, outside, tmp_path) -> None:
    with socket.create_server((outside, 0)) as listener:
        port = listener.getsockname()[1]
        stack = net(tls=[(f"tcp://server.test:{port}", str(tmp_path / "no.pem"), "", "", True)])
        assert refusal(lambda: stack.tls(port)) is Errno.EIO
        assert "no.pem" in stack.log[0]


def test_needs_a_connection_and_a_name(net, outside) -> None:
    stack = net()
    begin = stack.stack.tls().begin
    new = stack.stack.new_socket()
    assert refusal(lambda: begin(CALLER, new, TlsSettings(), "x")) is Errno.ENOTCONN
    with socket.create_server((outside, 0)) as listener:
        one = stack.connect(listener.getsockname()[1])
        for name in ("", ".", "x" * 300):
            assert refusal(lambda n=name: begin(CALLER, one, TlsSettings(), n)) is Errno.EINVAL
        one.close()
