"""The port tables of a container: which sockets are bound where. Pure data; the network stack's
lock guards them.

A claim covers *places*: the IPv4 loopback, the IPv6 loopback, the container's address in its
network. A wildcard covers several; two claims on one port conflict where they meet.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from balenawasm.vfs.endpoint import ANY, ANY6, LOOPBACK, LOOPBACK6, Endpoint, is_loopback
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    import socket

FIRST_EPHEMERAL: Final = 32768
LAST_EPHEMERAL: Final = 60999
"""Linux's default `ip_local_port_range`."""

_NETWORK: Final = "network"


def places_of(host: str, *, only_inet6: bool) -> frozenset[str]:
    """What a bound address covers: LOOPBACK, LOOPBACK6, and "network"."""
    if host == ANY:
        return frozenset((LOOPBACK, _NETWORK))
    if host == ANY6:
        return frozenset((LOOPBACK6,) if only_inet6 else (LOOPBACK, LOOPBACK6, _NETWORK))
    if host == LOOPBACK6:
        return frozenset((LOOPBACK6,))
    return frozenset((LOOPBACK if is_loopback(host) else _NETWORK,))


class Reservation:
    """One socket's claim on an endpoint, from bind (or connect) until the socket is closed.

    `reuse` is SO_REUSEADDR, `share` SO_REUSEPORT. `host` is the bound socket itself where the
    network is the host's.
    """

    __slots__ = ("endpoint", "host", "listening", "only_inet6", "places", "reuse", "share")

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        reuse: bool,
        share: bool = False,
        only_inet6: bool = False,
        host: socket.socket | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.reuse = reuse
        self.share = share
        self.only_inet6 = only_inet6
        self.places = places_of(endpoint.host, only_inet6=only_inet6)
        self.listening = False
        self.host = host

    def conflicts(self, other: Reservation) -> bool:
        """Whether the two may not be bound to the same port."""
        if not self.places & other.places or (self.share and other.share):
            return False
        return self.listening or other.listening or not (self.reuse and other.reuse)


class PortTable:
    """All reservations of a container for one protocol."""

    def __init__(self) -> None:
        self._by_port: dict[int, list[Reservation]] = {}
        self._next = FIRST_EPHEMERAL + int.from_bytes(os.urandom(4)) % (
            LAST_EPHEMERAL - FIRST_EPHEMERAL + 1
        )

    def reserve(
        self, endpoint: Endpoint, *, reuse: bool, share: bool = False, only_inet6: bool = False
    ) -> Reservation:
        """Claim an endpoint; port 0 picks a free one. EADDRINUSE."""
        if endpoint.port == 0:
            endpoint = Endpoint(endpoint.host, self._free_port())
        wanted = Reservation(endpoint, reuse=reuse, share=share, only_inet6=only_inet6)
        others = self._by_port.setdefault(endpoint.port, [])
        if any(other.conflicts(wanted) for other in others):
            raise GuestError(Errno.EADDRINUSE)
        others.append(wanted)
        return wanted

    def start_listening(self, reservation: Reservation) -> None:
        """Make the claim exclusive; EADDRINUSE when another socket listens on the same endpoint."""
        for other in self._by_port[reservation.endpoint.port]:
            if other is not reservation and other.listening and other.conflicts(reservation):
                raise GuestError(Errno.EADDRINUSE)
        reservation.listening = True

    def release(self, reservation: Reservation) -> None:
        """Give the claim back."""
        remaining = self._by_port[reservation.endpoint.port]
        remaining.remove(reservation)
        if not remaining:
            del self._by_port[reservation.endpoint.port]

    def _free_port(self) -> int:
        # Ephemeral ports are unique over all addresses: there are plenty, and peers know a
        # connection by its port.
        for _ in range(LAST_EPHEMERAL - FIRST_EPHEMERAL + 1):
            port = self._next
            self._next = port + 1 if port < LAST_EPHEMERAL else FIRST_EPHEMERAL
            if port not in self._by_port:
                return port
        raise GuestError(Errno.EADDRINUSE)
