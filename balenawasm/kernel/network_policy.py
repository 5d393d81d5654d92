"""What a container may reach outside its network: nothing, unless a grant says so.

A grant is `tcp://HOST:PORT`, `udp://HOST:PORT`, `HOST:PORT` (TCP) or `all`; HOST is a name, an
IPv4 address, an IPv6 address in brackets or `*`, PORT a number or `*`. A name's grant covers the
addresses that a lookup of this very name gave (`NetworkNames` remembers them), not names below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from balenawasm.errors import BalenaWasmError
from balenawasm.record import NamedTuple
from balenawasm.vfs.endpoint import numeric

if TYPE_CHECKING:
    from collections.abc import Iterable

TCP: Final = "tcp"
UDP: Final = "udp"
_BOTH: Final = ""


class BadGrantError(BalenaWasmError):
    """A grant that nobody can make sense of."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text!r} is no grant for outside connections",
            hint='write "tcp://HOST:PORT" or "udp://HOST:PORT", where HOST or PORT may be "*",'
            ' or "all"; an IPv6 address stands in brackets',
        )


class Grant(NamedTuple):
    """One allowed destination; `host` in lower case or `*`, `port` 0 for every port, `protocol`
    empty for both.
    """

    host: str
    port: int
    protocol: str = TCP

    def covers(self, host: str, port: int, protocol: str = TCP) -> bool:
        """Whether traffic to `host` (name or address) and `port` is granted."""
        return (
            self.host in ("*", host)
            and self.port in (0, port)
            and self.protocol in (_BOTH, protocol)
        )


def parse_grant(text: str) -> Grant:
    """Read one grant; BadGrantError when malformed."""
    if text == "all":
        return Grant("*", 0, _BOTH)
    scheme, slashes, rest = text.partition("://")
    if not slashes:
        scheme, rest = TCP, text
    if scheme not in (TCP, UDP):
        raise BadGrantError(text)
    host, separator, port = rest.rpartition(":")
    host = _host(text, host)
    if not separator or not host:
        raise BadGrantError(text)
    if port == "*":
        return Grant(host, 0, scheme)
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise BadGrantError(text)
    return Grant(host, int(port), scheme)


def _host(text: str, host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        address = numeric(host[1:-1])
        if address is None:
            raise BadGrantError(text)
        return address
    if set(host) & set("/:@[] \t"):
        raise BadGrantError(text)
    return host.lower()


def grant_text(host: str, port: int | str, protocol: str) -> str:
    """The grant that allows `host` and `port`, as a user writes it."""
    return f"{protocol}://[{host}]:{port}" if ":" in host else f"{protocol}://{host}:{port}"


class OutboundPolicy(NamedTuple):
    """All grants of a container; the default denies everything."""

    grants: tuple[Grant, ...] = ()

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> OutboundPolicy:
        """Read grants as the compose file or the command line writes them; BadGrantError."""
        return cls(tuple(parse_grant(text) for text in texts))

    def allows(self, names: Iterable[str], port: int, protocol: str = TCP) -> bool:
        """Whether one of a destination's `names` (its address and names looked up) is granted."""
        return any(grant.covers(name, port, protocol) for name in names for grant in self.grants)

    def may_look_up(self, name: str) -> bool:
        """Whether some grant could allow a connection to the host called `name`."""
        return any(grant.host in ("*", name) for grant in self.grants)
