"""Amounts as compose writes them: sizes (`64m`), durations (`1m30s`) and shares of processors.

Spec: compose specification, "Specifying byte values" and "Specifying durations".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balenawasm.compose.document import Item

_SIZE = re.compile(r"(\d{1,15})([bkmg]?)b?\Z", re.IGNORECASE | re.ASCII)
_SIZE_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_DURATION_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(us|ms|s|m|h)", re.ASCII)
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+\Z", re.ASCII)
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def read_size(item: Item, text: str | None = None) -> int:
    """Read a number of bytes, from `text` when that is only a part of the item's."""
    text = item.scalar_text() if text is None else text
    match = _SIZE.match(text)
    if match is None:
        raise item.error(f"{text!r} is not a size", hint="write 1000000, 512k or 64m")
    return int(match[1]) * _SIZE_UNITS[match[2].lower()]


def read_duration(item: Item) -> float:
    """Read a duration such as `1m30s` or `500ms`, in seconds."""
    text = item.scalar_text()
    if not _DURATION.match(text):
        raise item.error(f"{text!r} is not a duration", hint="write for example 1m30s or 500ms")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))


def cpu_weight(shares: int) -> int:
    """Docker's shares, of which 1024 are usual, as the kernel's weight, of which 100 is."""
    return max(1, min(shares * 100 // 1024, 10_000))
