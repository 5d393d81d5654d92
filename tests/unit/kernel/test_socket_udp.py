"""UDP sockets: addresses, peers, what is lost and what is refused, published ports, outside."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
from typing import TYPE_CHECKING

import pytest
from kernel_parts import LONG, in_thread, new_process
from network_parts import API, CALLER, WEB, Net, receive, refusal, send

from balenawasm.kernel import poll
from balenawasm.kernel.network_policy import OutboundPolicy
from balenawasm.kernel.outcome import Killed
from balenawasm.kernel.socket_udp import LARGEST
from balenawasm.vfs.endpoint import ANY, LOOPBACK, LOOPBACK6, NOWHERE, Endpoint
from balenawasm.vfs.socket import INET6, MSG_DONTWAIT, MSG_PEEK
from balenawasm.wasi.errno import Errno
from balenawasm.wasi.flags import NONBLOCK, SHUT_RD, SHUT_WR, Filetype
from tests.outside import add_inet6, outside_network

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def net(tmp_path) -> Iterator[Net]:
    made = Net(tmp_path)
    yield made
    made.close()


def test_question_and_answer_between_containers(net) -> None:
    web, api = net.stack(WEB), net.stack(API)
    server, client = net.udp(web, Endpoint(ANY, 53)), net.udp(api)
    assert server.stat().filetype is Filetype.SOCKET_DGRAM
    assert (client.local(), server.local()) == (NOWHERE, Endpoint(ANY, 53))
    assert send(client, b"question", Endpoint(WEB, 53)) == 8
    data, received = receive(server)
    assert data == b"question"
    assert isinstance(received.address, Endpoint)
    assert received.address.host == API
    assert received.address.port == client.local().port
    send(server, b"answer", received.address)
    assert receive(client)[1].address == Endpoint(WEB, 53)


def test_two_services_have_one_port_each(net) -> None:
    web, api = net.stack(WEB), net.stack(API)
    first, second = net.udp(web, Endpoint(ANY, 53)), net.udp(api, Endpoint(ANY, 53))
    client = net.udp(web)
    for address, server in ((WEB, first), (API, second)):
        send(client, address.encode(), Endpoint(address, 53))
        assert receive(server)[0] == address.encode()


def test_loopback_is_private_and_a_loopback_socket_stays_there(net) -> None:
    web, api = net.stack(WEB), net.stack(API)
    server = net.udp(web, Endpoint(LOOPBACK, 53))
    send(net.udp(api), b"not for you", Endpoint(LOOPBACK, 53))
    send(net.udp(api), b"nor this", Endpoint(WEB, 53))
    send(net.udp(web), b"here", Endpoint("127.8.8.8", 53))
    assert receive(server)[0] == b"here"
    assert refusal(lambda: receive(server, flags=MSG_DONTWAIT)) is Errno.EAGAIN
    assert refusal(lambda: send(server, b"x", Endpoint(API, 1))) is Errno.EINVAL


def test_a_peer(net) -> None:
    web, api = net.stack(WEB), net.stack(API)
    server, other = net.udp(web, Endpoint(ANY, 53)), net.udp(web, Endpoint(ANY, 54))
    client = net.udp(api)
    assert refusal(client.remote) is Errno.ENOTCONN
    assert refusal(lambda: send(client, b"x")) is Errno.EDESTADDRREQ
    assert refusal(lambda: client.shutdown(SHUT_RD)) is Errno.ENOTCONN
    client.connect(CALLER, Endpoint(WEB, 53))
    assert client.remote() == Endpoint(WEB, 53)
    assert client.local().host == API
    send(other, b"from somebody else", client.local())
    send(client, b"hello")
    send(server, b"welcome", receive(server)[1].address)
    assert receive(client)[0] == b"welcome"
    client.connect(CALLER, None)
    assert refusal(client.remote) is Errno.ENOTCONN
    send(other, b"now you may", client.local()._replace(host=API))
    assert receive(client)[0] == b"now you may"


def test_shutdown(net) -> None:
    web = net.stack(WEB)
    client = net.udp(web)
    client.connect(CALLER, Endpoint(WEB, 9))
    client.shutdown(SHUT_WR)
    assert refusal(lambda: send(client, b"x")) is Errno.EPIPE
    blocked = in_thread(lambda: receive(client, caller=new_process(7)))
    client.shutdown(SHUT_RD)
    assert blocked.result(LONG)[0] == b""
    assert refusal(lambda: client.shutdown(8)) is Errno.EINVAL


def test_nobody_there_is_told_to_a_connected_socket_once(net) -> None:
    web = net.stack(WEB)
    client = net.udp(web)
    assert send(client, b"into the void", Endpoint(API, 5)) == 13
    client.connect(CALLER, Endpoint(API, 5))
    assert send(client, b"hello?") == 6
    assert poll.poll(CALLER, [poll.Interest(client, poll.READ)], 0) == [poll.READ]
    assert refusal(lambda: receive(client)) is Errno.ECONNREFUSED
    assert poll.poll(CALLER, [poll.Interest(client, poll.READ)], 0) == [0]
    send(client, b"hello?")
    assert client.get_option("SO_ERROR") == str(int(Errno.ECONNREFUSED))
    assert client.get_option("SO_ERROR") == "0"


def test_lengths(net) -> None:
    web = net.stack(WEB)
    server, client = net.udp(web, Endpoint(ANY, 53)), net.udp(web)
    to = Endpoint(WEB, 53)
    assert send(client, b"", to) == 0
    assert send(client, b"x" * LARGEST, to) == LARGEST
    assert refusal(lambda: send(client, b"x" * (LARGEST + 1), to)) is Errno.EMSGSIZE
    send(client, b"abcdef", to)
    send(client, b"next", to)
    assert receive(server)[0] == b""
    data, received = receive(server, LARGEST + 1)
    assert (len(data), received.truncated) == (LARGEST, False)
    assert server.pending() == 6
    assert receive(server, 3, MSG_PEEK)[0] == b"abc"
    assert server.peek(CALLER, 4) == b"abcd"
    data, received = receive(server, 3)
    assert (data, received.full, received.truncated) == (b"abc", 6, True)
    assert receive(server)[0] == b"next"
    assert refusal(lambda: server.peek(CALLER, 0)) is Errno.EINVAL


def test_poll_says_always_writable_and_readable_with_data(net) -> None:
    web = net.stack(WEB)
    server, client = net.udp(web, Endpoint(ANY, 53)), net.udp(web)
    both = poll.Interest(server, poll.READ | poll.WRITE)
    assert poll.poll(CALLER, [both], None) == [poll.WRITE]
    send(client, b"x", Endpoint(WEB, 53))
    assert poll.poll(CALLER, [both], None) == [poll.READ | poll.WRITE]


def test_a_full_queue_loses_and_never_hangs(net) -> None:
    web = net.stack(WEB)
    server, client = net.udp(web, Endpoint(ANY, 53)), net.udp(web)
    for number in range(2000):
        send(client, b"%d" % number, Endpoint(WEB, 53))
    received = 0
    with contextlib.suppress(Exception):
        while receive(server, flags=MSG_DONTWAIT):
            received += 1
    assert 0 < received < 2000


def test_addresses_in_use_and_shared(net) -> None:
    web = net.stack(WEB)
    first = net.udp(web, Endpoint(ANY, 53))
    assert refusal(lambda: first.bind(Endpoint(ANY, 54))) is Errno.EINVAL
    assert refusal(lambda: net.udp(web, Endpoint(WEB, 53))) is Errno.EADDRINUSE
    assert refusal(lambda: net.udp(web, Endpoint("192.0.2.1", 53))) is Errno.EADDRNOTAVAIL
    net.listener(web, port=53)  # TCP has ports of its own
    sharers = [net.keep(web.new_udp()) for _ in range(2)]
    for sharer in sharers:
        sharer.set_option("SO_REUSEPORT", "1")
        sharer.bind(Endpoint(ANY, 60))
    send(first, b"to one of them", Endpoint(WEB, 60))
    got = [s for s in sharers if poll.poll(CALLER, [poll.Interest(s, poll.READ)], 0)[0]]
    assert receive(got[0])[0] == b"to one of them"
    sharers[0].close()
    send(first, b"to the other", Endpoint(WEB, 60))
    assert receive(sharers[1])[0] == b"to the other"


def test_ipv6_sockets(net) -> None:
    web, api = net.stack(WEB), net.stack(API)
    server = net.udp(web, Endpoint("::", 53), INET6)
    assert server.local() == Endpoint("::", 53)
    send(net.udp(api), b"four", Endpoint(WEB, 53))
    data, received = receive(server)
    assert isinstance(received.address, Endpoint)
    assert received.address.host == "::ffff:" + API
    send(net.udp(web, family=INET6), b"six", Endpoint(LOOPBACK6, 53))
    assert receive(server)[1].address.host == LOOPBACK6
    client = net.udp(api, family=INET6)
    send(client, b"mapped", Endpoint("::ffff:" + WEB, 53))
    data, received = receive(server)
    assert data == b"mapped"
    send(server, b"back", received.address)
    assert receive(client)[0] == b"back"
    assert refusal(lambda: net.udp(web).bind(Endpoint("::", 1))) is Errno.EAFNOSUPPORT
    only = net.keep(web.new_udp(family=INET6))
    only.set_option("IPV6_V6ONLY", "1")
    only.bind(Endpoint("::", 54))
    net.udp(web, Endpoint(ANY, 54))  # beside it
    assert refusal(lambda: send(only, b"x", Endpoint("::ffff:" + WEB, 1))) is Errno.ENETUNREACH
    assert refusal(lambda: only.set_option("IPV6_V6ONLY", "0")) is Errno.EINVAL


@pytest.mark.parametrize("end", ["kill", "close", "timeout"])
def test_what_ends_a_wait(net, end) -> None:
    server = net.udp(net.stack(WEB), Endpoint(ANY, 53))
    process = new_process(9)
    if end == "timeout":
        server.set_option("SO_RCVTIMEO", "20000")
        assert server.get_option("SO_RCVTIMEO") == "20000"
        assert refusal(lambda: receive(server)) is Errno.EAGAIN
        return
    blocked = in_thread(lambda: receive(server, caller=process))
    if end == "kill":
        process.signal(9)
        assert isinstance(blocked.exception(LONG), Killed)
    else:
        server.close()
        assert blocked.exception(LONG).errno is Errno.EBADF
        assert server.host_fd == -1


def test_nonblocking(net) -> None:
    server = net.udp(net.stack(WEB), Endpoint(ANY, 53))
    server.set_flags(NONBLOCK)
    assert refusal(lambda: receive(server)) is Errno.EAGAIN


def test_options(net) -> None:
    made = net.udp(net.stack(WEB))
    for name, text in {
        "SO_TYPE": "dgram", "SO_DOMAIN": "inet", "SO_PROTOCOL": "17", "SO_BROADCAST": "0",
        "IP_TTL": "64",
    }.items():  # fmt: skip
        assert made.get_option(name) == text
    made.set_option("SO_BROADCAST", "1")
    assert made.get_option("SO_BROADCAST") == "1"
    for name in ("TCP_NODELAY", "IPV6_V6ONLY", "SO_NONE"):
        assert refusal(lambda name=name: made.set_option(name, "1")) is Errno.ENOPROTOOPT
    assert refusal(lambda: made.listen(1)) is Errno.ENOTSUP
    assert refusal(lambda: made.accept(CALLER, 0)) is Errno.ENOTSUP


def test_a_published_port(net) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as published:
        published.bind(("127.0.0.1", 0))
        web = net.stack(WEB, published_udp={53: [published.fileno()]})
        server = net.udp(web, Endpoint(ANY, 53))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(LONG)
            client.bind(("127.0.0.1", 0))
            client.sendto(b"from outside", published.getsockname())
            data, received = receive(server)
            assert data == b"from outside"
            assert received.address == Endpoint(*client.getsockname())
            send(server, b"answer", received.address)
            assert client.recvfrom(100) == (b"answer", published.getsockname())
        # Another socket of the container has not been asked: the address is its own loopback.
        assert send(net.udp(web), b"x", received.address) == 1
        # Bound to the loopback only, the port is not the published one.
        net.stack(API, published_udp={54: [published.fileno()]})
        lonely = net.udp(net._stacks[-1], Endpoint(LOOPBACK, 54))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"not for the loopback", published.getsockname())
        assert refusal(lambda: receive(lonely, flags=MSG_DONTWAIT)) is Errno.EAGAIN


def test_a_published_port_over_ipv6_shows_the_gateway_and_can_be_answered(net) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as published:
        try:
            published.bind(("::1", 0))
        except OSError:
            pytest.skip("the host has no IPv6")
        web = net.stack(WEB, published_udp={53: [published.fileno()]})
        server = net.udp(web, Endpoint(ANY, 53))
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.settimeout(LONG)
            client.sendto(b"six", published.getsockname())
            sender = receive(server)[1].address
            assert sender.host == "10.7.0.1"
            send(server, b"answer", sender)
            assert client.recv(100) == b"answer"


def test_outside_is_denied_with_the_grant_that_helps(net) -> None:
    web = net.stack(WEB)
    client = net.udp(web)
    for _ in range(2):
        assert refusal(lambda: send(client, b"x", Endpoint("192.0.2.1", 53))) is Errno.EACCES
    (line,) = net.logged
    assert line.startswith("datagrams to 192.0.2.1:53 denied: outside the network; ")
    assert 'grant x-balenawasm: allow: ["udp://192.0.2.1:53"]' in line
    six = net.udp(web, family=INET6)
    assert refusal(lambda: send(six, b"x", Endpoint("2001:db8::1", 53))) is Errno.EACCES
    assert '"udp://[2001:db8::1]:53"' in net.logged[1]
    client.connect(CALLER, Endpoint("192.0.2.1", 53))  # asks for the own address, sends nothing
    assert client.local().host == WEB
    assert refusal(lambda: send(client, b"x")) is Errno.EACCES


def test_outside_by_grant_and_only_who_was_asked_gets_in(net) -> None:
    with outside_network() as address:
        add_inet6("2001:db8::1")
        servers = []
        for family, host in ((socket.AF_INET, address), (socket.AF_INET6, "2001:db8::1")):
            servers.append(socket.socket(family, socket.SOCK_DGRAM))
            servers[-1].bind((host, 0))
            servers[-1].settimeout(LONG)
        four, six = servers
        port, port6 = four.getsockname()[1], six.getsockname()[1]
        grants = [f"udp://{address}:{port}", f"udp://[2001:db8::1]:{port6}"]
        web = net.stack(WEB, policy=OutboundPolicy.from_texts(grants))
        client = net.udp(web)
        send(client, b"ping", Endpoint(address, port))
        data, real = four.recvfrom(100)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"let me in", real)
        four.sendto(b"pong", real)
        assert receive(client)[0] == b"pong"
        assert refusal(lambda: receive(client, flags=MSG_DONTWAIT)) is Errno.EAGAIN
        dual = net.udp(web, family=INET6)
        send(dual, b"ping", Endpoint("2001:db8::1", port6))
        six.sendto(b"pong", six.recvfrom(100)[1])
        data, received = receive(dual)
        assert (data, received.address) == (b"pong", Endpoint("2001:db8::1", port6))
        send(dual, b"mapped", Endpoint("::ffff:" + address, port))
        assert four.recv(100) == b"mapped"
        assert refusal(lambda: net.socket(web).connect(CALLER, Endpoint(address, port))) is (
            Errno.EACCES
        )
        for server in servers:
            server.close()


def test_nothing_is_left_open(net) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    web = net.stack(WEB)
    for _ in range(3):
        server, client = net.udp(web, Endpoint("::", 53), INET6), net.udp(web)
        client.connect(CALLER, Endpoint(WEB, 53))
        send(client, b"x")
        receive(server)
        client.connect(CALLER, Endpoint(WEB, 54))
        send(client, b"x")
        for made in (server, client):
            net._sockets.remove(made)
            made.release()
    assert not any(name.startswith("udp-") for name in os.listdir(net.base / "net" / WEB))
    net.close()
    net._stacks.clear()
    assert len(os.listdir("/proc/self/fd")) == before
