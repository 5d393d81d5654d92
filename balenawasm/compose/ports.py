"""Published and exposed ports: short and long form.

Spec: compose specification, services, "ports" ("Short syntax", "Long syntax") and "expose". A
range on the host side needs as many ports on the container's side; a range of host ports to
choose one from is not supported yet.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from balenawasm.compose.model import ExposedPort, Port

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from balenawasm.compose.document import ComposeError, Item
    from balenawasm.compose.warnings import Warnings

_SHORT = re.compile(
    r"(?:(?:\[(?P<ip6>[^]]*)\]|(?P<ip>[^:]*)):(?=[^:]*:))?"
    r"(?:(?P<host>[^:/]*):)?(?P<container>[^:/]+)(?:/(?P<protocol>\w+))?\Z"
)
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?\Z", re.ASCII)
_LONG_KEYS = frozenset(
    {"target", "published", "host_ip", "protocol", "mode", "name", "app_protocol"}
)
_PUBLISHED_HINT = 'a port is written "8080:80", "127.0.0.1:8080:80/tcp" or "80"'
_EXPOSED_HINT = 'a port is written "80", "80/udp" or "8000-8010"'


def read_ports(item: Item, warnings: Warnings) -> tuple[Port, ...]:
    """Read a service's `ports`; raises ComposeError for what is no port, or is published twice."""
    found: dict[Port, Item] = {}
    for element in item.sequence():
        ports = (
            _read_long(element, warnings)
            if not isinstance(element.value, str | int)
            else _read_short(element)
        )
        for port in ports:
            if port in found:
                raise element.error(f"the port {port} stands twice")
            found[port] = element
    return tuple(found)


def read_exposed(item: Item) -> tuple[ExposedPort, ...]:
    """Read a service's `expose`."""
    found: dict[ExposedPort, None] = {}
    for element in item.sequence():
        text, slash, protocol = element.scalar_text().partition("/")
        first, last = _range(element, text, hint=_EXPOSED_HINT)
        protocol = _protocol(element, protocol if slash else "tcp")
        for number in range(first, last + 1):
            found[ExposedPort(number, protocol)] = None
    return tuple(found)


def find_conflict(ports: Iterable[tuple[str, Port]]) -> tuple[str, str, Port] | None:
    """Return two owners and the second's port when both claim the same host port, else None."""
    claimed: dict[tuple[int, str], list[tuple[str, Port]]] = {}
    for owner, port in ports:
        if port.host_port is None:
            continue
        others = claimed.setdefault((port.host_port, port.protocol), [])
        for other_owner, other in others:
            if _addresses_overlap(port.host_ip, other.host_ip):
                return other_owner, owner, port
        others.append((owner, port))
    return None


def _addresses_overlap(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return True
    first, second = ipaddress.ip_address(one), ipaddress.ip_address(other)
    if first.version != second.version:
        # A listener on :: is for IPv6 only here, so 0.0.0.0 and :: can live side by side.
        return False
    return first == second or first.is_unspecified or second.is_unspecified


def _read_short(item: Item) -> Iterator[Port]:
    text = item.scalar_text()
    match = _SHORT.match(text)
    if match is None:
        raise item.error(f"{text!r} is not a port", hint=_PUBLISHED_HINT)
    ip = match["ip6"] or match["ip"] or None
    return _pair(
        item,
        host_ip=_address(item, ip),
        published=match["host"] or None,
        target=match["container"],
        protocol=_protocol(item, match["protocol"] or "tcp"),
    )


def _read_long(item: Item, warnings: Warnings) -> Iterator[Port]:
    fields = {key: value for key, value in item.mapping().items() if not value.is_null}
    warnings.unknown_keys(fields, _LONG_KEYS)
    if "target" not in fields:
        raise item.error("the port has no target", hint="target is the port in the container")
    target = fields["target"].integer()
    published = fields.get("published")
    host_ip = fields.get("host_ip")
    protocol = fields.get("protocol")
    return _pair(
        item,
        host_ip=_address(host_ip, host_ip.text() or None) if host_ip else None,
        published=published.scalar_text() or None if published else None,
        target=str(target),
        protocol=_protocol(protocol, protocol.text()) if protocol else "tcp",
    )


def _pair(
    item: Item, *, host_ip: str | None, published: str | None, target: str, protocol: str
) -> Iterator[Port]:
    """Pair the host's ports with the container's, one by one."""
    first, last = _range(item, target)
    if published is None:
        hosts: list[int | None] = [None] * (last - first + 1)
    else:
        first_host, last_host = _range(item, published)
        if last_host - first_host != last - first:
            if first == last:
                raise item.error(
                    "a range of host ports for one port is not supported yet",
                    hint="name one host port, or none to get any free one",
                )
            raise item.error(f"the ranges {published} and {target} differ in length")
        hosts = list(range(first_host, last_host + 1))
    return (
        Port(host_ip, host, number, protocol)
        for host, number in zip(hosts, range(first, last + 1), strict=True)
    )


def _range(item: Item, text: str, *, hint: str = _PUBLISHED_HINT) -> tuple[int, int]:
    match = _RANGE.match(text)
    if match is None:
        raise item.error(f"{text!r} is not a port", hint=hint)
    first = int(match[1])
    last = int(match[2] or first)
    if not 1 <= first <= last <= 65535:
        raise item.error(
            f"{text!r} is not a port or a range of ports", hint="ports go from 1 to 65535"
        )
    return first, last


def _address(item: Item, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise _bad_address(item, text) from None


def _bad_address(item: Item, text: str) -> ComposeError:
    return item.error(
        f"{text!r} is not an IP address", hint="for this machine only, write 127.0.0.1"
    )


def _protocol(item: Item, text: str) -> str:
    protocol = text.lower()
    if protocol not in ("tcp", "udp"):
        raise item.error(f"{text!r} is not a protocol", hint="the protocols are tcp and udp")
    return protocol
