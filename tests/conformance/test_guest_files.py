"""The contract of docs/guest-files.md, as a guest meets it: paths, open, readlink, read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from guest_site import Site, refusal

from balenawasm.vfs.filesystems.net_commands import COMMANDS, MOST_PENDING
from balenawasm.wasi.errno import Errno
from balenawasm.wasi.flags import NONBLOCK, Filetype

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def test_texts(site) -> None:
    web = site.guest()
    assert web.text("/net/version") == "1\n"
    assert web.text("/net/hostname") == "web\n"
    assert web.text("/net/address") == "10.5.0.2\n"
    assert web.text("/net/dns/api") == "10.5.0.3\n"
    assert web.text("/net/dns/10.5.0.9") == "10.5.0.9\n"
    assert web.text("/net/names/10.5.0.3") == "api\n"
    assert refusal(lambda: web.text("/net/dns/nosuch")) is Errno.ENOENT
    assert refusal(lambda: web.text("/net/dns/n\xf6")) is Errno.ENOENT
    assert refusal(lambda: web.text("/net/names/10.5.0.9")) is Errno.ENOENT
    assert refusal(lambda: web.text("/net/names/api")) is Errno.ENOENT
    assert refusal(lambda: web.open("/net/hostname")) is Errno.EACCES


def test_the_life_of_a_server_by_commands(site) -> None:
    web, api = site.guest("web"), site.guest("api")
    listener = web.open("/net/tcp/new")
    assert listener.stat().filetype is Filetype.SOCKET_STREAM
    assert web.command(listener, "bind *!80") == "ok"
    assert web.command(listener, "listen 5") == "ok"
    assert web.command(listener, "local") == "0.0.0.0!80"
    client = api.open("/net/tcp/new")
    assert api.command(client, "connect web!80") == "ok"
    assert api.command(client, "remote") == "10.5.0.2!80"
    inode, peer, port = web.command(listener, "accept").split("!")
    assert f"{peer}!{port}" == api.command(client, "local")
    assert peer == "10.5.0.3"
    server = web.open(f"/net/sock/{inode}/data")
    assert server.stat().ino == int(inode)
    client.write(api, [memoryview(b"\0hello")])
    assert web.command(server, "peek 3") == b"\0he".hex()
    buffer = bytearray(10)
    assert server.read(web, [memoryview(buffer)]) == 6
    assert web.command(server, "shutdown wr") == "ok"
    assert api.command(client, "peek 1") == ""
    assert api.command(client, "error") == "0"
    assert api.command(client, "setopt TCP_NODELAY 0") == "ok"
    assert api.command(client, "getopt TCP_NODELAY") == "0"


def test_shorthand(site) -> None:
    web, api = site.guest("web"), site.guest("api")
    listener = web.open("/net/tcp/listen/*!8080")
    client = api.open("/net/tcp/connect/web!8080")
    server = listener.accept(web, 0)
    client.write(api, [memoryview(b"hi")])
    buffer = bytearray(10)
    assert server.read(web, [memoryview(buffer)]) == 2
    server.close()
    assert refusal(lambda: api.open("/net/tcp/connect/web!1")) is Errno.ECONNREFUSED
    assert refusal(lambda: api.open("/net/tcp/connect/nosuch!1")) is Errno.ENOENT
    assert refusal(lambda: web.open("/net/tcp/listen/*!8080")) is Errno.EADDRINUSE
    assert refusal(lambda: web.open("/net/tcp/listen/web!1")) is Errno.EINVAL
    assert refusal(lambda: web.open("/net/tcp/listen/10.5.0.3!1")) is Errno.EADDRNOTAVAIL


def test_pairs(site) -> None:
    web = site.guest()
    first = web.open("/net/pair/new")
    inode = web.command(first, "peer")
    assert refusal(lambda: web.command(first, "peer")) is Errno.ENOENT
    second = web.open(f"/net/sock/{inode}/data")
    first.write(web, [memoryview(b"x")])
    assert second.read(web, [memoryview(bytearray(9))]) == 1


def test_another_fd_for_a_held_socket(site) -> None:
    web = site.guest()
    first = web.open("/net/pair/new")
    assert web.open(f"/net/sock/{first.stat().ino}/data") is first
    web.close(first)
    assert web.command(first, "error") == "0"


def test_only_a_holder_commands(site) -> None:
    web, neighbour, elsewhere = site.guest(), site.guest(pid=2), site.guest("api")
    listener = web.open("/net/tcp/listen/*!80")
    path = f"/net/sock/{listener.stat().ino}"
    assert web.stat(path).filetype is Filetype.DIRECTORY
    for other in (neighbour, elsewhere):
        assert refusal(lambda other=other: other.link(path + "/local")) is Errno.ENOENT
        assert refusal(lambda other=other: other.stat(path)) is Errno.ENOENT
    client = elsewhere.open("/net/tcp/connect/web!80")
    inode = web.command(listener, "accept").split("!")[0]
    assert refusal(lambda: neighbour.open(f"/net/sock/{inode}/data")) is Errno.ENOENT
    assert refusal(lambda: web.link(f"/net/sock/{inode}/local")) is Errno.ENOENT
    web.open(f"/net/sock/{inode}/data")
    web.close(listener)
    assert refusal(lambda: web.link(path + "/local")) is Errno.ENOENT
    elsewhere.close(client)


def test_connections_that_nobody_fetches_are_capped_and_end_with_their_listener(site) -> None:
    web, api = site.guest("web"), site.guest("api")
    listener = web.open("/net/tcp/listen/*!80")
    clients, inodes = [], []
    for _ in range(MOST_PENDING + 1):
        clients.append(api.open("/net/tcp/connect/web!80"))
        inodes.append(web.command(listener, "accept").split("!")[0])
    assert refusal(lambda: web.open(f"/net/sock/{inodes[0]}/data")) is Errno.ENOENT
    assert clients[0].read(api, [memoryview(bytearray(1))]) == 0
    web.open(f"/net/sock/{inodes[1]}/data")
    web.close(listener)
    assert clients[2].read(api, [memoryview(bytearray(1))]) == 0
    assert refusal(lambda: web.open(f"/net/sock/{inodes[2]}/data")) is Errno.ENOENT


def test_nonblocking_comes_with_open(site) -> None:
    web = site.guest()
    listener = web.open("/net/tcp/listen/*!80", fdflags=NONBLOCK)
    assert refusal(lambda: web.command(listener, "accept")) is Errno.EAGAIN
    pair = web.open("/net/pair/new", fdflags=NONBLOCK)
    assert refusal(lambda: web.command(pair, "peek 1")) is Errno.EAGAIN


@pytest.mark.parametrize(
    ("command", "errno"),
    [
        ("", Errno.EINVAL),  # the directory itself is no link
        ("nonsense", Errno.ENOENT),
        ("bind", Errno.EINVAL),
        ("bind web!80", Errno.EINVAL),
        ("bind *!70000", Errno.EINVAL),
        ("bind ::1!80", Errno.EAFNOSUPPORT),
        ("listen", Errno.EINVAL),
        ("listen x", Errno.EINVAL),
        ("accept", Errno.EINVAL),
        ("connect", Errno.EINVAL),
        ("connect nosuch!80", Errno.ENOENT),
        ("connect api!1", Errno.ECONNREFUSED),
        ("connect 192.0.2.1!80", Errno.EACCES),
        ("remote", Errno.ENOTCONN),
        ("shutdown", Errno.EINVAL),
        ("shutdown rd", Errno.ENOTCONN),
        ("getopt NO", Errno.ENOPROTOOPT),
        ("setopt TCP_NODELAY x", Errno.EINVAL),
        ("peek 0", Errno.EINVAL),
        ("peek 2001", Errno.EINVAL),
        ("peek 1", Errno.ENOTCONN),
        ("peer", Errno.ENOENT),
        ("x" * 300, Errno.ENAMETOOLONG),
    ],
)
def test_refusals(site, command, errno) -> None:
    web = site.guest()
    new = web.open("/net/tcp/new")
    assert refusal(lambda: web.command(new, command)) is errno


def test_every_command_is_documented(request) -> None:
    text = (request.config.rootpath / "docs" / "guest-files.md").read_text()
    for name in COMMANDS:
        assert f"| `{name.decode()}" in text, name


def test_a_look_alone_does_nothing(site) -> None:
    web = site.guest()
    new = web.open("/net/tcp/new")
    path = f"/net/sock/{new.stat().ino}/listen 5"
    assert web.stat(path).filetype is Filetype.SYMBOLIC_LINK
    assert web.command(new, "getopt SO_ACCEPTCONN") == "0"


def test_directories_can_be_listed(site) -> None:
    web = site.guest()
    names = {entry.name for entry in web.open("/net", write=False).entries(web)}
    assert names == {
        b"version", b"hostname", b"address", b"tcp", b"tcp6", b"udp", b"udp6", b"unix",
        b"pair", b"sock", b"tls", b"dns", b"dns6", b"names",
    }  # fmt: skip
    assert web.open("/net/sock", write=False).entries(web) == []
    assert refusal(lambda: web.open("/net/tcp")) is Errno.EISDIR
    assert refusal(lambda: web.open("/net/sock/1x/data")) is Errno.ENOENT
    assert refusal(lambda: web.open("/net/sock/" + "9" * 30 + "/data")) is Errno.ENOENT
