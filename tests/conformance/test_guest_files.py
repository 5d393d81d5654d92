"""The contract of docs/guest-files.md, as a guest meets it: paths, open, readlink, read."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

import pytest

from balenawasm.kernel.network import NetworkStack
from balenawasm.vfs.filesystems.net import NetFs
from balenawasm.vfs.filesystems.net_commands import COMMANDS, MOST_PENDING
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.node import OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import NONBLOCK, Filetype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from balenawasm.vfs.description import Description


class Guest:
    """A process of a container, reduced to its fds."""

    def __init__(self, namespace: Namespace, pid: int) -> None:
        self.pid = pid
        self._namespace = namespace
        self.fds: list[Description] = []

    def holds(self, description: Description) -> bool:
        return description in self.fds

    def wait(
        self, fds: Sequence[tuple[int, int]], timeout_ns: int | None = None
    ) -> list[tuple[int, int]]:
        poll = select.poll()
        for fd, mask in fds:
            poll.register(fd, mask)
        return poll.poll(10_000 if timeout_ns is None else timeout_ns / 1e6)

    def open(self, path: str, *, write: bool = True, fdflags: int = 0) -> Description:
        _, opened = self._namespace.open(
            self,
            self._namespace.root,
            path.encode(),
            oflags=0,
            flags=OpenFlags(read=True, write=write, fdflags=fdflags),
            follow=True,
            beneath=False,
        )
        opened.retain()
        self.fds.append(opened)
        return opened

    def close(self, description: Description) -> None:
        self.fds.remove(description)
        description.release()

    def text(self, path: str) -> str:
        opened = self.open(path, write=False)
        buffer = bytearray(4096)
        count = opened.read(self, [memoryview(buffer)])
        assert opened.read(self, [memoryview(bytearray(1))]) == 0
        self.close(opened)
        return buffer[:count].decode()

    def stat(self, path: str):
        root = self._namespace.root
        return self._namespace.stat(self, root, path.encode(), follow=False)

    def link(self, path: str) -> str:
        return self._namespace.read_link(self, self._namespace.root, path.encode()).decode()

    def command(self, description: Description, command: str) -> str:
        return self.link(f"/net/sock/{description.stat().ino}/{command}")


class Site:
    """Two containers, web and api, of one network."""

    def __init__(self, base: Path) -> None:
        hosts = base / "hosts"
        hosts.write_text("10.5.0.2 web\n10.5.0.3 api\n")
        self.stacks = {}
        self._namespaces = {}
        self._guests: list[Guest] = []
        for name, address in (("web", "10.5.0.2"), ("api", "10.5.0.3")):
            self.stacks[name] = NetworkStack(
                loopback_directory=base / name,
                hostname=name,
                address=address,
                network_directory=base / "net",
                hosts=hosts,
            )
            self._namespaces[name] = Namespace(Tmpfs(1 << 20).root)
            self._namespaces[name].mount(b"/net", NetFs(self.stacks[name]).root)

    def guest(self, container: str = "web", pid: int = 1) -> Guest:
        self._guests.append(Guest(self._namespaces[container], pid))
        return self._guests[-1]

    def close(self) -> None:
        for guest in self._guests:
            for description in list(guest.fds):
                guest.close(description)
        for stack in self.stacks.values():
            stack.close()


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def refusal(call: Callable[[], object]) -> Errno:
    with pytest.raises(GuestError) as error:
        call()
    return error.value.errno


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
        b"version", b"hostname", b"address", b"tcp", b"pair", b"sock", b"dns", b"names",
    }  # fmt: skip
    assert web.open("/net/sock", write=False).entries(web) == []
    assert refusal(lambda: web.open("/net/tcp")) is Errno.EISDIR
    assert refusal(lambda: web.open("/net/sock/1x/data")) is Errno.ENOENT
    assert refusal(lambda: web.open("/net/sock/" + "9" * 30 + "/data")) is Errno.ENOENT
