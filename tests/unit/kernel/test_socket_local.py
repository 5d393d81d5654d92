"""Unix sockets: names, pairs, datagrams, open files passed along, and that nobody else gets in."""

from __future__ import annotations

import gc
import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest
from kernel_parts import LONG, Counted, in_thread, new_process
from network_parts import API, CALLER, WEB, Net, receive, refusal, send

from balenawasm.kernel.outcome import Killed
from balenawasm.kernel.passing import MOST_ON_THE_WAY
from balenawasm.vfs.endpoint import ANY, LONGEST_PATH, UNNAMED, Endpoint, LocalName
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.overlay import Overlay
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.vfs.socket import DGRAM, MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL, SEQPACKET, STREAM
from balenawasm.wasi.errno import Errno
from balenawasm.wasi.flags import NONBLOCK, SHUT_WR, Filetype

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.kernel.network import NetworkStack
    from balenawasm.vfs.socket import SocketDescription

NAME = LocalName(b"/run.sock")


@pytest.fixture
def net(tmp_path) -> Iterator[Net]:
    made = Net(tmp_path)
    yield made
    made.close()


@pytest.fixture
def web(net) -> NetworkStack:
    return net.stack(WEB)


def listening(net: Net, stack: NetworkStack, name: LocalName = NAME, kind: str = STREAM):
    made = net.keep(stack.new_local(kind))
    made.bind(name)
    made.listen(5)
    return made


def connected(net: Net, stack: NetworkStack, name: LocalName = NAME, kind: str = STREAM):
    made = net.keep(stack.new_local(kind))
    made.connect(CALLER, name)
    return made


@pytest.mark.parametrize("name", [NAME, LocalName(b"\0abstract"), LocalName(b"\0" + bytes(50))])
@pytest.mark.parametrize("kind", [STREAM, SEQPACKET])
def test_a_connection(net, web, name, kind) -> None:
    listener = listening(net, web, name, kind)
    client = connected(net, web, name, kind)
    server = net.keep(listener.accept(CALLER, 0))
    assert (listener.local(), client.remote()) == (name, name)
    assert (server.local(), server.remote(), client.local()) == (name, UNNAMED, UNNAMED)
    assert (server.family, server.kind) == ("unix", kind)
    assert (server.fast_form() is None) == (kind == SEQPACKET)
    send(client, b"one")
    send(client, b"two")
    assert receive(server)[0] == (b"onetwo" if kind == STREAM else b"one")
    assert server.get_option("SO_PEERCRED") == f"{CALLER.pid},0,0"
    assert server.get_option("SO_DOMAIN") == "unix"
    client.shutdown(SHUT_WR)
    if kind == SEQPACKET:
        assert receive(server, 2)[1].truncated
    assert receive(server)[0] == b""


def test_names_in_use_free_and_wrong(net, web) -> None:
    first = listening(net, web)
    root = web.namespace.root
    assert web.namespace.stat(NOBODY, root, b"/run.sock", follow=True).filetype is (
        Filetype.SOCKET_STREAM
    )
    again = net.keep(web.new_local())
    assert refusal(lambda: again.bind(NAME)) is Errno.EADDRINUSE
    assert refusal(lambda: first.bind(LocalName(b"/other"))) is Errno.EINVAL
    first.close()
    assert refusal(lambda: connected(net, web)) is Errno.ECONNREFUSED
    assert refusal(lambda: net.keep(web.new_local()).bind(NAME)) is Errno.EADDRINUSE
    web.namespace.unlink(NOBODY, root, b"/run.sock")
    assert refusal(lambda: connected(net, web)) is Errno.ENOENT
    listening(net, web)
    connected(net, web)
    new = net.keep(web.new_local())
    for path, errno in {
        b"x" * (LONGEST_PATH + 1): Errno.EINVAL,
        b"/a\0b": Errno.EINVAL,
        b"/none/x": Errno.ENOENT,
        b"/": Errno.EADDRINUSE,
        b"/dir/": Errno.ENOENT,
    }.items():
        assert refusal(lambda path=path: new.bind(LocalName(path))) is errno, path
    assert refusal(lambda: new.bind(Endpoint(ANY, 1))) is Errno.EAFNOSUPPORT
    assert refusal(lambda: new.connect(CALLER, UNNAMED)) is Errno.EINVAL
    assert refusal(lambda: new.connect(CALLER, None)) is Errno.EAFNOSUPPORT
    assert refusal(lambda: new.listen(1)) is Errno.EINVAL
    assert refusal(lambda: web.new_local("rdm")) is Errno.EPROTONOSUPPORT
    web.namespace.make_directory(NOBODY, root, b"/dir")
    assert refusal(lambda: new.connect(CALLER, LocalName(b"/dir"))) is Errno.ECONNREFUSED
    new.bind(LocalName(b"/dir/after-all"))
    new.connect(CALLER, NAME)
    assert new.local() == LocalName(b"/dir/after-all")
    assert (
        refusal(
            lambda: web.namespace.open(
                NOBODY, root, b"/run.sock", oflags=0, flags=OpenFlags(), follow=True
            )
        )
        is Errno.ENXIO
    )


