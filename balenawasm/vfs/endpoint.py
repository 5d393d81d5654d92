"""Addresses of sockets as guests write them: `<address>!<port>` (docs/guest-files.md).

Only IPv4 so far. The text form is what is stored and compared, always as `inet_ntop` writes it, so
that IPv6 can join without another type.
"""

from __future__ import annotations

import socket
from typing import Final

from balenawasm.record import NamedTuple
from balenawasm.wasi.errno import Errno, GuestError

ANY: Final = "0.0.0.0"  # noqa: S104 - the guest's wildcard, inside its own network
LOOPBACK: Final = "127.0.0.1"
LONGEST_NAME: Final = 253
"""Characters of a host name (RFC 1035, without the root's dot)."""


class Endpoint(NamedTuple):
    """A numeric address and a port; port 0 is "none yet"."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}!{self.port}"


NOWHERE: Final = Endpoint(ANY, 0)
"""What a socket without an address reports."""


def numeric(host: str) -> str | None:
    """The canonical form of an IPv4 address in dotted form, or None when `host` is none.

    EAFNOSUPPORT for an IPv6 address: it is an address, only not one we have.
    """
    try:
        return socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, host))
    except (OSError, ValueError):
        pass
    if ":" in host:
        raise GuestError(Errno.EAFNOSUPPORT)
    return None


def is_loopback(host: str) -> bool:
    """Whether a numeric address lies in 127.0.0.0/8."""
    return host.startswith("127.")


def split_destination(text: bytes) -> tuple[str, int]:
    """Split `<host>!<port>`, where the host may be a name; EINVAL when malformed."""
    host, separator, port = text.rpartition(b"!")
    if not separator or not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise GuestError(Errno.EINVAL)
    try:
        name = host.decode("ascii")
    except UnicodeDecodeError:
        raise GuestError(Errno.EINVAL) from None
    if len(name) > LONGEST_NAME or not name.isprintable() or " " in name:
        raise GuestError(Errno.EINVAL)
    return (ANY if name in ("", "*") else name), int(port)


def parse_endpoint(text: bytes) -> Endpoint:
    """Read `<address>!<port>`; EINVAL when malformed or when the address is a name."""
    host, port = split_destination(text)
    address = numeric(host)
    if address is None:
        raise GuestError(Errno.EINVAL)
    return Endpoint(address, port)
