"""Published ports: TCP and UDP sockets on the host that are handed to runners, without a proxy.

TCP sockets listen from the moment they are bound. Only then does Linux tell two holders of a port
apart (both set SO_REUSEADDR so that a restart does not wait for TIME_WAIT), and clients that come
while a service starts or restarts wait in the backlog instead of being refused. So do datagrams, in
the UDP socket's buffer.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from balenawasm.errors import BalenaWasmError
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

BACKLOG = 4096
_PROTOCOLS = ("tcp", "udp")


class PortError(BalenaWasmError):
    """A port cannot be published as asked."""


class PortInUseError(PortError):
    """Another program listens on the port."""


class PublishedPort(NamedTuple):
    """`host_ip:host_port` → `container_port`. `host_port` None or 0 lets the system choose one.

    An empty `host_ip` is every IPv4 address of the host.
    """

    container_port: int
    host_port: int | None = None
    host_ip: str = ""
    protocol: str = "tcp"


class BoundPort(NamedTuple):
    """A published port whose socket listens; `host_port` is the real one."""

    port: PublishedPort
    socket: socket.socket

    @property
    def host_port(self) -> int:
        """The port on the host, also when the system chose it."""
        number = self.socket.getsockname()[1]
        assert isinstance(number, int)  # noqa: S101 - the form of an AF_INET name
        return number

    def close(self) -> None:
        """Stop listening (once every runner that holds the socket is gone, too)."""
        self.socket.close()


def bind_ports(ports: Iterable[PublishedPort]) -> tuple[BoundPort, ...]:
    """Bind all ports or none; PortInUseError or PortError says which one failed and why."""
    bound: list[BoundPort] = []
    try:
        for port in ports:
            bound.append(bind_port(port))
    except BaseException:
        for one in bound:
            one.close()
        raise
    return tuple(bound)


def bind_port(port: PublishedPort) -> BoundPort:
    """Bind one port and listen; raises PortInUseError or PortError."""
    import socket  # noqa: PLC0415 - most starts of `run` publish nothing

    if port.protocol not in _PROTOCOLS:
        raise PortError(
            f"cannot publish port {port.container_port}/{port.protocol}: only tcp and udp are"
        )
    address = port.host_ip.strip("[]") or "0.0.0.0"  # noqa: S104 - as Docker, when asked for none
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.inet_pton(family, address)
    except OSError:
        raise PortError(f"cannot publish on {port.host_ip!r}: not an IP address") from None
    tcp = port.protocol == "tcp"
    sock = socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    try:
        if tcp:  # two UDP sockets that set it would share the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port.host_port or 0))
        if tcp:
            sock.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        sock.close()
        raise _explained(port, error) from error
    return BoundPort(port, sock)


def _explained(port: PublishedPort, error: OSError | OverflowError) -> PortError:
    where = f"{port.host_ip}:{port.host_port}" if port.host_ip else f"{port.host_port}"
    if isinstance(error, OverflowError):
        return PortError(f"cannot publish port {where}: a port is between 0 and 65535")
    if error.errno == errno.EADDRINUSE:
        listing = "ltn" if port.protocol == "tcp" else "un"
        return PortInUseError(
            f"port {where} is already in use on this host",
            hint=f"`ss -{listing}p 'sport = :{port.host_port}'` shows by what; publish another port"
            f" (`-p OTHER:{port.container_port}`) or stop that program",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return PortError(
            f"port {where} may not be opened by this user",
            hint="ports below 1024 need root or net.ipv4.ip_unprivileged_port_start;"
            " publish a higher port",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return PortError(f"cannot publish port {where}: this host does not have that address")
    return PortError(f"cannot publish port {where}: {error.strerror}")
