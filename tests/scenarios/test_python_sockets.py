"""Unmodified Python programs with UDP, IPv6 and Unix sockets."""

from __future__ import annotations

import socket
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.scenarios.python_guest import Container


def lines(container: Callable[..., Container], source: str, **options: object) -> list[str]:
    return container(**options).run(dedent(source)).splitlines()


def test_udp(container) -> None:
    assert lines(
        container,
        """
        import socket, select
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("", 0))
        port = server.getsockname()[1]
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        print(client.sendto(b"hello", ("web", port)))
        print(select.select([server], [client], [], 5)[:2] == ([server], [client]))
        print(server.recvfrom(100, socket.MSG_PEEK)[0])
        data, address = server.recvfrom(3)
        print(data, address[0])
        server.sendto(b"back", 0, address)
        client.settimeout(5)
        print(client.recvfrom(100) == (b"back", ("10.99.0.2", port)))
        client.connect(("127.0.0.1", port))
        print(client.send(b""), server.recvfrom(10)[0], client.getpeername() == ("127.0.0.1", port))
        client.sendall(b"abcdef")
        data, ancillary, flags, address = server.recvmsg(3)
        print(data, ancillary, flags == socket.MSG_TRUNC, address == client.getsockname())
        buffer = bytearray(10)
        client.send(b"into")
        print(server.recvfrom_into(buffer)[0], bytes(buffer[:4]))
        server.settimeout(0.01)
        for call in (server.recv, server.recvfrom):
            try: call(10)
            except TimeoutError as error: print(error)
        server.setblocking(False)
        try: server.recvfrom(10)
        except BlockingIOError: print("would block")
        kind = server.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
        print(server.type == socket.SOCK_DGRAM, kind == server.type)
        server.close()
        client.send(b"nobody")
        try: client.recv(10)
        except ConnectionRefusedError as error: print(error)
        """,
    ) == [
        "5", "True", "b'hello'", "b'hel' 10.99.0.2", "True", "0 b'' True", "b'abc' [] True True",
        "4 b'into'", "timed out", "timed out", "would block", "True True",
        "[Errno 14] Connection refused",
    ]  # fmt: skip


def test_what_is_denied_says_so_and_tells_the_grant(container) -> None:
    web = container()
    printed = web.run(
        dedent(
            """
            import socket
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.connect(("192.0.2.1", 9))
            print(s.getsockname()[0])
            for call in (lambda: s.send(b"x"), lambda: s.sendto(b"x", ("192.0.2.2", 53))):
                try: call()
                except PermissionError as error: print(error)
            """
        )
    )
    assert printed.startswith("10.99.0.2\n[Errno 2] Permission denied: it is outside")
    assert [line.rpartition("allow: ")[2].partition(" (")[0] for line in web.log] == [
        '["udp://192.0.2.1:9"]',
        '["udp://192.0.2.2:53"]',
    ]


def test_ipv6(container) -> None:
    assert lines(
        container,
        """
        import socket
        print(socket.has_ipv6, socket.has_dualstack_ipv6())
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        port = listener.getsockname()[1]
        print(listener.getsockname() == ("::", port, 0, 0))
        for host in ("::1", "127.0.0.1", "web"):
            client = socket.create_connection((host, port), timeout=5)
            server, address = listener.accept()
            print(address[0], client.getpeername()[0], server.family == socket.AF_INET6)
            client.sendall(b"x"); print(server.recv(1)); client.close(); server.close()
        only = socket.create_server(("::", 0), family=socket.AF_INET6)
        print(only.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
        try: socket.create_connection(("127.0.0.1", only.getsockname()[1]))
        except ConnectionRefusedError: print("refused")
        found = socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        print([(a[0] == socket.AF_INET6, a[4][0]) for a in found])
        print(socket.getaddrinfo("::1", 80, proto=socket.IPPROTO_TCP)[0][4], end=" ")
        print(socket.getaddrinfo("web", 1, socket.AF_INET)[0][4])
        four, six = socket.AF_INET, socket.AF_INET6
        for host, family in (("::1", four), ("web", six), ("127.0.0.1", six)):
            try: socket.getaddrinfo(host, 1, family)
            except socket.gaierror as error: print(error.strerror)
        u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.bind(("::1", 0))
        u.sendto(b"to myself", u.getsockname()); print(u.recvfrom(100)[1] == u.getsockname())
        print(socket.getnameinfo(("::1", 80, 0, 0), 0))
        print(socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, "0:0::1")))
        """,
    ) == [
        "True True", "True",
        "::1 ::1 True", "b'x'",
        "::ffff:127.0.0.1 127.0.0.1 True", "b'x'",
        "::ffff:10.99.0.2 10.99.0.2 True", "b'x'",
        "1", "refused", "[(False, '127.0.0.1'), (True, '::1')]",
        "('::1', 80, 0, 0) ('10.99.0.2', 1)",
        "Address family for hostname not supported", "Name or service not known",
        "Address family for hostname not supported",
        "True", "('localhost', 'http')", "::1",
    ]  # fmt: skip


