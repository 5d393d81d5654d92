"""What a container may reach outside its network: nothing, unless a grant says so.

A grant is `tcp://HOST:PORT`, `HOST:PORT` or `all`; HOST is a name, an IPv4 address or `*`, PORT a
number or `*`. A name's grant covers the addresses that a lookup of this very name gave
(`NetworkStack` remembers them), not names below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.errors import BalenaWasmError
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_SCHEME = "tcp://"


class BadGrantError(BalenaWasmError):
    """A grant that nobody can make sense of."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text!r} is no grant for outside connections",
            hint='write "tcp://HOST:PORT", where HOST or PORT may be "*", or "all"',
        )


class Grant(NamedTuple):
    """One allowed destination; `host` in lower case or `*`, `port` 0 for every port."""

    host: str
    port: int

    def covers(self, host: str, port: int) -> bool:
        """Whether a connection to `host` (name or address) and `port` is granted."""
        return self.host in ("*", host) and self.port in (0, port)


def parse_grant(text: str) -> Grant:
    """Read one grant; BadGrantError when malformed."""
    if text == "all":
        return Grant("*", 0)
    host, separator, port = text.removeprefix(_SCHEME).rpartition(":")
    if not separator or not host or set(host) & set("/:@ \t"):
        raise BadGrantError(text)
    if port == "*":
        return Grant(host.lower(), 0)
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise BadGrantError(text)
    return Grant(host.lower(), int(port))


class OutboundPolicy(NamedTuple):
    """All grants of a container; the default denies everything."""

    grants: tuple[Grant, ...] = ()

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> OutboundPolicy:
        """Read grants as the compose file or the command line writes them; BadGrantError."""
        return cls(tuple(parse_grant(text) for text in texts))

    def allows(self, names: Iterable[str], port: int) -> bool:
        """Whether one of a destination's `names` (its address and names looked up) is granted."""
        return any(grant.covers(name, port) for name in names for grant in self.grants)

    def may_look_up(self, name: str) -> bool:
        """Whether some grant could allow a connection to the host called `name`."""
        return any(grant.host in ("*", name) for grant in self.grants)
