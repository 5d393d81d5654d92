"""TCP sockets of guests, over IPv4 and IPv6.

Where a connection goes decides what the host socket is (`NetworkStack.route`). An IPv6 socket also
serves IPv4 (unless IPV6_V6ONLY): inside, addresses are kept as what they are, and shown to its
guest as mapped ones.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from balenawasm.kernel.socket_base import State
from balenawasm.kernel.socket_stream import StreamSocket, begin_connect
from balenawasm.vfs.endpoint import (
    ANY,
    ANY6,
    LOOPBACK6,
    NOWHERE,
    Endpoint,
    is_any,
    is_inet6,
    is_loopback,
    mapped,
    unmapped,
)
from balenawasm.vfs.socket import INET, INET6, STREAM
from balenawasm.wasi.errno import Errno, GuestError, from_oserror

if TYPE_CHECKING:
    from balenawasm.kernel.network import NetworkStack, Route
    from balenawasm.kernel.network_listener import Accepted, Listener
    from balenawasm.kernel.network_ports import Reservation
    from balenawasm.vfs.node import Caller
    from balenawasm.vfs.socket import Address


class TcpSocket(StreamSocket):
    """One TCP socket. See the module's docstring; the methods answer the errno that Linux would."""

    def __init__(self, stack: NetworkStack, inode: int, flags: int = 0, family: str = INET) -> None:
        super().__init__(inode, family, STREAM, flags, NOWHERE)
        self._stack = stack
        self._reservation: Reservation | None = None

    def local(self) -> Endpoint:
        """POSIX `getsockname`."""
        return shown(self.family, self._endpoint(self._local))

    def remote(self) -> Endpoint:
        """POSIX `getpeername`: ENOTCONN unless connected."""
        self._connected()
        return shown(self.family, self._endpoint(self._remote))

    @staticmethod
    def _endpoint(address: Address) -> Endpoint:
        assert isinstance(address, Endpoint)  # noqa: S101 - what a TCP socket is given
        return address

    def _bind_locked(self, address: Address | None) -> None:
        options = self._options
        endpoint = understood(self.family, address or Endpoint(ANY, 0))
        only_inet6 = self.family == INET6 and options.flag("IPV6_V6ONLY")
        if only_inet6 and not is_inet6(endpoint.host):
            raise GuestError(Errno.EINVAL)
        self._reservation = self._stack.reserve(
            endpoint,
            reuse=options.flag("SO_REUSEADDR"),
            share=options.flag("SO_REUSEPORT"),
            only_inet6=only_inet6,
        )
        self._local = self._reservation.endpoint
        if self._is(State.NEW):
            self._state = State.BOUND

    def _unbind(self) -> None:
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            self._stack.release(reservation)

    def _open_listener(self) -> Listener:
        assert self._reservation is not None  # noqa: S101 - for the type checker
        return self._stack.listen(self._reservation)

    def _adopt(self, accepted: Accepted, flags: int) -> TcpSocket:
        connected = self._stack.adopt(
            accepted.socket,
            self._endpoint(accepted.local),
            self._endpoint(accepted.remote),
            flags,
            self.family,
        )
        connected.inherit(self)
        return connected

    def inherit(self, listener: TcpSocket) -> None:
        """Take over the options of the listener this socket was accepted from."""
        self._options.inherit(listener._options)
        if self._host is not None:
            self._options.apply(self._host)

    def _connect_locked(self, caller: Caller, destination: Address) -> None:
        if not self._check_connectable():
            return
        wanted = understood(self.family, destination)
        if wanted.host == ANY6:
            wanted = Endpoint(LOOPBACK6, wanted.port)
        if self.family == INET6 and self._options.flag("IPV6_V6ONLY") and not is_inet6(wanted.host):
            raise GuestError(Errno.ENETUNREACH)
        route = self._stack.route(wanted)
        if self._reservation is None:
            self._bind_locked(None)
        local = self._source(route)
        if route.directory is None:
            local = self._connect_outside(wanted, local)
        else:
            self._host = route.directory.connect(local, route.destination)
            self._state = State.CONNECTED
        assert self._host is not None  # noqa: S101 - for the type checker
        self._options.apply(self._host)
        self.host_fd = self._host.fileno()
        self._local, self._remote = local, wanted

    def _source(self, route: Route) -> Endpoint:
        """Our end of a connection that takes this way; EINVAL when we are bound elsewhere."""
        host, port = self._endpoint(self._local)
        if is_loopback(host) and not route.local:
            # As on Linux; a peer in another container would take us for itself.
            raise GuestError(Errno.EINVAL)
        return Endpoint(route.source if is_any(host) else host, port)

    def _connect_outside(self, destination: Endpoint, local: Endpoint) -> Endpoint:
        """Connect a host socket; answers our end, which the host knows when its network is ours."""
        assert self._reservation is not None  # noqa: S101 - for the type checker
        bound = self._reservation.host
        family = socket.AF_INET6 if is_inet6(destination.host) else socket.AF_INET
        try:
            host_socket = bound.dup() if bound else socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            raise GuestError(from_oserror(error)) from None
        host_socket.setblocking(False)
        host = destination.host
        if host_socket.family == socket.AF_INET6:
            host = mapped(host)
        done = begin_connect(host_socket, (host, destination.port))
        self._host = host_socket
        self._state = State.CONNECTED if done else State.CONNECTING
        return name_of(host_socket) if bound else local


def name_of(host_socket: socket.socket) -> Endpoint:
    """The address of a host socket of IPv4 or IPv6."""
    host, port = host_socket.getsockname()[:2]
    return Endpoint(unmapped(host), port)


def understood(family: str, address: object) -> Endpoint:
    """An address that a guest gave a socket of `family`, mapped ones as IPv4; EAFNOSUPPORT."""
    if not isinstance(address, Endpoint):
        raise GuestError(Errno.EAFNOSUPPORT)
    host = address.host
    if family == INET:
        if is_inet6(host):
            raise GuestError(Errno.EAFNOSUPPORT)
        return address
    return Endpoint(ANY6 if host == ANY else unmapped(host), address.port)


def shown(family: str, endpoint: Endpoint) -> Endpoint:
    """An address as a socket of `family` tells it."""
    if family == INET or is_inet6(endpoint.host):
        return endpoint
    if endpoint.host == ANY:
        return Endpoint(ANY6, endpoint.port)
    return Endpoint(mapped(endpoint.host), endpoint.port)
