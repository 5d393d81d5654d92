"""UDP, IPv6 and Unix sockets by docs/guest-files.md: what a guest does with files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from guest_site import Guest, Site, refusal

from balenawasm.vfs.filesystems.net_datagrams import MOST_HELD
from balenawasm.wasi.errno import Errno
from balenawasm.wasi.flags import NONBLOCK, Filetype

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.vfs.description import Description


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def read(guest: Guest, opened: Description, size: int = 100) -> bytes:
    buffer = bytearray(size)
    return bytes(buffer[: opened.read(guest, [memoryview(buffer)])])


def write(guest: Guest, opened: Description, data: bytes) -> int:
    return opened.write(guest, [memoryview(data)])


def test_question_and_answer(site) -> None:
    web, api = site.guest("web"), site.guest("api")
    server = web.open("/net/udp/bind/*!53")
    assert server.stat().filetype is Filetype.SOCKET_DGRAM
    client = api.open("/net/udp/new")
    assert api.command(client, "sendto 10.5.0.2!53") == "ok"
    assert write(api, client, b"question") == 8
    assert refusal(lambda: write(api, client, b"once only")) is Errno.EDESTADDRREQ
    size, length, sender = web.command(server, "recvfrom").split("!", 2)
    assert (size, length) == ("8", "8")
    assert read(web, server) == b"question"
    assert sender == "10.5.0.3!" + api.command(client, "local").rpartition("!")[2]
    assert web.command(server, f"sendto {sender}") == "ok"
    write(web, server, b"answer")
    assert api.command(client, "pending") == "6"
    assert api.command(client, "recvfrom peek") == "6!6!10.5.0.2!53"
    assert read(api, client) == b"answer"
    assert read(api, client) == b"answer"


def test_each_process_meets_its_own_datagram(site) -> None:
    one, two = site.guest(pid=1), site.guest(pid=2)
    server = one.open("/net/udp/bind/*!53")
    two.fds.append(server)
    server.retain()
    client = one.open("/net/udp/connect/web!53")
    for data in (b"first", b"second", b"third"):
        write(one, client, data)
    one.command(server, "recvfrom")
    two.command(server, "recvfrom")
    assert read(two, server) == b"second"
    assert read(one, server) == b"first"
    assert read(one, server) == b"third"


def test_what_waits_for_reads_is_bounded(site) -> None:
    guests = [site.guest(pid=number + 1) for number in range(MOST_HELD + 1)]
    server = guests[0].open("/net/udp/bind/*!53")
    server.set_flags(NONBLOCK)
    client = guests[0].open("/net/udp/connect/web!53")
    for guest in guests:
        if guest is not guests[0]:
            guest.fds.append(server)
            server.retain()
        write(guests[0], client, b"%d" % guest.pid)
        guest.command(server, "recvfrom")
    assert refusal(lambda: read(guests[0], server)) is Errno.EAGAIN
    assert read(guests[1], server) == b"2"


def test_ipv6(site) -> None:
    web, api = site.guest("web"), site.guest("api")
    listener = web.open("/net/tcp6/new")
    assert web.command(listener, "bind ::!80") == "ok"
    assert web.command(listener, "listen 1") == "ok"
    assert web.command(listener, "local") == "::!80"
    assert web.command(listener, "getopt SO_DOMAIN") == "inet6"
    api.open("/net/tcp/connect/web!80")
    assert web.command(listener, "accept").split("!")[1] == "::ffff:10.5.0.3"
    client = web.open("/net/tcp/connect/::1!80")
    assert web.command(client, "remote") == "::1!80"
    assert web.command(listener, "accept").split("!")[1] == "::1"
    by_name = web.open("/net/tcp6/new")
    assert web.command(by_name, "connect web!80") == "ok"
    assert web.command(by_name, "remote") == "::ffff:10.5.0.2!80"
    assert web.text("/net/dns6/localhost") == "::1\n"
    assert refusal(lambda: web.text("/net/dns6/web")) is Errno.ENOENT
    assert web.text("/net/names/::1") == "localhost\n"
    udp = web.open("/net/udp6/new")
    assert web.command(udp, "bind ::1!53") == "ok"
    write(web, web.open("/net/udp/connect/::1!53"), b"six")
    assert web.command(udp, "recvfrom").startswith("3!3!::1!")
    listening = web.open("/net/tcp/listen/::1!81")
    assert web.command(listening, "local") == "::1!81"


def test_unix_sockets(site) -> None:
    web = site.guest()
    name = b"/socket".hex()
    listener = web.open("/net/unix/stream/new")
    assert web.command(listener, f"bind {name}") == "ok"
    assert web.command(listener, "listen 5") == "ok"
    assert web.stat("/socket").filetype is Filetype.SOCKET_STREAM
    client = web.open("/net/unix/stream/new")
    assert web.command(client, "local") == ""
    assert web.command(client, f"connect {name}") == "ok"
    inode, peer = web.command(listener, "accept").split("!")
    server = web.open(f"/net/sock/{inode}/data")
    assert (peer, web.command(server, "local")) == ("", name)
    write(web, client, b"hello")
    assert read(web, server) == b"hello"
    datagrams = web.open("/net/unix/dgram/new")
    assert web.command(datagrams, "bind 0061") == "ok"
    sender = web.open("/net/unix/dgram/new")
    assert web.command(sender, "sendto 0061") == "ok"
    write(web, sender, b"x")
    assert web.command(datagrams, "recvfrom") == "1!1!"
    assert web.command(sender, "connect 0061") == "ok"
    assert web.command(sender, "remote") == "0061"
    assert web.command(sender, "disconnect") == "ok"
    assert refusal(lambda: web.command(sender, "remote")) is Errno.ENOTCONN
    for kind in ("stream", "dgram", "seqpacket"):
        first = web.open(f"/net/unix/{kind}/pair")
        second = web.open(f"/net/sock/{web.command(first, 'peer')}/data")
        write(web, first, b"pair")
        assert read(web, second) == b"pair"


@pytest.mark.parametrize(
    ("path", "command", "errno"),
    [
        ("/net/udp/new", "recvfrom all", Errno.EINVAL),
        ("/net/udp/new", "sendto nonsense", Errno.EINVAL),
        ("/net/udp/new", "sendto ::1!5", Errno.EAFNOSUPPORT),
        ("/net/udp/new", "sendto 192.0.2.1!5", None),
        ("/net/udp/new", "accept", Errno.ENOTSUP),
        ("/net/udp/new", "connect nosuch!5", Errno.ENOENT),
        ("/net/tcp/new", "recvfrom", Errno.ENOTCONN),
        ("/net/tcp/new", "sendto 10.5.0.2!1", Errno.ENOTSUP),
        ("/net/tcp/new", "disconnect", Errno.EAFNOSUPPORT),
        ("/net/tcp/new", "bind ::1!5", Errno.EAFNOSUPPORT),
        ("/net/unix/stream/new", "bind xyz", Errno.EINVAL),
        ("/net/unix/stream/new", "bind " + "61" * 110, Errno.EINVAL),
        ("/net/unix/stream/new", "connect " + b"/none".hex(), Errno.ENOENT),
        ("/net/unix/stream/new", "getopt TCP_NODELAY", Errno.ENOPROTOOPT),
    ],
)
def test_refusals(site, path, command, errno) -> None:
    web = site.guest()
    new = web.open(path)
    if path == "/net/udp/new" and command.startswith("recvfrom"):
        new.set_flags(NONBLOCK)
    if errno is None:
        assert web.command(new, command) == "ok"
        assert refusal(lambda: write(web, new, b"denied")) is Errno.EACCES
    else:
        assert refusal(lambda: web.command(new, command)) is errno
