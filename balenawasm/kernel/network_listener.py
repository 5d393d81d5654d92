"""Everything that one listening guest socket accepts from: Unix sockets inside, host TCP sockets of
a published port.

One epoll fd stands for all of them, so that poll needs a single fd. The published sockets belong to
the supervisor and may be shared with another container's runner (a hand-over): they are duplicated,
never shut down, and a wake-up may find the connection taken.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.network_unix import peer_of
from balenawasm.record import NamedTuple
from balenawasm.vfs.endpoint import NOWHERE, Endpoint, unmapped
from balenawasm.wasi.errno import GuestError, from_oserror

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balenawasm.vfs.socket import Address

_NOBODY: Final = frozenset(
    {errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO, errno.EINVAL, errno.EINTR, errno.EBADF}
)
"""What accept says when there is no connection (any more); EINVAL, EBADF: closed meanwhile."""


class Accepted(NamedTuple):
    """A new connection: its host socket (non-blocking) and the addresses the guest sees."""

    socket: socket.socket
    local: Address
    remote: Address


class Entrance(NamedTuple):
    """One host socket that a listener accepts from, and the address that the guest has there;
    NOWHERE where the host knows better.
    """

    socket: socket.socket
    local: Address


class Listener:
    """An open listener. `accept_now` may be called from several threads; `stop`, then `close`,
    once.

    `gateway` is shown for peers outside whose family the guest's socket does not have; empty: it
    has both.
    """

    def __init__(
        self,
        entrances: Sequence[Entrance],
        gateway: str,
        on_stop: Callable[[], None],
        *,
        peer_of: Callable[[object], Address] = peer_of,
    ) -> None:
        self._entrances = list(entrances)
        self._gateway = gateway
        self._on_stop = on_stop
        self._peer_of = peer_of
        self._turn = 0
        self._stopped = -1
        self._epoll = select.epoll()
        self.host_fd = self._epoll.fileno()
        """Readable when a connection waits, and when the listener has been stopped."""
        for entrance in self._entrances:
            self._epoll.register(entrance.socket.fileno(), select.EPOLLIN)

    def accept_now(self) -> Accepted | None:
        """Take a waiting connection, each door in turn, or answer None. GuestError EMFILE and the
        like.
        """
        entrances = self._entrances
        self._turn += 1
        for offset in range(len(entrances)):
            entrance = entrances[(self._turn + offset) % len(entrances)]
            try:
                host_socket, peer = entrance.socket.accept()
            except OSError as error:
                if error.errno in _NOBODY:
                    continue
                raise GuestError(from_oserror(error)) from None
            host_socket.setblocking(False)
            if host_socket.family == socket.AF_UNIX:
                return Accepted(host_socket, entrance.local, self._peer_of(peer))
            host_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            local = entrance.local
            if local == NOWHERE:
                host, port = host_socket.getsockname()[:2]
                local = Endpoint(unmapped(host), port)
            return Accepted(host_socket, local, self._outside_peer(peer))
        return None

    def _outside_peer(self, peer: tuple[str, int]) -> Endpoint:
        host = unmapped(peer[0])
        return Endpoint(self._gateway if ":" in host and self._gateway else host, peer[1])

    def stop(self) -> None:
        """Refuse connections inside and wake whoever waits; host fds stay open until `close`."""
        with contextlib.suppress(OSError):  # no fd left; most waiters wake all the same
            self._stopped = os.eventfd(1, os.EFD_CLOEXEC)
            self._epoll.register(self._stopped, select.EPOLLIN)
        self._on_stop()

    def close(self) -> None:
        """Give the host fds back. `stop` comes first."""
        self._epoll.close()
        if self._stopped >= 0:
            os.close(self._stopped)
        for entrance in self._entrances:
            entrance.socket.close()
