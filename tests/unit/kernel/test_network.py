"""Where connections go: loopback, the network, a published port, outside."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from network_parts import API, CALLER, WEB, Net, refusal

from balenawasm.kernel.network_policy import OutboundPolicy
from balenawasm.kernel.network_resolver import OutsideResolver
from balenawasm.vfs.endpoint import ANY, LOOPBACK, Endpoint
from balenawasm.wasi.errno import Errno

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def net(tmp_path) -> Iterator[Net]:
    made = Net(tmp_path)
    yield made
    made.close()


def test_two_services_on_one_port(net) -> None:
    web, api = net.stack(WEB), net.stack(API)
    listeners = {WEB: net.listener(web), API: net.listener(api)}
    for address, listener in listeners.items():
        client = net.connect(web, address)
        server = net.accept(listener)
        assert client.remote() == server.local() == Endpoint(address, 80)
        assert client.local() == server.remote()
        assert client.local().host == WEB
        assert client.local().port >= 32768


def test_loopback_is_private(net) -> None:
    web, api = net.stack(WEB), net.stack(API)
    listener = net.listener(web, LOOPBACK)
    for host in (LOOPBACK, "127.0.0.7", ANY):
        client = net.connect(web, host)
        server = net.accept(listener)
        assert server.local() == Endpoint(LOOPBACK, 80)
        assert server.remote() == client.local()
    assert refusal(lambda: net.connect(api, LOOPBACK)) is Errno.ECONNREFUSED
    assert refusal(lambda: net.connect(api, WEB)) is Errno.ECONNREFUSED
    assert refusal(lambda: net.connect(web, WEB)) is Errno.ECONNREFUSED


def test_own_address_is_not_loopback(net) -> None:
    web = net.stack(WEB)
    listener = net.listener(web, WEB)
    net.connect(web, WEB)
    assert net.accept(listener).local() == Endpoint(WEB, 80)
    assert refusal(lambda: net.connect(web, LOOPBACK)) is Errno.ECONNREFUSED


def test_wildcard_accepts_from_everywhere_through_one_fd(net) -> None:
    with socket.create_server(("127.0.0.1", 0)) as outside:
        web, api = net.stack(WEB, published={80: [outside.fileno()]}), net.stack(API)
        listener = net.listener(web)
        real = socket.create_connection(outside.getsockname())
        server = net.accept(listener)
        assert server.remote() == Endpoint(*real.getsockname())
        assert server.local() == Endpoint(WEB, 80)
        assert server.get_option("TCP_NODELAY") == "1"
        net.connect(web, LOOPBACK)
        assert net.accept(listener).local().host == LOOPBACK
        net.connect(api, WEB)
        assert net.accept(listener).remote().host == API
        assert refusal(lambda: listener.accept(CALLER, 0)) is Errno.EAGAIN
        listener.release()
        net._sockets.remove(listener)
        # The published socket stays open for whoever listens next.
        waiting = socket.create_connection(outside.getsockname())
        again = net.listener(web)
        assert net.accept(again).remote() == Endpoint(*waiting.getsockname())
        real.close()
        waiting.close()


def test_published_port_over_ipv6_shows_the_gateway(net) -> None:
    try:
        outside = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with outside, socket.create_connection(outside.getsockname()[:2]) as real:
        listener = net.listener(net.stack(WEB, published={80: [outside.fileno()]}))
        assert net.accept(listener).remote() == Endpoint("10.7.0.1", real.getsockname()[1])


def test_without_a_network(net) -> None:
    alone = net.stack(None)
    listener = net.listener(alone)
    net.connect(alone, LOOPBACK)
    net.accept(listener)
    assert refusal(lambda: net.socket(alone).bind(Endpoint(WEB, 1))) is Errno.EADDRNOTAVAIL
    assert refusal(lambda: net.connect(alone, "192.0.2.1")) is Errno.EACCES


def test_addresses_in_use_and_free_again(net) -> None:
    web = net.stack(WEB)
    listener = net.listener(web)
    assert refusal(lambda: net.listener(web)) is Errno.EADDRINUSE
    assert refusal(lambda: net.listener(web, LOOPBACK)) is Errno.EADDRINUSE
    assert (net.base / "net" / WEB / "tcp-80").exists()
    listener.release()
    net._sockets.remove(listener)
    assert not (net.base / "net" / WEB / "tcp-80").exists()
    net.listener(web)


def test_another_living_container_keeps_its_address(net) -> None:
    net.listener(net.stack(WEB))
    assert refusal(lambda: net.listener(net.stack(WEB))) is Errno.EADDRINUSE


def test_a_dead_containers_socket_is_replaced(net) -> None:
    web = net.stack(WEB)
    program = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]);"
        "s.listen(); os._exit(0)"
    )
    path = str(net.base / "net" / WEB / "tcp-80")
    subprocess.run([sys.executable, "-c", program, path], check=True)
    assert refusal(lambda: net.connect(web, WEB)) is Errno.ECONNREFUSED
    listener = net.listener(web)
    net.connect(web, WEB)
    net.accept(listener)


def test_long_directory_names(net) -> None:
    net.base = net.base / ("d" * 100) / ("e" * 100)
    net.base.mkdir(parents=True)
    listener = net.listener(net.stack(WEB))
    net.connect(net.stack(API), WEB)
    assert net.accept(listener).remote().host == API


def test_nobody_there_is_refused_and_the_socket_can_try_again(net) -> None:
    web = net.stack(WEB)
    assert refusal(lambda: net.connect(web, API)) is Errno.ECONNREFUSED
    assert refusal(lambda: net.connect(web, "10.7.0.200")) is Errno.ECONNREFUSED
    client = net.socket(web)
    assert refusal(lambda: client.connect(CALLER, Endpoint(WEB, 80))) is Errno.ECONNREFUSED
    net.listener(web)
    client.connect(CALLER, Endpoint(WEB, 80))
    assert refusal(lambda: client.connect(CALLER, Endpoint(WEB, 80))) is Errno.EISCONN


def test_outside_is_denied_and_logged_once(net) -> None:
    web = net.stack(WEB)
    for _ in range(3):
        assert refusal(lambda: net.connect(web, "192.0.2.1", 443)) is Errno.EACCES
    assert len(net.logged) == 1
    assert 'x-balenawasm: allow: ["tcp://192.0.2.1:443"]' in net.logged[0]


def test_outside_by_grant(net) -> None:
    # There is no outside in tests: the look-up says where it is, the host's loopback it may not be.
    resolver = OutsideResolver(lambda name, family: ["192.0.2.9"])
    policy = OutboundPolicy.from_texts(["tcp://example.org:443"])
    web = net.stack(WEB, policy=policy, resolver=resolver)
    assert refusal(lambda: web.route(Endpoint("192.0.2.9", 443))) is Errno.EACCES
    assert web.lookup(CALLER, "Example.org.") == ["192.0.2.9"]
    assert web.route(Endpoint("192.0.2.9", 443)).directory is None
    assert refusal(lambda: web.route(Endpoint("192.0.2.9", 80))) is Errno.EACCES
    assert "tcp://example.org:80" in net.logged[-1]


def test_names(net) -> None:
    web = net.stack(WEB, hostname="box")
    assert web.lookup(CALLER, "api") == web.lookup(CALLER, "API") == [API]
    assert web.lookup(CALLER, "localhost") == web.lookup(CALLER, "x.localhost") == [LOOPBACK]
    assert web.lookup(CALLER, "box") == [WEB]
    assert web.lookup(CALLER, "1.2.3.4") == ["1.2.3.4"]
    for name in ("nosuch", "", "a" * 300, "example.org"):
        assert refusal(lambda name=name: web.lookup(CALLER, name)) is Errno.ENOENT
    assert len(net.logged) == 1
    assert "example.org" in net.logged[0]
    assert web.names_of(API) == ["api"]
    assert web.names_of(LOOPBACK) == ["localhost"]
    assert refusal(lambda: web.names_of("192.0.2.1")) is Errno.ENOENT


def test_nothing_is_left_open(net) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with socket.create_server(("127.0.0.1", 0)) as outside:
        web = net.stack(WEB, published={80: [outside.fileno()]})
        for _ in range(3):
            listener = net.listener(web)
            net.connect(web, WEB)
            net.accept(listener)
            first, second = web.new_pair()
            net.keep(first)
            net.keep(second)
            refusal(lambda: net.connect(web, API))
            refusal(lambda: net.listener(web))
            for made in net._sockets:
                made.release()
            net._sockets.clear()
    net.close()
    net._stacks.clear()
    assert len(os.listdir("/proc/self/fd")) == before
