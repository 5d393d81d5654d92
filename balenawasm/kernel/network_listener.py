"""Everything that one listening guest socket accepts from: Unix sockets inside, host TCP sockets of
a published port.

One epoll fd stands for all of them, so that poll needs a single fd. The published sockets belong to
the supervisor and may be shared with another container's runner (a hand-over): they are duplicated,
never shut down, and a wake-up may find the connection taken.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.network_unix import UnixListener, peer_of
from balenawasm.record import NamedTuple
from balenawasm.vfs.endpoint import Endpoint, numeric
from balenawasm.wasi.errno import GuestError, from_oserror

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NOBODY: Final = frozenset(
    {errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO, errno.EINVAL, errno.EINTR, errno.EBADF}
)
"""What accept says when there is no connection (any more); EINVAL, EBADF: closed meanwhile."""


class Accepted(NamedTuple):
    """A new connection: its host socket (non-blocking) and the addresses the guest sees."""

    socket: socket.socket
    local: Endpoint
    remote: Endpoint


class _Door(NamedTuple):
    socket: socket.socket
    local: Endpoint


class Listener:
    """An open listener. `accept_now` may be called from several threads; `close` once."""

    def __init__(
        self,
        inside: Sequence[tuple[UnixListener, Endpoint]],
        published: Sequence[tuple[socket.socket, Endpoint]],
        gateway: str,
        on_close: Callable[[], None],
    ) -> None:
        self._unix = [listener for listener, _ in inside]
        self._doors = [_Door(listener.socket, local) for listener, local in inside]
        self._doors += [_Door(host_socket, local) for host_socket, local in published]
        self._gateway = gateway
        self._on_close = on_close
        self._turn = 0
        self._epoll = select.epoll()
        self.host_fd = self._epoll.fileno()
        """Readable when a connection waits, and when the listener has been closed."""
        for door in self._doors:
            self._epoll.register(door.socket.fileno(), select.EPOLLIN)

    def accept_now(self) -> Accepted | None:
        """Take a waiting connection, each door in turn, or answer None. GuestError EMFILE and the
        like.
        """
        doors = self._doors
        self._turn += 1
        for offset in range(len(doors)):
            door = doors[(self._turn + offset) % len(doors)]
            try:
                host_socket, peer = door.socket.accept()
            except OSError as error:
                if error.errno in _NOBODY:
                    continue
                raise GuestError(from_oserror(error)) from None
            host_socket.setblocking(False)
            if host_socket.family == socket.AF_UNIX:
                return Accepted(host_socket, door.local, peer_of(peer))
            host_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return Accepted(host_socket, door.local, self._outside_peer(peer))
        return None

    def _outside_peer(self, peer: tuple[str, int]) -> Endpoint:
        host = peer[0].removeprefix("::ffff:")
        with contextlib.suppress(GuestError):
            if numeric(host):
                return Endpoint(host, peer[1])
        return Endpoint(self._gateway, peer[1])

    def stop(self) -> None:
        """Refuse connections inside and wake whoever waits; host fds stay open until `close`."""
        for listener in self._unix:
            listener.close()
        self._on_close()

    def close(self) -> None:
        """Give the host fds back. `stop` comes first."""
        self._epoll.close()
        for door in self._doors:
            door.socket.close()