def test_abstract_names_are_the_containers_own(net, web) -> None:
    name = LocalName(b"\0bus")
    listener = listening(net, web, name)
    assert refusal(lambda: connected(net, net.stack(API), name)) is Errno.ECONNREFUSED
    assert refusal(lambda: net.keep(web.new_local()).bind(name)) is Errno.EADDRINUSE
    listener.close()
    listening(net, web, name)
    automatic = net.keep(web.new_local(DGRAM))
    automatic.bind(UNNAMED)
    assert automatic.local().path.startswith(b"\0")


def test_datagrams(net, web) -> None:
    server = net.keep(web.new_local(DGRAM))
    server.bind(NAME)
    client = net.keep(web.new_local(DGRAM))
    assert send(client, b"nameless", NAME) == 8
    assert receive(server)[1].address == UNNAMED
    client.bind(LocalName(b"/client"))
    send(client, b"with a name", NAME)
    data, received = receive(server, 4)
    assert (data, received.full, received.truncated) == (b"with", 11, True)
    assert received.address == LocalName(b"/client")
    send(server, b"back", received.address)
    assert receive(client, flags=MSG_PEEK)[0] == b"back"
    assert client.pending() == 4
    assert receive(client)[1].address == NAME
    assert refusal(lambda: send(client, b"x")) is Errno.ENOTCONN
    client.connect(CALLER, NAME)
    assert client.remote() == NAME
    send(client, b"to the peer")
    assert receive(server)[0] == b"to the peer"
    assert refusal(lambda: receive(server, flags=MSG_DONTWAIT)) is Errno.EAGAIN
    assert refusal(lambda: send(client, b"x" * (1 << 20))) is Errno.EMSGSIZE
    assert refusal(lambda: client.connect(CALLER, None)) is Errno.EINVAL
    server.close()
    assert refusal(lambda: send(client, b"x")) is Errno.ECONNREFUSED


def test_a_full_queue_makes_the_sender_wait_and_a_kill_ends_that(net, web) -> None:
    server = net.keep(web.new_local(DGRAM))
    server.bind(NAME)
    client = net.keep(web.new_local(DGRAM))
    client.set_flags(NONBLOCK)
    sent = 0
    while refusal_or_none(lambda: send(client, b"x", NAME)) is None:
        sent += 1
    client.set_flags(0)
    client.set_option("SO_SNDTIMEO", "3000")
    assert refusal(lambda: send(client, b"x", NAME)) is Errno.EAGAIN
    client.set_option("SO_SNDTIMEO", "0")
    process = new_process(5)
    blocked = in_thread(lambda: client.send_to(process, [memoryview(b"x")], NAME))
    process.signal(9)
    assert isinstance(blocked.exception(LONG), Killed)
    waiting = in_thread(lambda: send(client, b"last", NAME))
    for _ in range(sent):
        receive(server)
    assert waiting.result(LONG) == 4


def refusal_or_none(call) -> Errno | None:
    try:
        call()
    except Exception as error:
        return getattr(error, "errno", None)
    return None


@pytest.mark.parametrize("kind", [STREAM, DGRAM, SEQPACKET])
def test_pairs(net, web, kind) -> None:
    first, second = map(net.keep, web.new_local_pair(kind))
    send(first, b"hello")
    assert receive(second)[0] == b"hello"
    assert (first.local(), first.remote()) == (UNNAMED, UNNAMED)
    if kind == STREAM:
        waiting = in_thread(lambda: receive(second, 6, MSG_WAITALL))
        send(first, b"abc")
        send(first, b"def")
        assert waiting.result(LONG)[0] == b"abcdef"
        assert refusal(lambda: send(first, b"x", NAME)) is Errno.EISCONN


@pytest.mark.parametrize("kind", [STREAM, DGRAM, SEQPACKET])
def test_open_files_go_along(net, web, kind) -> None:
    first, second = map(net.keep, web.new_local_pair(kind))
    file, other = Counted(), Counted()
    for one in (file, other):
        one.retain()
    send(first, b"take these", passed=[file, other])
    file.release()
    data, received = receive(second)
    assert (data, received.passed) == (b"take these", (file, other))
    assert file.closed == 0
    for one in received.passed:
        one.release()
    assert file.closed == 1
    other.release()
    assert refusal(lambda: send(first, b"x", passed=[web.new_local()] * 65)) is Errno.EINVAL
    assert refusal(lambda: send(net.udp(web), b"x", Endpoint(WEB, 1), passed=[file])) is (
        Errno.EINVAL
    )