def test_unix_sockets(container) -> None:
    assert lines(
        container,
        """
        import os, socket, stat, struct
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("relative.sock")
        listener.listen()
        print(listener.getsockname(), stat.S_ISSOCK(os.stat("relative.sock").st_mode))
        client = socket.socket(socket.AF_UNIX)
        client.connect("/app/relative.sock")
        server, address = listener.accept()
        print(repr(address), server.family == socket.AF_UNIX, client.getpeername())
        client.sendall(b"hello"); client.shutdown(socket.SHUT_WR)
        print(server.makefile("rb").read())
        packed = server.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, gid = struct.unpack("3i", packed)
        print(pid == os.getpid(), uid, gid)
        try: socket.socket(socket.AF_UNIX).bind("relative.sock")
        except OSError as error: print(error)
        os.unlink("relative.sock")
        try: socket.socket(socket.AF_UNIX).connect("relative.sock")
        except FileNotFoundError as error: print(error)
        try: socket.socket(socket.AF_UNIX).bind("/" + "x" * 110)
        except OSError as error: print(error)
        box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); box.bind("\\0box")
        other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); other.bind(b"/tmp-other")
        other.sendto(b"letter", b"\\0box"); print(box.recvfrom(100), box.getsockname())
        box.sendto(b"reply", "/tmp-other"); print(other.recvfrom(100))
        a, b = socket.socketpair(); a.send(b"1")
        print(b.recv(1), a.family == socket.AF_UNIX, repr(a.getsockname()))
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        a.send(b"one"); a.send(b"two"); print(b.recv(9), b.recv(9))
        a, b = socket.socketpair(type=socket.SOCK_SEQPACKET)
        a.send(b"one"); a.send(b"two"); print(b.recv(9))
        c = socket.socket(fileno=b.detach()); print(c.family.name, c.type.name)
        """,
    ) == [
        "/app/relative.sock True", "'' True /app/relative.sock", "b'hello'", "True 0 0",
        "[Errno 3] Address in use", "[Errno 44] No such file or directory",
        "AF_UNIX path too long", "(b'letter', '/tmp-other') b'\\x00box'", "(b'reply', b'\\x00box')",
        "b'1' True ''", "b'one' b'two'", "b'one'", "AF_UNIX SOCK_SEQPACKET",
    ]  # fmt: skip


def test_socketservers(container) -> None:
    assert lines(
        container,
        """
        import socket, socketserver
        class Upper(socketserver.DatagramRequestHandler):
            def handle(self): self.wfile.write(self.rfile.read().upper())
        class Lines(socketserver.StreamRequestHandler):
            def handle(self): self.wfile.write(self.rfile.readline()[::-1])
        for kind in (socketserver.UDPServer, socketserver.ThreadingUDPServer):
            with kind(("127.0.0.1", 0), Upper) as server:
                client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                client.sendto(b"hello", server.server_address)
                server.handle_request(); client.settimeout(5); print(client.recv(100))
        for kind in (socketserver.UnixStreamServer, socketserver.ThreadingUnixStreamServer):
            path = "/" + kind.__name__
            with kind(path, Lines) as server:
                client = socket.socket(socket.AF_UNIX); client.connect(path)
                client.sendall(b"abc\\n")
                server.handle_request(); client.settimeout(5); print(client.recv(100))
        with socketserver.UnixDatagramServer("/dgram", Upper) as server:
            client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); client.bind("/reply")
            client.sendto(b"hello", "/dgram"); server.handle_request(); print(client.recv(100))
        """,
    ) == ["b'HELLO'", "b'HELLO'", "b'\\ncba'", "b'\\ncba'", "b'HELLO'"]


