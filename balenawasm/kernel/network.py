"""The network stack of one container: its addresses, ports, name lookup, and the way to every
destination.

Three places a connection can go: the container itself (loopback), the project's network (other
containers), outside. The first two are Unix sockets (`network_unix`), the third is a host TCP
socket that the policy must grant. See docs/guest-files.md for what guests see. TCP over IPv4 so
far; UDP will be a second `PortTable` and another socket description beside `TcpSocket`.

Lock order: a socket's lock, then the stack's. Neither is held while a guest waits.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.network_hosts import HostsFile
from balenawasm.kernel.network_listener import Listener
from balenawasm.kernel.network_policy import OutboundPolicy
from balenawasm.kernel.network_ports import PortTable, Reservation
from balenawasm.kernel.network_resolver import OutsideResolver
from balenawasm.kernel.network_unix import SocketDirectory, UnixListener
from balenawasm.kernel.socket import TcpSocket
from balenawasm.record import NamedTuple
from balenawasm.vfs.endpoint import ANY, LONGEST_NAME, LOOPBACK, Endpoint, is_loopback, numeric
from balenawasm.wasi.errno import Errno, GuestError, from_oserror

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from balenawasm.vfs.node import Caller

MOST_REMEMBERED: Final = 1024
"""Outside addresses whose names are remembered, and denied destinations that were logged."""

MOST_NAMES: Final = 256
"""Names remembered of one outside address."""


class Route(NamedTuple):
    """How to reach a destination: `directory` is None outside; `source` is our address there."""

    destination: Endpoint
    source: str
    directory: SocketDirectory | None


class NetworkStack:
    """One container's network. Close it after its last guest has ended."""

    def __init__(
        self,
        *,
        loopback_directory: Path,
        hostname: str = "localhost",
        address: str | None = None,
        network_directory: Path | None = None,
        published: Mapping[int, Sequence[int]] | None = None,
        hosts: Path | None = None,
        policy: OutboundPolicy | None = None,
        log: Callable[[str], None] = lambda line: None,
        resolver: OutsideResolver | None = None,
    ) -> None:
        """Join the network at `network_directory` with the virtual `address`, or have a loopback
        only.

        `published` maps a container port to host listening sockets, which stay the caller's;
        `hosts` is a hosts(5) file; `log` takes one line for the user. Both directories are made
        when missing.
        """
        self.hostname = hostname
        self.address = address
        self._hosts = HostsFile(hosts)
        self._policy = policy or OutboundPolicy()
        self._log = log
        self._resolver = resolver or OutsideResolver()
        self._published = {port: tuple(fds) for port, fds in (published or {}).items()}
        self._loopback = SocketDirectory(loopback_directory)
        self._network: SocketDirectory | None = None
        self._prefix = ""
        if address is not None and network_directory is not None:
            self._network = SocketDirectory(network_directory)
            self._network.join(address)
            self._prefix = address.rpartition(".")[0] + "."
        self._lock = threading.Lock()
        self._ports = PortTable()
        self._inodes = itertools.count(1)
        self._sockets: weakref.WeakValueDictionary[int, TcpSocket] = weakref.WeakValueDictionary()
        self._names_of_outside: OrderedDict[str, set[str]] = OrderedDict()
        self._denied: set[str] = set()

    def close(self) -> None:
        """Close every socket that is left, with an fd or without; give back the directories."""
        for left in list(self._sockets.values()):
            left.close()
        self._loopback.close()
        if self._network is not None:
            self._network.close()

    # Sockets.

    def new_socket(self, flags: int = 0) -> TcpSocket:
        """A fresh, unbound TCP socket; `flags` are WASI fdflags."""
        return self._register(TcpSocket(self, next(self._inodes), flags))

    def adopt(
        self, host_socket: socket.socket, local: Endpoint, remote: Endpoint, flags: int = 0
    ) -> TcpSocket:
        """A connected socket over a non-blocking host socket, which it owns from now on."""
        connected = TcpSocket(self, next(self._inodes), flags)
        connected.become_connected(host_socket, local, remote)
        return self._register(connected)

    def new_pair(self, flags: int = 0) -> tuple[TcpSocket, TcpSocket]:
        """Two sockets connected to each other, as socketpair(2) makes them."""
        try:
            ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            raise GuestError(from_oserror(error)) from None
        first, second = ends
        for end in ends:
            end.setblocking(False)
        nowhere = Endpoint(LOOPBACK, 0)
        return self.adopt(first, nowhere, nowhere, flags), self.adopt(
            second, nowhere, nowhere, flags
        )

    def find(self, inode: int) -> TcpSocket | None:
        """The open socket with this inode number."""
        return self._sockets.get(inode)

    def _register(self, new: TcpSocket) -> TcpSocket:
        self._sockets[new.inode] = new
        return new

    # Ports and listeners.

    def reserve(self, endpoint: Endpoint, *, reuse: bool) -> Reservation:
        """Claim a local endpoint: EADDRNOTAVAIL when not ours, EADDRINUSE when taken."""
        host = endpoint.host
        if host not in (ANY, self.address) and not is_loopback(host):
            raise GuestError(Errno.EADDRNOTAVAIL)
        with self._lock:
            return self._ports.reserve(endpoint, reuse=reuse)

    def release(self, reservation: Reservation) -> None:
        """Give a claim back."""
        with self._lock:
            self._ports.release(reservation)

    def listen(self, reservation: Reservation) -> Listener:
        """Open every door that the bound endpoint has; EADDRINUSE."""
        with self._lock:
            self._ports.start_listening(reservation)
            try:
                return self._open_listener(reservation)
            except BaseException:
                reservation.listening = False
                raise

    def _open_listener(self, reservation: Reservation) -> Listener:
        host, port = reservation.endpoint
        inside: list[tuple[UnixListener, Endpoint]] = []
        outside: list[tuple[socket.socket, Endpoint]] = []
        with contextlib.ExitStack() as undo:
            for directory, at in self._doors(host):
                local = Endpoint(at, port)
                listener = directory.listen(local)
                undo.callback(listener.socket.close)
                undo.callback(listener.close)
                inside.append((listener, local))
            if not is_loopback(host):
                local = Endpoint(self.address or LOOPBACK, port)
                for fd in self._published.get(port, ()):
                    shared = socket.socket(fileno=os.dup(fd))
                    undo.callback(shared.close)
                    shared.setblocking(False)
                    outside.append((shared, local))
            opened = Listener(
                inside,
                outside,
                gateway=(self._prefix or "127.0.0.") + "1",
                on_close=lambda: self._stopped(reservation),
            )
            undo.pop_all()
        return opened

    def _doors(self, host: str) -> list[tuple[SocketDirectory, str]]:
        doors = []
        if host == ANY or is_loopback(host):
            doors.append((self._loopback, LOOPBACK))
        if self._network is not None and self.address is not None and not is_loopback(host):
            doors.append((self._network, self.address))
        return doors or [(self._loopback, LOOPBACK)]

    def _stopped(self, reservation: Reservation) -> None:
        with self._lock:
            reservation.listening = False

    # Destinations.

    def route(self, destination: Endpoint) -> Route:
        """The way to a destination: EACCES when it is outside and not granted."""
        host, port = destination
        if host == ANY or is_loopback(host):
            return Route(Endpoint(LOOPBACK, port), LOOPBACK, self._loopback)
        if self._inside(host):
            if self._network is None or self.address is None:  # our own address, nothing else
                return Route(Endpoint(LOOPBACK, port), host, self._loopback)
            return Route(destination, self.address, self._network)
        with self._lock:
            names = self._names_of_outside.get(host, set()) | {host}
        if not self._policy.allows(names, port):
            self._deny(names - {host} or names, port)
            raise GuestError(Errno.EACCES)
        return Route(destination, self.address or LOOPBACK, None)

    def _inside(self, host: str) -> bool:
        if host == self.address:
            return True
        return self._network is not None and (
            host.startswith(self._prefix)
            or self._network.has(host)
            or bool(self._hosts.names(host))
        )

    def _deny(self, names: set[str], port: int | None) -> None:
        destination = f"{min(names)}:{port or 'PORT'}"
        with self._lock:
            if destination in self._denied or len(self._denied) >= MOST_REMEMBERED:
                return
            self._denied.add(destination)
        what = "connection to" if port else "lookup of"
        name = destination if port else min(names)
        self._log(
            f"{what} {name} denied: outside the network; to allow it, "
            f'grant x-balenawasm: allow: ["tcp://{destination}"]'
        )

    # Names.

    def lookup(self, caller: Caller, name: str) -> list[str]:
        """The addresses of a host name or numeric address: ENOENT for none, EAGAIN for a temporary
        failure.
        """
        address = numeric(name)
        if address is not None:
            return [address]
        name = name.lower().removesuffix(".")
        # What is printed nowhere must not reach the log either: a guest chooses the name.
        if not name or len(name) > LONGEST_NAME or not name.isprintable() or " " in name:
            raise GuestError(Errno.ENOENT)
        if name == "localhost" or name.endswith(".localhost"):
            return [LOOPBACK]
        inside = self._hosts.addresses(name)
        if inside:
            return list(inside)
        if name == self.hostname.lower():
            return [self.address or LOOPBACK]
        if not self._policy.may_look_up(name):
            # A single word is a service's name, most likely a misspelt one: no grant would help.
            if "." in name:
                self._deny({name}, None)
            raise GuestError(Errno.ENOENT)
        addresses = self._resolver.addresses(caller, name)
        self._remember(name, addresses)
        return addresses

    def names_of(self, address: str) -> list[str]:
        """The names of an address inside; ENOENT when it has none."""
        found = list(self._hosts.names(address))
        if is_loopback(address):
            found.insert(0, "localhost")
        elif address == self.address and not found:
            found.append(self.hostname)
        if not found:
            raise GuestError(Errno.ENOENT)
        return found

    def _remember(self, name: str, addresses: Sequence[str]) -> None:
        with self._lock:
            for address in addresses:
                names = self._names_of_outside.setdefault(address, set())
                if len(names) < MOST_NAMES:
                    names.add(name)
                self._names_of_outside.move_to_end(address)
            while len(self._names_of_outside) > MOST_REMEMBERED:
                self._names_of_outside.popitem(last=False)
