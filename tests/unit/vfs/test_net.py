"""The file system /net over a network stack that records: what it passes on, what errors do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from balenawasm.vfs.filesystems.net import NetFs
from balenawasm.vfs.filesystems.net_commands import WaitingRoom, connect_to
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.vfs.socket import SocketDescription
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.vfs.endpoint import Endpoint


class FakeSocket(SocketDescription):
    def __init__(self, inode: int, refused: dict[str, Errno] | None = None) -> None:
        super().__init__()
        self.inode = inode
        self.refused = refused or {}
        self.tried: list[Endpoint] = []
        self.closed = 0

    def connect(self, caller, destination) -> None:
        self.tried.append(destination)
        if destination.host in self.refused:
            raise GuestError(self.refused[destination.host])

    def close(self) -> None:
        super().close()
        self.closed += 1


class FakeNetwork:
    hostname = "h"
    address = None

    def __init__(self, addresses: list[str] | None = None) -> None:
        self.addresses = addresses or []
        self.sockets: dict[int, FakeSocket] = {}
        self.refused: dict[str, Errno] = {}

    def new_socket(self, flags: int = 0, family: str = "inet") -> FakeSocket:
        new = FakeSocket(len(self.sockets) + 1, self.refused)
        self.sockets[new.inode] = new
        return new

    def new_pair(self, flags: int = 0):
        return self.new_socket(), self.new_socket()

    def find(self, inode: int):
        return self.sockets.get(inode)

    def lookup(self, caller, name: str, family: str = "inet") -> list[str]:
        return self.addresses

    def names_of(self, address: str) -> list[str]:
        return []


def test_connect_tries_the_addresses_in_turn() -> None:
    network = FakeNetwork(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    new = FakeSocket(1, {"10.0.0.1": Errno.ECONNREFUSED})
    connect_to(network, new, NOBODY, "name", 80)
    assert [endpoint.host for endpoint in new.tried] == ["10.0.0.1", "10.0.0.2"]


def test_connect_reports_the_last_refusal_and_stops_at_others() -> None:
    network = FakeNetwork(["10.0.0.1", "10.0.0.2"])
    new = FakeSocket(1, {"10.0.0.1": Errno.ETIMEDOUT, "10.0.0.2": Errno.ECONNREFUSED})
    with pytest.raises(GuestError) as error:
        connect_to(network, new, NOBODY, "name", 80)
    assert error.value.errno is Errno.ECONNREFUSED
    new = FakeSocket(1, {"10.0.0.1": Errno.EACCES})
    with pytest.raises(GuestError) as error:
        connect_to(network, new, NOBODY, "name", 80)
    assert error.value.errno is Errno.EACCES
    assert len(new.tried) == 1


def test_a_socket_that_fails_to_connect_is_closed() -> None:
    network = FakeNetwork(["10.0.0.1"])
    network.refused["10.0.0.1"] = Errno.ECONNREFUSED
    node = NetFs(network).root.lookup(NOBODY, b"tcp").lookup(NOBODY, b"connect")
    with pytest.raises(GuestError):
        node.lookup(NOBODY, b"name!80").open(NOBODY, OpenFlags(write=True))
    assert network.sockets[1].closed == 1
    network.refused["10.0.0.1"] = Errno.EINPROGRESS
    opened = node.lookup(NOBODY, b"name!80").open(NOBODY, OpenFlags(write=True))
    assert opened is network.sockets[2]
    assert network.sockets[2].closed == 0


def test_waiting_room_gives_to_whom_it_belongs() -> None:
    network = FakeNetwork()
    room = WaitingRoom()
    owner, accepted = network.new_socket(), network.new_socket()
    room.add(owner, 7, accepted)
    assert not room.has(accepted.inode, 8)
    assert room.take(accepted.inode, 8) is None
    assert room.take(accepted.inode, 7) is accepted
    assert room.take(accepted.inode, 7) is None


def test_waiting_sockets_close_with_their_owner() -> None:
    network = FakeNetwork()
    room = WaitingRoom()
    owner, accepted, fetched = (network.new_socket() for _ in range(3))
    room.add(owner, 7, fetched)
    room.add(owner, 7, accepted)
    room.take(fetched.inode, 7)
    owner.close()
    assert accepted.closed == 1
    assert fetched.closed == 0
    assert not room.has(accepted.inode, 7)
