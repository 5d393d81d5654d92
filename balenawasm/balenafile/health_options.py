"""The options of HEALTHCHECK: durations as Go writes them, and a number of retries.

Spec: Dockerfile reference, "HEALTHCHECK"; Go's `time.ParseDuration`. As there, a time is 0 or at
least a millisecond.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from balenawasm.balenafile.source import BalenafileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.balenafile.source import SourceRange

_FIELDS: Mapping[str, str] = {
    "interval": "interval",
    "timeout": "timeout",
    "start-period": "start_period",
    "start-interval": "start_interval",
}
HEALTH_OPTIONS = (*_FIELDS, "retries")
"""Names of the options, without the dashes."""

_UNITS: Mapping[str, int] = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = r"(\d{1,9}(?:\.\d{1,9})?)(ns|us|µs|ms|s|m|h)"
_DURATION = re.compile(f"(?:{_PART})+", re.ASCII)
_LEAST = 1_000_000


def health_values(flags: Mapping[str, str], where: SourceRange) -> dict[str, int]:
    """Return the options' values by the fields of `instructions.Healthcheck`, times in ns.

    Raises BalenafileError.
    """
    values = {
        field: _duration(name, flags[name], where)
        for name, field in _FIELDS.items()
        if name in flags
    }
    retries = flags.get("retries")
    if retries is not None:
        if not (retries.isascii() and retries.isdigit() and len(retries) < 10):
            raise BalenafileError(f"--retries={retries} is not a number", where)
        values["retries"] = int(retries)
    return values


def _duration(name: str, text: str, where: SourceRange) -> int:
    if text == "0":
        return 0
    if not _DURATION.fullmatch(text):
        raise BalenafileError(
            f"--{name}={text} is not a time", where, hint="a time is written 30s, 1m30s or 500ms"
        )
    parts = re.findall(_PART, text, re.ASCII)
    total = round(sum(float(number) * _UNITS[unit] for number, unit in parts))
    if 0 < total < _LEAST:
        raise BalenafileError(f"--{name}={text} is less than a millisecond", where)
    return total
