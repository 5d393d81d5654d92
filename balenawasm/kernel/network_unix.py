"""Connections inside a network: Unix stream sockets whose names stand for virtual addresses.

A listener on `10.1.2.3!80` is the socket file `<directory>/10.1.2.3/tcp-80`. The directory is held
open and reached through /proc/self/fd, since a socket's path may have 107 bytes only. The
connecting side binds to an abstract name that ends in its virtual address: the accepting side reads
the peer's address there. Whoever can reach the directory (mode 0700, the project's) belongs to the
project's runners, so the name is trusted; nothing can be reached by an abstract name, as only
unconnected, non-listening sockets carry one.

A file whose socket is dead (its runner was killed) is replaced. Whether it is dead is asked by
connecting a datagram socket: the kernel answers EPROTOTYPE for a living stream socket and
ECONNREFUSED for none, and the listener notices nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Final

from balenawasm.vfs.endpoint import NOWHERE, Endpoint, numeric
from balenawasm.wasi.errno import Errno, GuestError, from_oserror

BACKLOG: Final = 4096
"""The kernel lowers it to net.core.somaxconn. Unlike TCP, a full queue would make connect fail at
once.
"""
_PREFIX: Final = b"\0balenawasm-"


class UnixListener:
    """A listening Unix socket at its file; `close` removes the file if it is still ours."""

    def __init__(self, host_socket: socket.socket, path: str) -> None:
        self.socket = host_socket
        self._path = Path(path)
        self._inode = self._path.stat().st_ino

    def close(self) -> None:
        """Stop listening: waiters wake, clients are refused."""
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class SocketDirectory:
    """A directory of listeners: a project's network, or the loopback of one container."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._token = os.urandom(4).hex().encode()

    def close(self) -> None:
        """Forget the directory; sockets in it live on."""
        os.close(self._fd)

    def has(self, host: str) -> bool:
        """Whether some container of the network has (or had) this address."""
        return (self._path / host).is_dir()

    def join(self, host: str) -> None:
        """Make the address known in the network."""
        (self._path / host).mkdir(mode=0o700, exist_ok=True)

    def listen(self, endpoint: Endpoint) -> UnixListener:
        """Start to listen; EADDRINUSE when another living container has the very same endpoint."""
        self.join(endpoint.host)
        path = self._socket_path(endpoint)
        host_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            host_socket.setblocking(False)
            try:
                host_socket.bind(path)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or _alive(path):
                    raise
                Path(path).unlink()
                host_socket.bind(path)
            host_socket.listen(BACKLOG)
            return UnixListener(host_socket, path)
        except OSError as error:
            host_socket.close()
            raise GuestError(from_oserror(error)) from None

    def connect(self, source: Endpoint, destination: Endpoint) -> socket.socket:
        """Connect at once; ECONNREFUSED when nobody listens, EAGAIN when the listener's queue is
        full.
        """
        host_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            host_socket.setblocking(False)
            host_socket.bind(_PREFIX + self._token + b"/" + str(source).encode())
            host_socket.connect(self._socket_path(destination))
        except OSError as error:
            host_socket.close()
            absent = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EPROTOTYPE)
            raise GuestError(Errno.ECONNREFUSED if absent else from_oserror(error)) from None
        return host_socket

    def _socket_path(self, endpoint: Endpoint) -> str:
        return f"/proc/self/fd/{self._fd}/{endpoint.host}/tcp-{endpoint.port}"


def peer_of(name: object) -> Endpoint:
    """The virtual address in the name that `accept` or `getpeername` reports of the connecting
    side.
    """
    if isinstance(name, bytes) and name.startswith(_PREFIX):
        host, _, port = name.rpartition(b"/")[2].decode("ascii", "replace").partition("!")
        with contextlib.suppress(GuestError):
            if numeric(host) and port.isdigit():
                return Endpoint(host, int(port))
    return NOWHERE


def _alive(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True
