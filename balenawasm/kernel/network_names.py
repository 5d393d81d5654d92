"""Names and grants of a container: which addresses a name has, what may be reached outside, and the
line in the log that says how to allow what was denied.

Order of a lookup: numeric, localhost, the network's hosts file (service names and their aliases),
the container's own name, then outside, for names that a grant mentions.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.network_policy import TCP, OutboundPolicy, grant_text
from balenawasm.vfs.endpoint import (
    LONGEST_NAME,
    LOOPBACK,
    LOOPBACK6,
    is_inet6,
    is_loopback,
    numeric,
    unmapped,
)
from balenawasm.vfs.socket import ALL, INET, INET6
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from balenawasm.kernel.network_hosts import HostsFile
    from balenawasm.kernel.network_resolver import OutsideResolver
    from balenawasm.vfs.node import Caller

MOST_REMEMBERED: Final = 1024
"""Outside addresses whose names are remembered, and denied destinations that were logged."""

MOST_NAMES: Final = 256
"""Names remembered of one outside address."""

_ADVICE = 'grant x-balenawasm: allow: ["{grant}"] (with run: --allow "{grant}")'


class NetworkNames:
    """The names that one container knows, and what it may reach. Any thread may ask."""

    def __init__(
        self,
        *,
        hostname: str,
        address: str | None,
        hosts: HostsFile,
        policy: OutboundPolicy,
        resolver: OutsideResolver,
        log: Callable[[str], None],
        advice: str = "",
    ) -> None:
        """`advice` says how to allow what was denied, with `{grant}` for the grant; empty: as for a
        service.
        """
        self.hostname = hostname
        self.address = address
        self.hosts = hosts
        self._policy = policy
        self._resolver = resolver
        self._log = log
        self._advice = advice or _ADVICE
        self._lock = threading.Lock()
        self._names_of_outside: OrderedDict[str, set[str]] = OrderedDict()
        self._denied: set[str] = set()

    def outside_names(self, host: str) -> set[str]:
        """An outside address and the names whose lookup gave it."""
        with self._lock:
            return self._names_of_outside.get(host, set()) | {host}

    def check_outside(self, host: str, port: int, protocol: str) -> None:
        """EACCES, and a line in the log, unless a grant allows traffic to an address outside."""
        names = self.outside_names(host)
        if not self._policy.allows(names, port, protocol):
            self._deny(names - {host} or names, port, protocol)
            raise GuestError(Errno.EACCES)

    def lookup(self, caller: Caller, name: str, family: str = INET) -> list[str]:
        """The addresses of a host name or numeric address: ENOENT for none of the family, EAGAIN
        for a temporary failure.
        """
        address = numeric(name)
        if address is not None:
            return of_family([address], family)
        name = name.lower().removesuffix(".")
        # What is printed nowhere must not reach the log either: a guest chooses the name.
        if not name or len(name) > LONGEST_NAME or not name.isprintable() or " " in name:
            raise GuestError(Errno.ENOENT)
        if ":" in name:
            raise GuestError(Errno.ENOENT)
        if name == "localhost" or name.endswith(".localhost"):
            return of_family([LOOPBACK, LOOPBACK6], family)
        inside = self.hosts.addresses(name)
        if inside:
            return of_family(inside, family)
        if name == self.hostname.lower():
            return of_family([self.address or LOOPBACK], family)
        if not self._policy.may_look_up(name):
            # A single word is a service's name, most likely a misspelt one: no grant would help.
            if "." in name:
                self._deny({name}, None, TCP)
            raise GuestError(Errno.ENOENT)
        addresses = self._resolver.addresses(caller, name, family)
        self._remember(name, addresses)
        return addresses

    def names_of(self, address: str) -> list[str]:
        """The names of an address inside; ENOENT when it has none."""
        address = unmapped(address)
        found = list(self.hosts.names(address))
        if is_loopback(address):
            found.insert(0, "localhost")
        elif address == self.address and not found:
            found.append(self.hostname)
        if not found:
            raise GuestError(Errno.ENOENT)
        return found

    def _deny(self, names: set[str], port: int | None, protocol: str) -> None:
        grant = grant_text(min(names), port or "PORT", protocol)
        with self._lock:
            if grant in self._denied or len(self._denied) >= MOST_REMEMBERED:
                return
            self._denied.add(grant)
        destination = grant.partition("://")[2] if port else min(names)
        what = "lookup of" if not port else "connection to" if protocol == TCP else "datagrams to"
        if self.address is None:
            self._log(f"{what} {destination} denied: this container has no network")
            return
        self._log(
            f"{what} {destination} denied: outside the network; to allow it, "
            + self._advice.replace("{grant}", grant)
        )

    def _remember(self, name: str, addresses: Sequence[str]) -> None:
        with self._lock:
            for address in addresses:
                names = self._names_of_outside.setdefault(unmapped(address), set())
                if len(names) < MOST_NAMES:
                    names.add(name)
                self._names_of_outside.move_to_end(unmapped(address))
            while len(self._names_of_outside) > MOST_REMEMBERED:
                self._names_of_outside.popitem(last=False)


def of_family(addresses: Iterable[str], family: str) -> list[str]:
    """Those of a family, IPv4 first; ENOENT for none."""
    found = [a for a in addresses if family == ALL or is_inet6(a) == (family == INET6)]
    if not found:
        raise GuestError(Errno.ENOENT)
    return sorted(found, key=is_inet6)
