"""UDP sockets of guests.

A bound socket has several doors (`udp_doors`): Unix datagram sockets on the loopback and in the
network, the supervisor's sockets of a published port, and, after something was sent outside, a host
UDP socket. Sending is always possible (`at_once`).

Limits and choices: a datagram has at most 65,507 bytes. Where a receiver's queue is full the
sender waits a little, then the datagram is lost, as UDP may. From outside comes only what was asked
for: datagrams from addresses that this socket has sent to (the last `MOST_PEERS`), and those of
published ports, whose senders may be answered without a grant. Multicast is not offered.

Lock order: see `socket_base`; the stack's lock is taken when doors open and close.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.network_policy import UDP
from balenawasm.kernel.network_unix import NOBODY_THERE, sender_of
from balenawasm.kernel.poll import WRITE
from balenawasm.kernel.socket import shown, understood
from balenawasm.kernel.socket_base import DatagramSocket, State
from balenawasm.kernel.socket_stream import HOW, LONGEST_PEEK, pending_bytes
from balenawasm.kernel.udp_doors import UdpDoors
from balenawasm.vfs.endpoint import (
    ANY,
    ANY6,
    LOOPBACK,
    LOOPBACK6,
    NOWHERE,
    Endpoint,
    is_any,
    is_inet6,
    is_loopback,
    mapped,
    unmapped,
)
from balenawasm.vfs.socket import DGRAM, INET, INET6, MSG_PEEK, Received
from balenawasm.wasi.errno import Errno, GuestError, from_oserror
from balenawasm.wasi.flags import SHUT_RD, SHUT_WR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balenawasm.kernel.network import NetworkStack, Route
    from balenawasm.kernel.network_ports import Reservation
    from balenawasm.kernel.udp_doors import Door
    from balenawasm.vfs.description import Buffers, Description
    from balenawasm.vfs.node import Caller
    from balenawasm.vfs.socket import Address

LARGEST: Final = 65507
MOST_PEERS: Final = 1024
MOST_DROPPED: Final = 64
"""Datagrams that are thrown away at one go; then it is time to see whether the guest was killed."""
FULL_QUEUE_WAIT_NS: Final = 1_000_000
FULL_QUEUE_WAITS: Final = 20
"""How often, and how long each time, a sender waits for room in a receiver's queue."""


