"""What a service may reach outside: `x-balenawasm: allow:` of the compose file. Pure but for a look
whether the files it names are there.

A grant is a text (`kernel.network_policy`), or a mapping: `to`, that text, and what TLS
connections there are given: `ca`, `certificate` (a file, or a mapping of `cert` and `key`) and
`verify`. Paths count from the project's directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from balenawasm.kernel.network_policy import UDP, parse_grant
from balenawasm.runtime.bundle import TlsGrant
from balenawasm.supervisor.target_state import TargetStateError

if TYPE_CHECKING:
    from pathlib import Path

KEYS = frozenset(["to", "ca", "certificate", "verify"])
CERTIFICATE_KEYS = frozenset(["cert", "key"])


class Grants(NamedTuple):
    """All grants of a service: the destinations, and what some say about TLS."""

    allow: tuple[str, ...] = ()
    tls: tuple[TlsGrant, ...] = ()


def read_grants(service: str, value: object, directory: Path) -> Grants:
    """Read the value of `allow`; TargetStateError, BadGrantError."""
    entries = (value,) if isinstance(value, (str, Mapping)) else value
    if not isinstance(entries, tuple):
        raise _malformed(service)
    allow: list[str] = []
    tls: list[TlsGrant] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, str):
            parse_grant(entry)
            allow.append(entry)
        elif isinstance(entry, Mapping):
            grant = _Reader(f"service {service}: x-balenawasm.allow[{index}]", directory).read(
                entry
            )
            allow.append(grant.to)
            if grant != TlsGrant(grant.to):
                tls.append(grant)
        else:
            raise _malformed(service)
    return Grants(tuple(allow), tuple(tls))


def _malformed(service: str) -> TargetStateError:
    return TargetStateError(
        f"service {service}: x-balenawasm.allow is a list of grants",
        hint='for example allow: ["tcp://example.org:443"]',
    )


class _Reader:
    """Reads one mapping; `place` begins its errors."""

    def __init__(self, place: str, directory: Path) -> None:
        self._place = place
        self._directory = directory

    def read(self, entry: Mapping[str, object]) -> TlsGrant:
        self._check_keys("", entry, KEYS)
        to = entry.get("to")
        if not isinstance(to, str):
            raise TargetStateError(
                f"{self._place}: `to` is missing", hint='for example {to: "tcp://example.org:443"}'
            )
        verify = entry.get("verify")
        if verify is not None and not isinstance(verify, bool):
            raise TargetStateError(f"{self._place}.verify: true or false, not {verify!r}")
        certificate, key = self._certificate(entry.get("certificate"))
        grant = TlsGrant(
            to, self._file("ca", entry.get("ca")), certificate, key, verify is not False
        )
        if parse_grant(to).protocol == UDP and grant != TlsGrant(to):
            raise TargetStateError(f"{self._place}: TLS is for tcp://, not for {to}")
        return grant

    def _certificate(self, value: object) -> tuple[str, str]:
        if not isinstance(value, Mapping):
            return self._file("certificate", value), ""
        self._check_keys("certificate", value, CERTIFICATE_KEYS)
        if value.get("cert") is None:
            raise TargetStateError(f"{self._place}.certificate: `cert` is missing")
        return tuple(  # type: ignore[return-value]
            self._file(f"certificate.{name}", value.get(name)) for name in ("cert", "key")
        )

    def _check_keys(self, name: str, value: Mapping[str, object], known: frozenset[str]) -> None:
        unknown = sorted(set(map(str, value)) - known)
        if unknown:
            place = f"{self._place}.{name}" if name else self._place
            raise TargetStateError(
                f"{place}: no key {unknown[0]!r}", hint=f"known are {', '.join(sorted(known))}"
            )

    def _file(self, name: str, value: object) -> str:
        """The absolute path of a file of the host; empty for None."""
        if value is None:
            return ""
        if not isinstance(value, str):
            raise TargetStateError(f"{self._place}.{name}: a file's path, not {value!r}")
        path = os.path.abspath(self._directory / value)  # noqa: PTH100 - links stay as they are
        if not os.path.isfile(path):  # noqa: PTH113 - no exception for odd names
            raise TargetStateError(
                f"{self._place}.{name}: there is no file {value}",
                hint="the path counts from the project's directory",
            )
        return path
