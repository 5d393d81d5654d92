"""The network stack of one container: its addresses, ports, name lookup, and the way to every
destination.

Three places that traffic can go: the container itself (loopback), the project's network (other
containers), outside. The first two are Unix sockets (`network_unix`), the third are host sockets
that the policy must grant. See docs/guest-files.md for what guests see. IPv6 exists on the loopback
(`::1`) and outside; the project's network is IPv4.

Lock order: a socket's lock, then the stack's. Neither is held while a guest waits.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import weakref
from typing import TYPE_CHECKING

from balenawasm.kernel.network_hosts import HostsFile
from balenawasm.kernel.network_listener import Entrance, Listener
from balenawasm.kernel.network_names import NetworkNames
from balenawasm.kernel.network_policy import TCP, UDP, OutboundPolicy
from balenawasm.kernel.network_ports import PortTable, Reservation
from balenawasm.kernel.network_resolver import OutsideResolver
from balenawasm.kernel.network_unix import SocketDirectory
from balenawasm.kernel.socket import TcpSocket
from balenawasm.record import NamedTuple
from balenawasm.vfs.endpoint import (
    ANY,
    ANY6,
    LOOPBACK,
    LOOPBACK6,
    Endpoint,
    is_inet6,
    is_loopback,
)
from balenawasm.vfs.socket import INET, STREAM
from balenawasm.wasi.errno import Errno, GuestError, from_oserror

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from balenawasm.kernel.local_names import LocalNames
    from balenawasm.kernel.passing import PassedFiles
    from balenawasm.kernel.socket_base import BaseSocket
    from balenawasm.kernel.socket_local import LocalSocket
    from balenawasm.kernel.socket_udp import UdpSocket
    from balenawasm.kernel.tls import TlsService
    from balenawasm.vfs.node import Caller
    from balenawasm.vfs.path import Namespace


class Route(NamedTuple):
    """How to reach a destination: `directory` is None outside; `source` is our address there;
    `local` says that it is this container.
    """

    destination: Endpoint
    source: str
    directory: SocketDirectory | None
    local: bool = False


class DoorPlace(NamedTuple):
    """Where a bound socket is reachable inside: a directory and the address there."""

    directory: SocketDirectory
    host: str


class NetworkStack:
    """One container's network. Close it after its last guest has ended."""

    namespace: Namespace | None = None
    """The container's file tree, for the names of Unix sockets; set before the first process."""

    def __init__(
        self,
        *,
        loopback_directory: Path,
        hostname: str = "localhost",
        address: str | None = None,
        network_directory: Path | None = None,
        published: Mapping[int, Sequence[int]] | None = None,
        published_udp: Mapping[int, Sequence[int]] | None = None,
        hosts: Path | None = None,
        policy: OutboundPolicy | None = None,
        log: Callable[[str], None] = lambda line: None,
        resolver: OutsideResolver | None = None,
        tls: Sequence[tuple[str, str, str, str, bool]] = (),
        advice: str = "",
    ) -> None:
        """Join the network at `network_directory` with the virtual `address`, or have a loopback
        only.

        `published` maps a container port to host listening sockets, `published_udp` to bound
        datagram sockets, which stay the caller's; `hosts` is a hosts(5) file; `log` takes one line
        for the user, `advice` is NetworkNames'. Both directories are made when missing.
        """
        self.hostname = hostname
        self.address = address
        self.names = NetworkNames(
            hostname=hostname,
            address=address,
            hosts=HostsFile(hosts),
            policy=policy or OutboundPolicy(),
            resolver=resolver or OutsideResolver(),
            log=log,
            advice=advice,
        )
        self._published = {port: tuple(fds) for port, fds in (published or {}).items()}
        self._published_udp = {port: tuple(fds) for port, fds in (published_udp or {}).items()}
        self._loopback = SocketDirectory(loopback_directory)
        self._network: SocketDirectory | None = None
        self._shared: SocketDirectory | None = None
        """Where Unix sockets in shared volumes are, when that is not the network."""
        self._prefix = ""
        if address is not None and network_directory is not None:
            self._network = SocketDirectory(network_directory)
            self._network.join(address)
            self._prefix = address.rpartition(".")[0] + "."
        self._lock = threading.Lock()
        self._ports = {TCP: PortTable(), UDP: PortTable()}
        self._inodes = itertools.count(1)
        self._sockets: weakref.WeakValueDictionary[int, BaseSocket] = weakref.WeakValueDictionary()
        self._local_names: LocalNames | None = None
        self._passed_files: PassedFiles | None = None
        self._tls_grants = tuple(tls)
        self._tls: TlsService | None = None
        self._log = log

    def close(self) -> None:
        """Close every socket that is left, with an fd or without; give back the directories."""
        for left in list(self._sockets.values()):
            left.close()
        if self._passed_files is not None:
            self._passed_files.close()
        if self._tls is not None:
            self._tls.close()
        self._loopback.close()
        for directory in (self._network, self._shared):
            if directory is not None:
                directory.close()

    @property
    def gateway(self) -> str:
        """Who peers outside seem to be whose address has another family."""
        return (self._prefix or "127.0.0.") + "1"

    # Sockets.

    def new_socket(self, flags: int = 0, family: str = INET) -> TcpSocket:
        """A fresh, unbound TCP socket; `flags` are WASI fdflags."""
        new = TcpSocket(self, next(self._inodes), flags, family)
        self._sockets[new.inode] = new
        return new

    def new_udp(self, flags: int = 0, family: str = INET) -> UdpSocket:
        """A fresh, unbound UDP socket."""
        from balenawasm.kernel.socket_udp import (  # noqa: PLC0415 - most programs have none
            UdpSocket,
        )

        new = UdpSocket(self, next(self._inodes), flags, family)
        self._sockets[new.inode] = new
        return new

    def new_local(self, kind: str = STREAM, flags: int = 0) -> LocalSocket:
        """A fresh Unix socket; EPROTONOSUPPORT for an unknown kind."""
        from balenawasm.kernel.socket_local import (  # noqa: PLC0415 - most programs have none
            make_local_socket,
        )

        new = make_local_socket(self, next(self._inodes), kind, flags)
        self._sockets[new.inode] = new
        return new

    def adopt(
        self,
        host_socket: socket.socket,
        local: Endpoint,
        remote: Endpoint,
        flags: int = 0,
        family: str = INET,
    ) -> TcpSocket:
        """A connected socket over a non-blocking host socket, which it owns from now on."""
        connected = self.new_socket(flags, family)
        connected.become_connected(host_socket, local, remote)
        return connected

    def new_pair(self, flags: int = 0) -> tuple[TcpSocket, TcpSocket]:
        """Two TCP sockets connected to each other; socketpair(2) is `new_local_pair`."""
        first, second = host_pair(socket.SOCK_STREAM)
        nowhere = Endpoint(LOOPBACK, 0)
        return self.adopt(first, nowhere, nowhere, flags), self.adopt(
            second, nowhere, nowhere, flags
        )

    def new_local_pair(self, kind: str = STREAM, flags: int = 0) -> tuple[LocalSocket, LocalSocket]:
        """Two Unix sockets connected to each other, as socketpair(2) makes them."""
        from balenawasm.kernel.socket_local import HOST_TYPES  # noqa: PLC0415 - as above

        first, second = self.new_local(kind, flags), self.new_local(kind, flags)
        ends = host_pair(HOST_TYPES[kind])
        first.pair_with(ends[0], second)
        second.pair_with(ends[1], first)
        return first, second

    def find(self, inode: int) -> BaseSocket | None:
        """The open socket with this inode number."""
        return self._sockets.get(inode)

    @property
    def local_names(self) -> LocalNames:
        """What the names of the container's Unix sockets stand for."""
        with self._lock:
            if self._local_names is None:
                from balenawasm.kernel.local_names import LocalNames  # noqa: PLC0415 - as above

                self._local_names = LocalNames(self._loopback, self._shared or self._network)
            return self._local_names

    @property
    def passed_files(self) -> PassedFiles:
        """Open files on their way through Unix sockets."""
        with self._lock:
            if self._passed_files is None:
                from balenawasm.kernel.passing import PassedFiles  # noqa: PLC0415 - as above

                self._passed_files = PassedFiles()
            return self._passed_files

    def tls(self) -> TlsService:
        """TLS for the container's connections."""
        with self._lock:
            if self._tls is None:
                from balenawasm.kernel.tls import TlsService  # noqa: PLC0415 - it imports ssl

                self._tls = TlsService(self, self._tls_grants, self._log)
            return self._tls

    def drop_lost_files(self) -> None:
        """Let go of passed files that nobody can receive any more: a socket was closed."""
        if self._passed_files is not None:
            self._passed_files.sweep()

    # Ports and doors.

    def reserve(
        self,
        endpoint: Endpoint,
        *,
        reuse: bool,
        share: bool = False,
        only_inet6: bool = False,
        protocol: str = TCP,
    ) -> Reservation:
        """Claim a local endpoint: EADDRNOTAVAIL when not ours, EADDRINUSE when taken."""
        host = endpoint.host
        if host not in (ANY, ANY6, self.address) and not is_loopback(host):
            raise GuestError(Errno.EADDRNOTAVAIL)
        with self._lock:
            return self._ports[protocol].reserve(
                endpoint, reuse=reuse, share=share, only_inet6=only_inet6
            )

    def release(self, reservation: Reservation, protocol: str = TCP) -> None:
        """Give a claim back."""
        with self._lock:
            self._ports[protocol].release(reservation)

    def listen(self, reservation: Reservation) -> Listener:
        """Open every door that the bound endpoint has; EADDRINUSE."""
        with self._lock:
            self._ports[TCP].start_listening(reservation)
            try:
                return self._open_listener(reservation)
            except BaseException:
                reservation.listening = False
                raise

    def _open_listener(self, reservation: Reservation) -> Listener:
        host, port = reservation.endpoint
        entrances: list[Entrance] = []
        leaves: list[Callable[[], None]] = []
        with contextlib.ExitStack() as undo:
            for directory, at in self.door_places(reservation):
                local = Endpoint(at, port)
                host_socket, leave = directory.open(local)
                undo.callback(leave)
                undo.callback(host_socket.close)
                entrances.append(Entrance(host_socket, local))
                leaves.append(leave)
            for shared in self.published_sockets(reservation, TCP):
                undo.callback(shared.close)
                entrances.append(Entrance(shared, Endpoint(self.address or LOOPBACK, port)))
            opened = Listener(
                entrances,
                gateway="" if is_inet6(host) else self.gateway,
                on_stop=lambda: self._stopped(reservation, leaves),
            )
            undo.pop_all()
        return opened

    def door_places(self, reservation: Reservation) -> list[DoorPlace]:
        """Where inside a bound socket is reachable."""
        places = reservation.places
        doors = [
            DoorPlace(self._loopback, host) for host in (LOOPBACK, LOOPBACK6) if host in places
        ]
        if self._network is not None and self.address is not None and "network" in places:
            doors.append(DoorPlace(self._network, self.address))
        return doors or [DoorPlace(self._loopback, LOOPBACK)]

    def published_sockets(self, reservation: Reservation, protocol: str) -> list[socket.socket]:
        """Host sockets of the port if it is published, for the caller to close; OSError."""
        table = self._published if protocol == TCP else self._published_udp
        if "network" not in reservation.places:
            return []
        opened: list[socket.socket] = []
        for fd in table.get(reservation.endpoint.port, ()):
            try:
                shared = socket.socket(fileno=os.dup(fd))
            except OSError:
                for one in opened:
                    one.close()
                raise
            shared.setblocking(False)
            opened.append(shared)
        return opened

    def _stopped(self, reservation: Reservation, leaves: Sequence[Callable[[], None]]) -> None:
        with self._lock:
            reservation.listening = False
            for leave in leaves:
                leave()

    def open_datagrams(
        self, directory: SocketDirectory, endpoint: Endpoint
    ) -> tuple[socket.socket, Callable[[], None]]:
        """Open a UDP socket's door in a directory; the second is to be called when it closes."""
        with self._lock:
            host_socket, leave = directory.open(endpoint, UDP)

        def leave_locked() -> None:
            with self._lock:
                leave()

        return host_socket, leave_locked

    # Destinations.

    def route(self, destination: Endpoint, protocol: str = TCP, *, checked: bool = True) -> Route:
        """The way to a destination: EACCES when it is outside and not granted (if `checked`)."""
        host, port = destination
        if host in (ANY6, LOOPBACK6):
            return Route(Endpoint(LOOPBACK6, port), LOOPBACK6, self._loopback, local=True)
        if host == ANY or is_loopback(host):
            return Route(Endpoint(LOOPBACK, port), LOOPBACK, self._loopback, local=True)
        if self._inside(host):
            if self._network is None or self.address is None:  # our own address, nothing else
                return Route(Endpoint(LOOPBACK, port), host, self._loopback, local=True)
            local = host == self.address
            return Route(destination, self.address, self._network, local=local)
        if checked:
            self.names.check_outside(host, port, protocol)
        return Route(destination, LOOPBACK6 if is_inet6(host) else self.address or LOOPBACK, None)

    def _inside(self, host: str) -> bool:
        if host == self.address:
            return True
        return self._network is not None and (
            host.startswith(self._prefix)
            or self._network.has(host)
            or bool(self.names.hosts.names(host))
        )

    # Names.

    def lookup(self, caller: Caller, name: str, family: str = INET) -> list[str]:
        """The addresses of a host name or numeric address: ENOENT for none, EAGAIN for a temporary
        failure.
        """
        return self.names.lookup(caller, name, family)

    def names_of(self, address: str) -> list[str]:
        """The names of an address inside; ENOENT when it has none."""
        return self.names.names_of(address)


def host_pair(kind: int) -> tuple[socket.socket, socket.socket]:
    """Two connected, non-blocking Unix sockets of the host."""
    try:
        ends = socket.socketpair(socket.AF_UNIX, kind)
    except OSError as error:
        raise GuestError(from_oserror(error)) from None
    for end in ends:
        end.setblocking(False)
    return ends
