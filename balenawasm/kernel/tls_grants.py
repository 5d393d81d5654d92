"""What the grants of a service say about TLS: whom to trust, who we are, and whether a guest may do
without verification.

A grant without any of this (a plain text in the compose file) means: the host's trust store, no
client certificate, verification required.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.kernel.network_policy import parse_grant
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balenawasm.kernel.network_policy import Grant


class TlsGrant(NamedTuple):
    """One destination's TLS. Files are host paths in PEM form; empty: none.

    `ca` is trusted in place of the host's store; `certificate` and `key` (empty: in the same file)
    are presented for the guest, which sees neither. `verify` False lets a guest ask for no
    verification of certificate or name.
    """

    destination: Grant
    ca: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True

    @classmethod
    def of(
        cls,
        text: str,
        ca: str,
        certificate: str,
        key: str,
        verify: bool,
    ) -> TlsGrant:
        """Read the destination as a grant's text; BadGrantError."""
        return cls(parse_grant(text), ca, certificate, key, verify)


class TlsGrants(NamedTuple):
    """All of a container's."""

    grants: tuple[TlsGrant, ...] = ()

    def find(self, server: str, names: Iterable[str], port: int) -> TlsGrant | None:
        """The grant for a connection: the one for the server's name before those for other `names`
        of its address, and these before wildcards; None when nothing is said.

        `server` counts only when it is among `names`: a guest cannot borrow another's certificate.
        """
        known = frozenset(names)
        best: TlsGrant | None = None
        best_rank = 3
        for grant in self.grants:
            host = grant.destination.host
            if host == "*":
                rank = 2
            elif host in known:
                rank = 0 if host == server else 1
            else:
                continue
            if rank < best_rank and grant.destination.port in (0, port):
                best, best_rank = grant, rank
        return best
