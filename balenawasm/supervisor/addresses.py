"""Virtual addresses: a /24 of 10.0.0.0/8 for each project, an address for each service. Pure.

Addresses exist in the supervisor's books and in the names of Unix sockets only; the host's network
knows nothing of them. A service keeps its address as long as its project exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.errors import BalenaWasmError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_FIRST_SUBNET = 1
_SUBNETS = 1 << 16
_FIRST_HOST = 2
"""`.1` is the gateway: where connections from published ports seem to come from."""
_LAST_HOST = 254


class AddressError(BalenaWasmError):
    """There are more projects or services than addresses."""


def free_subnet(taken: Collection[int]) -> int:
    """Return the lowest subnet number that no project has; 0 is for `run`'s single containers."""
    for number in range(_FIRST_SUBNET, _SUBNETS):
        if number not in taken:
            return number
    raise AddressError("no virtual subnet is left", hint="remove a project")


def allot(subnet: int, known: Mapping[str, str], services: Iterable[str]) -> dict[str, str]:
    """Return the addresses of `services`; those in `known` keep theirs, and the rest get free ones.

    Addresses of services that are no more stay reserved, so that a name never moves to another
    service's address while something may remember it.
    """
    prefix = f"10.{subnet >> 8}.{subnet & 0xFF}."
    result = dict(known)
    taken = set(known.values())
    free = (f"{prefix}{host}" for host in range(_FIRST_HOST, _LAST_HOST + 1))
    for name in services:
        if name in result:
            continue
        address = next((address for address in free if address not in taken), None)
        if address is None:
            raise AddressError(f"no virtual address is left in {prefix}0/24")
        result[name] = address
    return result


def hosts_text(addresses: Mapping[str, str]) -> str:
    """Return a hosts(5) file for a network."""
    return "".join(f"{address}\t{name}\n" for name, address in sorted(addresses.items()))
