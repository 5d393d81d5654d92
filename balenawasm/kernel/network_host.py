"""The host's own network as a container's (`network_mode: host`): every TCP and UDP socket of a
guest is one of the host, listeners are the host's ports, and 127.0.0.1 is the host's.

Nothing is denied and nothing is translated. Unix sockets stay the container's, abstract ones too
(with Docker these would be the host's): a guest reaches no socket of the host by a name.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.network import NetworkStack, Route
from balenawasm.kernel.network_listener import Entrance, Listener
from balenawasm.kernel.network_policy import TCP, UDP, OutboundPolicy
from balenawasm.kernel.network_ports import Reservation
from balenawasm.kernel.network_unix import BACKLOG, SocketDirectory
from balenawasm.vfs.endpoint import NOWHERE, Endpoint, is_inet6, unmapped
from balenawasm.wasi.errno import GuestError, from_oserror

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from balenawasm.kernel.network_resolver import OutsideResolver

_TYPES: Final = {TCP: socket.SOCK_STREAM, UDP: socket.SOCK_DGRAM}


class HostNetwork(NetworkStack):
    """The stack of one container that uses the host's network."""

    def __init__(
        self,
        *,
        loopback_directory: Path,
        network_directory: Path | None = None,
        hostname: str = "localhost",
        hosts: Path | None = None,
        log: Callable[[str], None] = lambda line: None,
        resolver: OutsideResolver | None = None,
        tls: Sequence[tuple[str, str, str, str, bool]] = (),
    ) -> None:
        """`network_directory`, the project's, is for Unix sockets in shared volumes only."""
        super().__init__(
            loopback_directory=loopback_directory,
            hostname=hostname,
            hosts=hosts,
            policy=OutboundPolicy.from_texts(["all"]),
            log=log,
            resolver=resolver,
            tls=tls,
        )
        if network_directory is not None:
            self._shared = SocketDirectory(network_directory)

    def reserve(
        self,
        endpoint: Endpoint,
        *,
        reuse: bool,
        share: bool = False,
        only_inet6: bool = False,
        protocol: str = TCP,
    ) -> Reservation:
        """Bind a socket of the host; its errno when that fails."""
        family = socket.AF_INET6 if is_inet6(endpoint.host) else socket.AF_INET
        try:
            made = socket.socket(family, _TYPES[protocol])
        except OSError as error:
            raise GuestError(from_oserror(error)) from None
        try:
            made.setblocking(False)
            if reuse:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if share:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_inet6)
            made.bind(endpoint)
            host, port = made.getsockname()[:2]
        except OSError as error:
            made.close()
            raise GuestError(from_oserror(error)) from None
        return Reservation(
            Endpoint(unmapped(host), port),
            reuse=reuse,
            share=share,
            only_inet6=only_inet6,
            host=made,
        )

    def release(self, reservation: Reservation, protocol: str = TCP) -> None:
        """Close the claim's socket; connections made with it have copies."""
        if reservation.host is not None:
            reservation.host.close()

    def listen(self, reservation: Reservation) -> Listener:
        """Listen on the host; EADDRINUSE."""
        host = reservation.host
        assert host is not None  # noqa: S101 - reserve made it
        try:
            host.listen(BACKLOG)
            entrance = Entrance(host.dup(), NOWHERE)
        except OSError as error:
            raise GuestError(from_oserror(error)) from None

        def stop() -> None:
            with contextlib.suppress(OSError):
                entrance.socket.shutdown(socket.SHUT_RDWR)

        return Listener([entrance], gateway="", on_stop=stop)

    def route(self, destination: Endpoint, protocol: str = TCP, *, checked: bool = True) -> Route:
        """Everything is reached by sockets of the host."""
        source = "" if checked or protocol == TCP else _source_for(destination)
        return Route(destination, source, None, local=True)


def _source_for(destination: Endpoint) -> str:
    """The address that the host would send datagrams from; empty when there is no way."""
    family = socket.AF_INET6 if is_inet6(destination.host) else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(destination)
            return unmapped(str(probe.getsockname()[0]))
    except OSError:
        return ""
