"""TCP over IPv6, shared ports, options that are inherited, and limits in time."""

from __future__ import annotations

import contextlib
import select
import socket
from typing import TYPE_CHECKING

import pytest
from network_parts import API, CALLER, WEB, Net, receive, refusal, send

from balenawasm.kernel import poll
from balenawasm.kernel.network_policy import OutboundPolicy
from balenawasm.vfs.endpoint import ANY, LOOPBACK, LOOPBACK6, Endpoint
from balenawasm.vfs.socket import INET6, MSG_DONTWAIT, MSG_WAITALL
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import NONBLOCK
from tests.outside import add_inet6, outside_network

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def net(tmp_path) -> Iterator[Net]:
    made = Net(tmp_path)
    yield made
    made.close()


def six(net: Net, stack, flags: int = 0):
    return net.keep(stack.new_socket(flags, INET6))


def test_a_dual_listener_and_an_ipv6_only_one(net) -> None:
    web, api = net.stack(WEB), net.stack(API)
    dual = six(net, web, NONBLOCK)
    dual.bind(Endpoint("::", 80))
    dual.listen(5)
    assert refusal(lambda: net.listener(web, ANY, 80)) is Errno.EADDRINUSE
    net.connect(api, WEB)
    assert net.accept(dual).remote().host == "::ffff:" + API
    client = six(net, web)
    client.connect(CALLER, Endpoint("::", 80))
    server = net.accept(dual)
    assert (server.local(), server.remote().host) == (Endpoint(LOOPBACK6, 80), LOOPBACK6)
    only = six(net, web, NONBLOCK)
    only.set_option("IPV6_V6ONLY", "1")
    only.bind(Endpoint("::", 81))
    only.listen(5)
    net.listener(web, ANY, 81)  # beside it
    assert refusal(lambda: only.accept(CALLER, 0)) is Errno.EAGAIN
    for host in (LOOPBACK, "::ffff:127.0.0.1"):
        net.connect(web, LOOPBACK, 81)
        assert refusal(lambda: only.accept(CALLER, 0)) is Errno.EAGAIN, host
    assert refusal(lambda: six(net, web).bind(Endpoint("2001:db8::1", 1))) is Errno.EADDRNOTAVAIL
    assert refusal(lambda: net.connect(web, "::1")) is Errno.EAFNOSUPPORT
    narrow = six(net, web)
    narrow.set_option("IPV6_V6ONLY", "1")
    assert refusal(lambda: narrow.bind(Endpoint("::ffff:" + WEB, 1))) is Errno.EINVAL
    assert refusal(lambda: narrow.connect(CALLER, Endpoint("::ffff:" + WEB, 80))) is (
        Errno.ENETUNREACH
    )


def test_an_ipv6_listener_tells_the_real_peer_of_a_published_port(net) -> None:
    with socket.socket(socket.AF_INET6) as published:
        try:
            published.bind(("::1", 0))
        except OSError:
            pytest.skip("the host has no IPv6")
        published.listen()
        web = net.stack(WEB, published={80: [published.fileno()]})
        listener = six(net, web, NONBLOCK)
        listener.bind(Endpoint("::", 80))
        listener.listen(1)
        with socket.create_connection(published.getsockname()[:2]) as real:
            assert net.accept(listener).remote() == Endpoint(*real.getsockname()[:2])


def test_outside_over_ipv6_by_grant(net) -> None:
    with outside_network():
        add_inet6("2001:db8::1")
        with socket.create_server(("2001:db8::1", 0), family=socket.AF_INET6) as server:
            port = server.getsockname()[1]
            grants = OutboundPolicy.from_texts([f"tcp://[2001:db8::1]:{port}"])
            web = net.stack(WEB, policy=grants)
            client = six(net, web)
            client.connect(CALLER, Endpoint("2001:db8::1", port))
            assert client.remote() == Endpoint("2001:db8::1", port)
            nonblocking = six(net, web, NONBLOCK)
            with contextlib.suppress(GuestError):  # on one machine it may be there at once
                nonblocking.connect(CALLER, client.remote())
            CALLER.wait([(nonblocking.host_fd, select.POLLOUT)])
            assert nonblocking.take_error() is Errno.SUCCESS
            denied = refusal(lambda: six(net, web).connect(CALLER, Endpoint("2001:db8::1", 1)))
            assert denied is Errno.EACCES
            assert 'allow: ["tcp://[2001:db8::1]:1"]' in net.logged[-1]


def test_sockets_that_share_a_port(net) -> None:
    web = net.stack(WEB)
    first, second = (net.socket(web, NONBLOCK) for _ in range(2))
    for one in (first, second):
        one.set_option("SO_REUSEPORT", "1")
        one.bind(Endpoint(ANY, 80))
        one.listen(5)
    net.connect(web, WEB)
    ready = [s for s in (first, second) if poll.poll(CALLER, [poll.Interest(s, poll.READ)], 0)[0]]
    assert ready
    net.accept(ready[0])
    first.close()
    net.connect(web, WEB)
    net.accept(second)
    assert refusal(lambda: net.listener(web)) is Errno.EADDRINUSE


def test_accepted_sockets_inherit_and_tell_what_they_are(net) -> None:
    web = net.stack(WEB)
    listener = net.listener(web)
    listener.set_option("SO_KEEPALIVE", "1")
    listener.set_option("SO_RCVTIMEO", "5000")
    net.connect(web, WEB)
    server = net.accept(listener)
    assert server.get_option("SO_KEEPALIVE") == "1"
    assert server.get_option("SO_RCVTIMEO") == "5000"
    assert (server.get_option("SO_DOMAIN"), server.get_option("SO_PROTOCOL")) == ("inet", "6")
    assert refusal(lambda: receive(server)) is Errno.EAGAIN  # after 5 ms
    for name, value in (("SO_RCVTIMEO", "x"), ("SO_SNDTIMEO", "9" * 17), ("SO_RCVTIMEO", "-1")):
        assert refusal(lambda n=name, v=value: server.set_option(n, v)) is Errno.EINVAL
    assert refusal(lambda: server.set_option("IPV6_V6ONLY", "1")) is Errno.ENOPROTOOPT


def test_limits_in_time(net) -> None:
    web = net.stack(WEB)
    listener = net.socket(web)
    listener.bind(Endpoint(ANY, 80))
    listener.listen(1)
    listener.set_option("SO_RCVTIMEO", "3000")
    assert refusal(lambda: listener.accept(CALLER, 0)) is Errno.EAGAIN
    client = net.connect(web, WEB)
    server = net.keep(listener.accept(CALLER, 0))
    client.set_option("SO_SNDTIMEO", "3000")
    assert 0 < send(client, bytes(10_000_000)) < 10_000_000
    assert refusal(lambda: send(client, b"x" * 100_000)) is Errno.EAGAIN
    while server.pending():
        receive(server, 1 << 20)
    send(client, b"abc")
    server.set_option("SO_RCVTIMEO", "3000")
    assert receive(server, 10, MSG_WAITALL)[0] == b"abc"
    assert refusal(lambda: receive(server, 1, MSG_DONTWAIT)) is Errno.EAGAIN
    server.set_option("SO_RCVTIMEO", "0")
    assert refusal(lambda: receive(server, 1, MSG_DONTWAIT)) is Errno.EAGAIN
