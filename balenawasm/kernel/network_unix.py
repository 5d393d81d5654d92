"""Traffic inside a network: Unix sockets whose names stand for virtual addresses.

A TCP listener on `10.1.2.3!80` is the stream socket file `<directory>/10.1.2.3/tcp-80`, a UDP
socket there the datagram socket `<directory>/10.1.2.3/udp-53`. The directory is held open and
reached through /proc/self/fd, since a socket's path may have 107 bytes only. The connecting side
binds to an abstract name that ends in its virtual address: the accepting side reads the peer's
address there. A datagram's sender is the file it is bound to. Whoever can reach the directory (mode
0700, the project's) belongs to the project's runners, so the names are trusted; nothing can be
reached by an abstract name, as only unconnected, non-listening sockets carry one.

Sockets that share a port (SO_REUSEPORT) share one door: the last holder closes it.

A file whose socket is dead (its runner was killed) is replaced. Whether it is dead is asked by
connecting a socket of the other type: the kernel answers EPROTOTYPE for a living socket and
ECONNREFUSED for none, and its owner notices nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from balenawasm.vfs.endpoint import NOWHERE, Endpoint, numeric
from balenawasm.wasi.errno import Errno, GuestError, from_oserror

if TYPE_CHECKING:
    from collections.abc import Callable

BACKLOG: Final = 4096
"""The kernel lowers it to net.core.somaxconn. Unlike TCP, a full queue would make connect fail at
once.
"""
_PREFIX: Final = b"\0balenawasm-"
TCP: Final = "tcp"
UDP: Final = "udp"
_TYPES: Final = {TCP: socket.SOCK_STREAM, UDP: socket.SOCK_DGRAM}
_PROBES: Final = {TCP: socket.SOCK_DGRAM, UDP: socket.SOCK_STREAM}
NOBODY_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EPROTOTYPE, errno.ECONNREFUSED})
"""What the host says of a name behind which there is no socket of the kind."""


class Door:
    """A Unix socket at its file, of one or several guest sockets."""

    def __init__(self, host_socket: socket.socket, path: str) -> None:
        self._socket = host_socket
        self._path = Path(path)
        self._inode = self._path.stat().st_ino
        self._holders = 0

    def take(self) -> socket.socket:
        """A host socket for one more holder, which closes it and calls `leave`."""
        taken = self._socket.dup()
        self._holders += 1
        return taken

    def leave(self) -> bool:
        """Count one holder less; the last one removes the file, if it is still ours, and nobody
        gets in any more. Tells whether it was the last.
        """
        self._holders -= 1
        if self._holders:
            return False
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        return True


class SocketDirectory:
    """A directory of doors: a project's network, or the loopback of one container."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._token = os.urandom(4).hex().encode()
        self._doors: dict[tuple[str, Endpoint], Door] = {}

    def close(self) -> None:
        """Forget the directory; sockets in it live on."""
        os.close(self._fd)

    def has(self, host: str) -> bool:
        """Whether some container of the network has (or had) this address."""
        return (self._path / host).is_dir()

    def join(self, host: str) -> None:
        """Make the address known in the network."""
        (self._path / host).mkdir(mode=0o700, exist_ok=True)

    def open(
        self, endpoint: Endpoint, protocol: str = TCP
    ) -> tuple[socket.socket, Callable[[], None]]:
        """Open the door for one holder: its host socket, and what to call when it leaves.

        Who may share a door is the port table's business. EADDRINUSE when another living container
        has the very same endpoint. The network stack's lock is held, here and when leaving.
        """
        key = (protocol, endpoint)
        door = self._doors.get(key)
        if door is None:
            self.join(endpoint.host)
            path = self._socket_path(endpoint, protocol)
            host_socket = bound_socket(path, _TYPES[protocol], _PROBES[protocol])
            if protocol == TCP:
                host_socket.listen(BACKLOG)
            door = self._doors[key] = Door(host_socket, path)
        try:
            taken = door.take()
        except OSError as error:
            raise GuestError(from_oserror(error)) from None

        def leave() -> None:
            if door.leave() and self._doors.get(key) is door:
                del self._doors[key]

        return taken, leave

    def connect(self, source: Endpoint, destination: Endpoint) -> socket.socket:
        """Connect at once; ECONNREFUSED when nobody listens, EAGAIN when the listener's queue is
        full.
        """
        host_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            host_socket.setblocking(False)
            host_socket.bind(_PREFIX + self._token + b"/" + str(source).encode())
            host_socket.connect(self._socket_path(destination, TCP))
        except OSError as error:
            host_socket.close()
            absent = error.errno in NOBODY_THERE
            raise GuestError(Errno.ECONNREFUSED if absent else from_oserror(error)) from None
        return host_socket

    def datagram_path(self, destination: Endpoint) -> str:
        """Where datagrams for an endpoint are sent to."""
        return self._socket_path(destination, UDP)

    def path(self, name: str) -> str:
        """The host path, short enough for a socket, of another name in the directory."""
        return f"/proc/self/fd/{self._fd}/{name}"

    def _socket_path(self, endpoint: Endpoint, protocol: str) -> str:
        return self.path(f"{endpoint.host}/{protocol}-{endpoint.port}")


def bound_socket(path: str, kind: int, probe: int) -> socket.socket:
    """A non-blocking Unix socket bound to a host path; a dead one there is replaced.

    `probe` is a type of socket that `kind` refuses. EADDRINUSE when a living one is there.
    """
    host_socket = socket.socket(socket.AF_UNIX, kind)
    try:
        host_socket.setblocking(False)
        try:
            host_socket.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or _alive(path, probe):
                raise
            Path(path).unlink()
            host_socket.bind(path)
    except OSError as error:
        host_socket.close()
        raise GuestError(from_oserror(error)) from None
    return host_socket


def peer_of(name: object) -> Endpoint:
    """The virtual address in the name that `accept` or `getpeername` reports of the connecting
    side.
    """
    if isinstance(name, bytes) and name.startswith(_PREFIX):
        host, _, port = name.rpartition(b"/")[2].decode("ascii", "replace").partition("!")
        if numeric(host) and port.isdigit():
            return Endpoint(host, int(port))
    return NOWHERE


_senders: Final[dict[object, Endpoint | None]] = {}
_MOST_SENDERS: Final = 1024
"""Senders whose names need not be read again."""


def sender_of(name: object) -> Endpoint | None:
    """The virtual address of a datagram's sender, from the file it is bound to."""
    if name in _senders:
        return _senders[name]
    sender = None
    if isinstance(name, str):
        directory, _, file = name.rpartition("/")
        host, port = directory.rpartition("/")[2], file.removeprefix("udp-")
        if numeric(host) and port.isdigit():
            sender = Endpoint(host, int(port))
        if len(_senders) >= _MOST_SENDERS:
            _senders.clear()
        _senders[name] = sender
    return sender


def _alive(path: str, kind: int) -> bool:
    with socket.socket(socket.AF_UNIX, kind) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True
