"""What people and machines read: tables, JSON, sizes. rich is loaded only to show a table."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

_ACTED_UPON = re.compile(
    r"\x1b\[[0-9;:]*m|[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
"""Colours; control characters but for the tab; characters that turn the direction of writing."""
_RESET = "\x1b[0m"
_UNITS = ("B", "kB", "MB", "GB", "TB")
_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def print_json(value: object) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under upper-case headings, as docker does; columns never wrap or get cut."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
        for column in columns:
            table.add_column(column, no_wrap=True, overflow="ignore")
        for row in rows:
            table.add_row(*row)
        Console(markup=False, highlight=False, soft_wrap=True).print(table)
        return
    widths = [
        max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)
    ]  # a pipe gets the same columns without colour
    for line in (columns, *rows):
        padded = (cell.ljust(width + 3) for cell, width in zip(line, widths, strict=True))
        click.echo("".join(padded).rstrip())


def terminal_text(text: str) -> str:
    """A guest's text for a terminal: of what a terminal acts upon only tabs and colours are left,
    which end with the text; all else is shown as an escape.
    """
    shown = _ACTED_UPON.sub(_shown, text.removesuffix("\r"))
    return shown + _RESET if "\x1b[" in shown else shown


def _shown(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith("\x1b[") else repr(found[0])[1:-1]


def size_text(size: int) -> str:
    """Bytes in decimal units as docker prints them: 999B, 1.2kB, 26.3MB."""
    value = float(size)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{value:.0f}{unit}" if unit == "B" else f"{value:.3g}{unit}"
        value /= 1000
    raise AssertionError("the last unit has no limit")


def memory_text(size: int) -> str:
    """Bytes in binary units, in which limits are said: 900B, 10.5MiB, 64MiB."""
    value = float(size)
    for unit in _BINARY_UNITS:
        if value < 1024 or unit == _BINARY_UNITS[-1]:
            return f"{value:.0f}{unit}" if value >= 100 or unit == "B" else f"{value:.3g}{unit}"
        value /= 1024
    raise AssertionError("the last unit has no limit")


def age_text(since: float, now: float | None = None) -> str:
    """The time since a moment (seconds since 1970) in its largest unit: "3 minutes"."""
    seconds = max(0, int((time.time() if now is None else now) - since))
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count = seconds // length
        if count or unit == "second":
            return f"{count} {unit}{'' if count == 1 else 's'}"
    raise AssertionError("a second always counts")