def test_asyncio(container) -> None:
    assert lines(
        container,
        """
        import asyncio, socket
        class Echo(asyncio.DatagramProtocol):
            def connection_made(self, transport): self.transport = transport
            def datagram_received(self, data, address): self.transport.sendto(data.upper(), address)
        class Client(asyncio.DatagramProtocol):
            def __init__(self): self.answer, self.failure = asyncio.Future(), asyncio.Future()
            def datagram_received(self, data, address): self.answer.set_result(data)
            def error_received(self, error): self.failure.set_result(type(error).__name__)
        async def main():
            loop = asyncio.get_running_loop()
            server, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
            address = server.get_extra_info("sockname")
            client, protocol = await loop.create_datagram_endpoint(Client, remote_addr=address)
            client.sendto(b"hello")
            print(await asyncio.wait_for(protocol.answer, 5))
            server.close(); await asyncio.sleep(0); client.sendto(b"gone")
            print(await asyncio.wait_for(protocol.failure, 5))
            async def serve(reader, writer):
                writer.write((await reader.readline())[::-1]); writer.close()
            async with await asyncio.start_unix_server(serve, "/app/s.sock"):
                reader, writer = await asyncio.open_unix_connection("/app/s.sock")
                writer.write(b"abc\\n")
                print(await asyncio.wait_for(reader.read(), 5)); writer.close()
            async with await asyncio.start_server(serve, "::1", 0) as six:
                host, port, *_ = six.sockets[0].getsockname()
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(b"six\\n")
                print(await asyncio.wait_for(reader.read(), 5)); writer.close()
            async with await asyncio.start_server(serve, "", 7000) as both:
                print(sorted(s.getsockname()[0] for s in both.sockets))
            u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            u.setblocking(False); u.bind(("", 0))
            await loop.sock_sendto(u, b"raw", u.getsockname())
            print((await loop.sock_recvfrom(u, 10))[0])
        asyncio.run(main())
        """,
    ) == [
        "b'HELLO'",
        "ConnectionRefusedError",
        "b'\\ncba'",
        "b'\\nxis'",
        "['0.0.0.0', '::']",
        "b'raw'",
    ]


def test_logging_to_syslog_by_both_ways(container) -> None:
    assert (
        lines(
            container,
            """
        import logging, logging.handlers, socket
        box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); box.bind("/app/log")
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); port.bind(("", 514))
        for address, receiver in (("/app/log", box), (("localhost", 514), port)):
            log = logging.getLogger(str(address)); log.propagate = False
            log.addHandler(logging.handlers.SysLogHandler(address)); log.warning("hello")
            receiver.settimeout(5); print(receiver.recv(100))
        """,
        )
        == ["b'<12>hello\\x00'"] * 2
    )


def test_two_services_talk_udp_and_the_outside_by_a_published_port(container) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as published:
        published.bind(("127.0.0.1", 0))
        web = container(published_udp={53: [published.fileno()]})
        web.serve(
            dedent(
                """
                import socket
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                s.bind(("", 53)); print("ready")
                while True:
                    data, address = s.recvfrom(100)
                    s.sendto(b"%s from %s" % (data, address[0].encode()), address)
                """
            ),
            "ready",
        )
        api = container(name="api", address="10.99.0.3")
        asked = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        asked += "s.settimeout(10); s.sendto(b'hello', ('web', 53)); print(s.recvfrom(100))"
        assert api.run(asked) == "(b'hello from 10.99.0.3', ('10.99.0.2', 53))\n"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(30)
            client.sendto(b"hi", published.getsockname())
            assert client.recv(100) == b"hi from 127.0.0.1"


@pytest.mark.parametrize(
    "name", ["SO_REUSEPORT", "SO_RCVTIMEO", "SO_DOMAIN", "SO_PROTOCOL", "SO_KEEPALIVE"]
)
def test_options(container, name) -> None:
    expected = {"SO_RCVTIMEO": "(2, 500000)", "SO_DOMAIN": "1", "SO_PROTOCOL": "17"}.get(name, "1")
    source = f"""
    import socket, struct
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    option = socket.{name}
    if option == socket.SO_RCVTIMEO:
        s.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 2, 500000))
        print(struct.unpack("ll", s.getsockopt(socket.SOL_SOCKET, option, 8)))
    else:
        if option not in (socket.SO_DOMAIN, socket.SO_PROTOCOL):
            s.setsockopt(socket.SOL_SOCKET, option, 1)
        print(s.getsockopt(socket.SOL_SOCKET, option))
    """
    assert lines(container, source) == [expected]