def test_open_files_that_nobody_takes_are_let_go_of(net, web) -> None:
    first, second = map(net.keep, web.new_local_pair())
    files = [Counted() for _ in range(3)]
    for file in files:
        file.retain()
        send(first, b"x", passed=[file])
        file.release()
    buffer = bytearray(1)
    assert second.read(CALLER, [memoryview(buffer)]) == 1  # a read drops what came along
    send(first, b"x", passed=[files[1]])
    assert files[0].closed == 1
    for end in (first, second):
        net._sockets.remove(end)
        end.release()
    assert [file.closed for file in files] == [1, 1, 1]


def test_files_on_the_way_are_bounded(net, web) -> None:
    first, second = map(net.keep, web.new_local_pair(DGRAM))
    first.set_flags(NONBLOCK)
    file = Counted()
    file.retain()
    errno = None
    for _ in range(MOST_ON_THE_WAY + 1):
        errno = errno or refusal_or_none(lambda: send(first, b"x", passed=[file]))
    assert errno in (Errno.EMFILE, Errno.EAGAIN)
    assert receive(second)[1].passed == (file,)


# Across containers, and the host.


def on_volume(net: Net, *addresses: str) -> list[NetworkStack]:
    volume = net.base / "volume"
    volume.mkdir(exist_ok=True)
    stacks = [net.stack(address) for address in addresses]
    for stack in stacks:
        stack.namespace.mount(b"/shared", HostDirectory(volume).root)
    return stacks


def test_containers_meet_on_a_shared_volume(net) -> None:
    web, api = on_volume(net, WEB, API)
    name = LocalName(b"/shared/s")
    listener = listening(net, web, name)
    client = connected(net, api, name)
    server = net.keep(listener.accept(CALLER, 0))
    file = Counted()
    file.retain()
    send(client, b"hello", passed=[file])
    data, received = receive(server)
    assert (data, received.passed) == (b"hello", ())  # open files stay in their container
    status = os.lstat(net.base / "volume" / "s")
    assert stat.S_ISSOCK(status.st_mode)
    with socket.socket(socket.AF_UNIX) as host, pytest.raises(ConnectionRefusedError):
        host.connect(str(net.base / "volume" / "s"))


def test_sockets_of_the_host_are_out_of_reach(net) -> None:
    (web,) = on_volume(net, WEB)
    with socket.socket(socket.AF_UNIX) as host:
        host.bind(str(net.base / "volume" / "docker.sock"))
        host.listen()
        host.settimeout(0.1)
        assert refusal(lambda: connected(net, web, LocalName(b"/shared/docker.sock"))) is (
            Errno.ECONNREFUSED
        )
        (net.base / "volume" / "link").symlink_to(net.base / "volume" / "docker.sock")
        assert refusal(lambda: connected(net, web, LocalName(b"/shared/link"))) is Errno.ENOENT
        client = net.keep(web.new_local(DGRAM))
        assert refusal(lambda: send(client, b"x", LocalName(b"/shared/docker.sock"))) is (
            Errno.ECONNREFUSED
        )
        with pytest.raises(TimeoutError):
            host.accept()


def test_a_node_that_took_an_old_ones_place_leads_to_its_own_socket(net) -> None:
    web, api = on_volume(net, WEB, API)
    name = LocalName(b"/shared/s")
    old = listening(net, web, name)
    web.namespace.unlink(NOBODY, web.namespace.root, b"/shared/s")
    new = listening(net, api, name)  # the host may well give the inode number again
    client = connected(net, web, name)
    server = net.keep(new.accept(CALLER, 0))
    send(client, b"x")
    assert receive(server)[0] == b"x"
    old.close()
    connected(net, web, name)


@pytest.mark.parametrize("place", ["overlay", "volume", "read-only"])
def test_other_file_systems(net, tmp_path, place) -> None:
    web = net.stack(WEB)
    directory = tmp_path / "directory"
    directory.mkdir()
    if place == "overlay":
        web.namespace = Namespace(Overlay([], directory / "upper").root)
        name = LocalName(b"/s")
    else:
        root = HostDirectory(directory, read_only=place == "read-only").root
        web.namespace.mount(b"/d", root)
        name = LocalName(b"/d/s")
    if place == "read-only":
        assert refusal(lambda: listening(net, web, name)) is Errno.EROFS
        return
    listening(net, web, name)
    connected(net, web, name)
    assert refusal(lambda: listening(net, web, name)) is Errno.EADDRINUSE
    entry = web.namespace.stat(NOBODY, web.namespace.root, name.path, follow=False)
    assert entry.filetype is Filetype.SOCKET_STREAM


def test_nothing_is_left_open(net) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    web = net.stack(WEB)
    made: list[SocketDescription] = []
    for _ in range(3):
        made += [listening(net, web, LocalName(b"\0l")), connected(net, web, LocalName(b"\0l"))]
        made += map(net.keep, web.new_local_pair(DGRAM))
        send(made[-1], b"x", passed=[made[0]])
        for one in made:
            net._sockets.remove(one)
            one.release()
        made.clear()
    net.close()
    net._stacks.clear()
    assert len(os.listdir("/proc/self/fd")) == before
