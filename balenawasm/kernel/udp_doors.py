"""The host sockets of one UDP socket, behind one epoll fd, so that poll needs a single fd.

Inside, a door is a Unix datagram socket in a directory of the stack; a published port's are the
supervisor's sockets, duplicated; outside, there is one host UDP socket for each family. In the
host's own network there is one door, the bound socket itself. The UDP socket's lock is held in
every call but `fd` and `all`; the stack's is taken below it.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import TYPE_CHECKING

from balenawasm.kernel.network_policy import UDP
from balenawasm.vfs.endpoint import Endpoint, is_inet6
from balenawasm.wasi.errno import GuestError, from_oserror

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.kernel.network import NetworkStack
    from balenawasm.kernel.network_ports import Reservation
    from balenawasm.kernel.network_unix import SocketDirectory
    from balenawasm.kernel.socket_options import SocketOptions


class Door:
    """One host socket of a UDP socket. `open_to_all` ones take datagrams from everybody."""

    def __init__(
        self,
        host: socket.socket,
        *,
        directory: SocketDirectory | None = None,
        open_to_all: bool = True,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self.host = host
        self.directory = directory
        self.open_to_all = open_to_all
        self._leave = leave

    def close(self) -> None:
        """Give the host socket back."""
        self._leave()
        self.host.close()


class UdpDoors:
    """All doors of one UDP socket; each opens when it is first asked for. GuestError EMFILE."""

    def __init__(self, stack: NetworkStack, options: SocketOptions) -> None:
        self._stack = stack
        self._options = options
        self._doors: dict[object, Door] = {}
        try:
            self._epoll = select.epoll()
            try:
                self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            except OSError:
                self._epoll.close()
                raise
        except OSError as error:
            raise GuestError(from_oserror(error)) from None
        self._epoll.register(self._bell, select.EPOLLIN)
        self.fd = self._epoll.fileno()
        """Readable when a datagram is there, and while the bell rings."""

    def all(self) -> list[Door]:
        """Those that are open."""
        return list(self._doors.values())

    def open_all(self, reservation: Reservation) -> None:
        """Open every door that a bound socket has."""
        if reservation.host is not None:
            self.of_host(reservation)
            return
        for directory, host in self._stack.door_places(reservation):
            self.inside(directory, Endpoint(host, reservation.endpoint.port))
        try:
            for number, shared in enumerate(self._stack.published_sockets(reservation, UDP)):
                self._add(("published", number), Door(shared))
        except OSError as error:
            raise GuestError(from_oserror(error)) from None

    def of_host(self, reservation: Reservation) -> Door:
        """The one door of a socket in the host's own network."""
        door = self._doors.get("host")
        if door is None:
            assert reservation.host is not None  # noqa: S101 - for the type checker
            door = self._add("host", Door(reservation.host.dup()))
        return door

    def inside(self, directory: SocketDirectory, local: Endpoint) -> Door:
        """The door in a directory of the stack."""
        key = (directory, local.host)
        door = self._doors.get(key)
        if door is None:
            host, leave = self._stack.open_datagrams(directory, local)
            door = self._add(key, Door(host, directory=directory, leave=leave))
        return door

    def outside(self, host: str) -> Door:
        """The door to the outside for an address's family; only answers come in by it."""
        family = socket.AF_INET6 if is_inet6(host) else socket.AF_INET
        door = self._doors.get(family)
        if door is None:
            try:
                made = socket.socket(family, socket.SOCK_DGRAM)
            except OSError as error:
                raise GuestError(from_oserror(error)) from None
            made.setblocking(False)
            door = self._add(family, Door(made, open_to_all=False))
        return door

    def _add(self, key: object, door: Door) -> Door:
        try:
            self._options.apply(door.host)
            self._epoll.register(door.host.fileno(), select.EPOLLIN)
        except BaseException:
            door.close()
            raise
        self._doors[key] = door
        return door

    def ring(self) -> None:
        """Wake whoever waits, and have poll say that there is something to read."""
        os.eventfd_write(self._bell, 1)

    def stop_ringing(self) -> None:
        """The news has been told."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)

    def close_all(self) -> None:
        """Give the doors back; the bell still rings."""
        doors, self._doors = self._doors, {}
        for door in doors.values():
            door.close()

    def close(self) -> None:
        """Give everything back."""
        self.close_all()
        self._epoll.close()
        os.close(self._bell)
