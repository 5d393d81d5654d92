"""The port table of a container: which sockets are bound where. Pure data; the network stack's lock
guards it.
"""

from __future__ import annotations

import os
from typing import Final

from balenawasm.vfs.endpoint import ANY, LOOPBACK, Endpoint, is_loopback
from balenawasm.wasi.errno import Errno, GuestError

FIRST_EPHEMERAL: Final = 32768
LAST_EPHEMERAL: Final = 60999
"""Linux's default `ip_local_port_range`."""


class Reservation:
    """One socket's claim on an endpoint, from bind (or connect) until the socket is closed."""

    __slots__ = ("endpoint", "listening", "reuse")

    def __init__(self, endpoint: Endpoint, *, reuse: bool) -> None:
        self.endpoint = endpoint
        self.reuse = reuse
        self.listening = False

    def conflicts(self, host: str, *, reuse: bool) -> bool:
        """Whether another socket may not bind the same port on `host` (with SO_REUSEADDR)."""
        mine, other = _place(self.endpoint.host), _place(host)
        if ANY not in (mine, other) and mine != other:
            return False
        return self.listening or not (self.reuse and reuse)


def _place(host: str) -> str:
    return LOOPBACK if is_loopback(host) else host


class PortTable:
    """All reservations of a container for one protocol."""

    def __init__(self) -> None:
        self._by_port: dict[int, list[Reservation]] = {}
        self._next = FIRST_EPHEMERAL + int.from_bytes(os.urandom(4)) % (
            LAST_EPHEMERAL - FIRST_EPHEMERAL + 1
        )

    def reserve(self, endpoint: Endpoint, *, reuse: bool) -> Reservation:
        """Claim an endpoint; port 0 picks a free one. EADDRINUSE."""
        if endpoint.port == 0:
            endpoint = Endpoint(endpoint.host, self._free_port())
        elif self._taken(endpoint, reuse=reuse):
            raise GuestError(Errno.EADDRINUSE)
        reservation = Reservation(endpoint, reuse=reuse)
        self._by_port.setdefault(endpoint.port, []).append(reservation)
        return reservation

    def start_listening(self, reservation: Reservation) -> None:
        """Make the claim exclusive; EADDRINUSE when another socket listens on the same endpoint."""
        host, port = reservation.endpoint
        for other in self._by_port[port]:
            if (
                other is not reservation
                and other.listening
                and other.conflicts(host, reuse=reservation.reuse)
            ):
                raise GuestError(Errno.EADDRINUSE)
        reservation.listening = True

    def release(self, reservation: Reservation) -> None:
        """Give the claim back."""
        remaining = self._by_port[reservation.endpoint.port]
        remaining.remove(reservation)
        if not remaining:
            del self._by_port[reservation.endpoint.port]

    def _taken(self, endpoint: Endpoint, *, reuse: bool) -> bool:
        others = self._by_port.get(endpoint.port, ())
        return any(other.conflicts(endpoint.host, reuse=reuse) for other in others)

    def _free_port(self) -> int:
        # Ephemeral ports are unique over all addresses: there are plenty, and peers know a
        # connection by its port.
        for _ in range(LAST_EPHEMERAL - FIRST_EPHEMERAL + 1):
            port = self._next
            self._next = port + 1 if port < LAST_EPHEMERAL else FIRST_EPHEMERAL
            if port not in self._by_port:
                return port
        raise GuestError(Errno.EADDRINUSE)
