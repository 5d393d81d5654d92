"""Addresses of sockets as guests write them: `<address>!<port>` (docs/guest-files.md).

The text form is what is stored and compared, always as `inet_ntop` writes it: an IPv6 address is
the one with a colon. Zones (`fe80::1%eth0`) are not addresses here.
"""

from __future__ import annotations

import socket
from typing import Final

from balenawasm.record import NamedTuple
from balenawasm.wasi.errno import Errno, GuestError

ANY: Final = "0.0.0.0"  # noqa: S104 - the guest's wildcard, inside its own network
LOOPBACK: Final = "127.0.0.1"
ANY6: Final = "::"
LOOPBACK6: Final = "::1"
MAPPED: Final = "::ffff:"
"""What an IPv4 address begins with as the address of an IPv6 socket."""
LONGEST_NAME: Final = 253
"""Characters of a host name (RFC 1035, without the root's dot)."""
LONGEST_PATH: Final = 107
"""Bytes of a Unix socket's name, as in Linux's `sockaddr_un` with the NUL behind."""


class Endpoint(NamedTuple):
    """A numeric address and a port; port 0 is "none yet"."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}!{self.port}"


class LocalName(NamedTuple):
    """The name of a Unix socket: empty for none, NUL first for an abstract one, else a path."""

    path: bytes

    def __str__(self) -> str:
        return self.path.hex()


NOWHERE: Final = Endpoint(ANY, 0)
"""What a socket without an address reports."""
UNNAMED: Final = LocalName(b"")


def numeric(host: str) -> str | None:
    """The canonical form of an IPv4 (dotted) or IPv6 address, or None when `host` is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, host))
    except (OSError, ValueError):
        return None


def is_inet6(host: str) -> bool:
    """Whether a numeric address is an IPv6 one."""
    return ":" in host


def mapped(host: str) -> str:
    """A numeric address as an IPv6 socket shows it."""
    return host if ":" in host else MAPPED + host


def unmapped(host: str) -> str:
    """A numeric address without the mapping of `mapped`."""
    return host[len(MAPPED) :] if host.startswith(MAPPED) and "." in host else host


def is_loopback(host: str) -> bool:
    """Whether a numeric address lies in 127.0.0.0/8 or is ::1."""
    return host.startswith("127.") or host == LOOPBACK6


def is_any(host: str) -> bool:
    """Whether a numeric address is a wildcard."""
    return host in (ANY, ANY6)


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


def parse_local_name(text: bytes) -> LocalName:
    """Read a Unix socket's name from its hexadecimal form; EINVAL."""
    try:
        path = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        raise GuestError(Errno.EINVAL) from None
    return checked_local_name(path)


def checked_local_name(path: bytes) -> LocalName:
    """Check a Unix socket's name: EINVAL for one that is too long or has a NUL in its path."""
    limit = LONGEST_PATH + 1 if path.startswith(b"\0") else LONGEST_PATH
    if len(path) > limit or (b"\0" in path and not path.startswith(b"\0")):
        raise GuestError(Errno.EINVAL)
    return LocalName(path)