class UdpSocket(DatagramSocket):
    """One UDP socket. See the module's docstring; the methods answer the errno that Linux would."""

    at_once = WRITE

    def __init__(self, stack: NetworkStack, inode: int, flags: int = 0, family: str = INET) -> None:
        super().__init__(inode, family, DGRAM, flags)
        self._stack = stack
        self._reservation: Reservation | None = None
        self._doors: UdpDoors | None = None
        self._turn = 0
        self._peer: Endpoint | None = None
        self._source = ""
        self._shut = 0
        self._patient = True
        self._ways: dict[Endpoint, tuple[Door, str]] = {}
        """How destinations inside are reached, which never changes."""
        self._contacts: OrderedDict[Endpoint, tuple[Door, tuple[str, int]] | None] = OrderedDict()
        """Addresses outside: asked by us, or, with the way back, senders to a published port."""

    # Life.

    def bind(self, address: Address) -> None:
        """POSIX `bind`: EINVAL when bound already, EADDRINUSE, EADDRNOTAVAIL."""
        with self._lock:
            if self._reservation is not None or self._is(State.CLOSED):
                raise GuestError(Errno.EINVAL)
            reservation = self._reserve(understood(self.family, address))
            try:
                self._opened().open_all(reservation)
            except BaseException:
                self._closing(waited_for=False)
                raise

    def _reserve(self, endpoint: Endpoint) -> Reservation:
        options = self._options
        only_inet6 = self.family == INET6 and options.flag("IPV6_V6ONLY")
        if only_inet6 and not is_inet6(endpoint.host):
            raise GuestError(Errno.EINVAL)
        self._reservation = self._stack.reserve(
            endpoint,
            reuse=options.flag("SO_REUSEADDR"),
            share=options.flag("SO_REUSEPORT"),
            only_inet6=only_inet6,
            protocol=UDP,
        )
        self._state = State.BOUND
        self._opened()
        return self._reservation

    def _bound(self) -> Reservation:
        """The claim on a port; one of the kernel's choice when there is none yet. Its doors open
        when they are needed. The lock is held.
        """
        if self._is(State.CLOSED):
            raise GuestError(Errno.EBADF)
        return self._reservation or self._reserve(Endpoint(ANY if self.family == INET else ANY6, 0))

    def _opened(self) -> UdpDoors:
        if self._doors is None:
            self._doors = UdpDoors(self._stack, self._options)
            self.host_fd = self._doors.fd
        return self._doors

    def _closing(self, *, waited_for: bool) -> None:
        if waited_for and self._doors is not None:
            self._doors.ring()
        else:
            self._give_back()

    def _dispose(self) -> None:
        self.host_fd = -1
        self._give_back()
        if self._doors is not None:
            self._doors.close()

    def _give_back(self) -> None:
        if self._doors is not None:
            self._doors.close_all()
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            self._stack.release(reservation, UDP)

    def connect(self, caller: Caller, destination: Address | None) -> None:
        """POSIX `connect`: only datagrams of this peer are received from now on; None: of all."""
        with self._lock:
            if destination is None:
                self._peer = None
                self._source = ""
                return
            wanted = self._destination(destination)
            reservation = self._bound()
            if self._contacts.get(wanted) is None:
                # Whether it is granted is asked when something is sent: programs connect in order
                # to learn their own address.
                route = self._route(wanted, checked=False)
                if route.directory is not None:
                    self._door_to(route, reservation)
                self._source = route.source
            self._peer = wanted

    def shutdown(self, how: int) -> None:
        """POSIX `shutdown`: ENOTCONN without a peer; then receiving ends, or sending is EPIPE."""
        if how not in HOW:
            raise GuestError(Errno.EINVAL)
        with self._lock:
            if self._peer is None:
                raise GuestError(Errno.ENOTCONN)
            self._shut |= how
            if self._shut & SHUT_RD:
                self._opened().ring()

    # Sending.

    def send_to(
        self,
        caller: Caller,
        buffers: Buffers,
        address: Address | None = None,
        flags: int = 0,
        passed: Sequence[Description] = (),
    ) -> int:
        """POSIX `sendmsg`: one datagram. EDESTADDRREQ, EMSGSIZE, EACCES (outside, not granted)."""
        size = sum(map(len, buffers))
        if passed:
            raise GuestError(Errno.EINVAL)
        if self._shut & SHUT_WR:
            raise GuestError(Errno.EPIPE)
        if size > LARGEST:
            raise GuestError(Errno.EMSGSIZE)
        if address is not None:
            wanted = self._destination(address)
        elif self._peer is None:
            raise GuestError(Errno.EDESTADDRREQ)
        else:
            wanted = self._peer
        self._raise_pending()
        with self._lock:
            door, target = self._way(wanted)
            host = door.host
        for left in range(FULL_QUEUE_WAITS, -1, -1):
            try:
                host.sendmsg(buffers, (), socket.MSG_NOSIGNAL, target)
            except BlockingIOError:
                if not left or not self._patient:
                    self._patient = False  # it does not read: do not wait for it every time
                    return size
                caller.wait([], FULL_QUEUE_WAIT_NS)
                continue
            except OSError as error:
                self._not_delivered(error, door, wanted)
            break
        self._patient = True
        return size

    def _destination(self, address: Address) -> Endpoint:
        wanted = understood(self.family, address)
        if not wanted.port:
            raise GuestError(Errno.EINVAL)
        if is_any(wanted.host):
            wanted = Endpoint(LOOPBACK6 if is_inet6(wanted.host) else LOOPBACK, wanted.port)
        if self._options.flag("IPV6_V6ONLY") and not is_inet6(wanted.host):
            raise GuestError(Errno.ENETUNREACH)
        return wanted

    def _way(self, wanted: Endpoint) -> tuple[Door, str | tuple[str, int]]:
        """The door to send by and what the host calls the destination. The lock is held."""
        reservation = self._bound()
        known = self._contacts.get(wanted) or self._ways.get(wanted)
        if known is not None:
            return known
        route = self._route(wanted)
        door = self._door_to(route, reservation)
        if door.directory is not None:
            if len(self._ways) >= MOST_PEERS:
                self._ways.clear()
            inside = self._ways[wanted] = door, door.directory.datagram_path(route.destination)
            return inside
        if not door.open_to_all:
            self._contact(wanted, None)
        host = wanted.host
        if door.host.family == socket.AF_INET6:
            host = mapped(host)
        return door, (host, wanted.port)

    def _route(self, wanted: Endpoint, *, checked: bool = True) -> Route:
        route = self._stack.route(wanted, UDP, checked=checked)
        bound = self._reservation.endpoint.host if self._reservation is not None else ANY
        if is_loopback(bound) and not route.local:
            raise GuestError(Errno.EINVAL)
        return route

    def _door_to(self, route: Route, reservation: Reservation) -> Door:
        if reservation.host is not None:
            return self._opened().of_host(reservation)
        if route.directory is None:
            return self._opened().outside(route.destination.host)
        port = reservation.endpoint.port
        places = self._stack.door_places(reservation)
        for directory, host in places:
            if directory is route.directory and is_inet6(host) == is_inet6(route.source):
                return self._opened().inside(directory, Endpoint(host, port))
        # Bound to one address, sending to the container's other one: from where it is bound.
        directory, host = places[0]
        return self._opened().inside(directory, Endpoint(host, port))

    def _contact(self, endpoint: Endpoint, back: tuple[Door, tuple[str, int]] | None) -> None:
        self._contacts[endpoint] = back
        self._contacts.move_to_end(endpoint)
        if len(self._contacts) > MOST_PEERS:
            self._contacts.popitem(last=False)

    def _not_delivered(self, error: OSError, door: Door, wanted: Endpoint) -> None:
        """Nobody there is told to a connected socket, later, as ICMP would; other errors at
        once.
        """
        if self._is(State.CLOSED):
            raise GuestError(Errno.EBADF) from None
        if error.errno in NOBODY_THERE and door.directory is not None:
            if wanted == self._peer:
                with self._lock:
                    self._error = Errno.ECONNREFUSED
                    self._opened().ring()
            return
        if error.errno == errno.EDESTADDRREQ:
            raise GuestError(Errno.EINVAL) from None
        raise GuestError(from_oserror(error)) from None

    # Receiving.

    def receive(self, caller: Caller, buffers: Buffers, flags: int = 0) -> Received:
        """POSIX `recvmsg`: the next datagram and its sender."""
        if self._reservation is None:
            with self._lock:
                self._bound()
        while True:
            self._raise_pending()
            if self._shut & SHUT_RD:
                return Received(0)
            received = self._receive_now(buffers, flags)
            if received is not None:
                return received
            if self._nonblocking(flags):
                raise GuestError(Errno.EAGAIN)
            self._wait_or_again(caller, select.POLLIN, self._options.receive_timeout_ns)

    def _receive_now(self, buffers: Buffers, flags: int) -> Received | None:
        """Take a datagram that is there, each door in turn."""
        host_flags = socket.MSG_TRUNC | (socket.MSG_PEEK if flags & MSG_PEEK else 0)
        doors = self._opened().all()
        self._turn += 1
        for offset in range(len(doors)):
            door = doors[(self._turn + offset) % len(doors)]
            for _ in range(MOST_DROPPED):
                try:
                    full, _, _, name = door.host.recvmsg_into(buffers, 0, host_flags)
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in (errno.EBADF, errno.ECONNREFUSED):
                        break
                    self._raise_host(error)
                sender = self._sender(door, name)
                if sender is None:
                    if flags & MSG_PEEK:
                        with contextlib.suppress(OSError):
                            door.host.recv(0)
                    continue
                room = sum(map(len, buffers))
                count = min(full, room)
                return Received(count, shown(self.family, sender), full, truncated=full > room)
        return None

    def _sender(self, door: Door, name: object) -> Endpoint | None:
        """Who sent a datagram that came by this door; None when it is none of our business."""
        inside = door.directory is not None
        sender = sender_of(name) if inside else self._outside_sender(door, name)
        if sender is None or (self._peer is not None and sender != self._peer):
            return None
        return sender

    def _outside_sender(self, door: Door, name: object) -> Endpoint | None:
        if not isinstance(name, tuple):
            return None
        host, port = unmapped(str(name[0])), int(name[1])
        sender = Endpoint(host, port)
        reservation = self._reservation
        if reservation is None or reservation.host is not None:
            return sender
        if not door.open_to_all:
            return sender if sender in self._contacts else None
        if is_inet6(host) and self.family == INET:
            sender = Endpoint(self._stack.gateway, port)
        with self._lock:
            self._contact(sender, (door, (str(name[0]), port)))
        return sender

    def _raise_pending(self) -> None:
        if self._error:
            pending = self.take_error()
            if pending:
                raise GuestError(pending)

    def peek(self, caller: Caller, count: int) -> bytes:
        """The beginning of the next datagram, which stays in the queue."""
        if not 0 < count <= LONGEST_PEEK:
            raise GuestError(Errno.EINVAL)
        buffer = bytearray(count)
        return bytes(buffer[: self.receive(caller, [memoryview(buffer)], MSG_PEEK).size])

    def pending(self) -> int:
        """The length of the next datagram, 0 for none."""
        doors = self._doors.all() if self._doors is not None else ()
        return next((n for d in doors if (n := pending_bytes(d.host))), 0)

    # Questions.

    def local(self) -> Endpoint:
        """POSIX `getsockname`."""
        reservation = self._reservation
        if reservation is None:
            return shown(self.family, NOWHERE)
        host, port = reservation.endpoint
        if is_any(host) and self._source:
            host = self._source
        return shown(self.family, Endpoint(host, port))

    def remote(self) -> Endpoint:
        """POSIX `getpeername`: ENOTCONN without a peer."""
        if self._peer is None:
            raise GuestError(Errno.ENOTCONN)
        return shown(self.family, self._peer)

    def take_error(self) -> Errno:
        """SO_ERROR: the pending error, which is cleared."""
        with self._lock:
            pending, self._error = self._error, Errno.SUCCESS
            if pending and self._doors is not None and not self._shut & SHUT_RD:
                self._doors.stop_ringing()
        return pending

    def set_option(self, name: str, value: str) -> None:
        """See BaseSocket; set on every door."""
        super().set_option(name, value)
        with self._lock:
            for door in self._doors.all() if self._doors is not None else ():
                self._options.apply(door.host)
