"""A compose file as a tree of values that know where they stand.

Every value keeps its key path (`services.web.ports[0]`) and its line, so that whoever reads it
can refuse it with a message that points there. The typed readers of :class:`Item` are the only
way from YAML's values to the model.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from balenawasm.errors import BalenaWasmError

Scalar = str | int | float | bool | None
Value = Scalar | tuple["Value", ...] | Mapping[str, "Value"]
"""What a YAML file can hold, without positions."""

_TRUE = frozenset({"true", "yes", "on", "y"})
_FALSE = frozenset({"false", "no", "off", "n"})
_INTEGER = re.compile(r"[+-]?\d{1,18}\Z", re.ASCII)


class Position(NamedTuple):
    """A line, counted from 1, of a file as the user knows it."""

    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.name}:{self.line}"


class ComposeError(BalenaWasmError):
    """A compose file, or a file it names, cannot be used.

    `message` is `FILE:LINE: KEY PATH: reason`, as far as these are known.
    """

    def __init__(
        self,
        reason: str,
        *,
        where: Position | str | None = None,
        path: str = "",
        hint: str | None = None,
    ) -> None:
        parts = [str(where)] if where is not None else []
        parts += [path] if path else []
        super().__init__(": ".join([*parts, reason]), hint=hint)
        self.reason = reason
        self.where = where
        self.path = path


@dataclass(frozen=True, slots=True)
class Item:
    """One value: a scalar, a tuple of items, or a mapping of items; the root's `path` is empty."""

    path: str
    where: Position
    value: Scalar | tuple[Item, ...] | Mapping[str, Item]

    def error(self, reason: str, *, hint: str | None = None) -> ComposeError:
        """Return an error that points at this value."""
        return ComposeError(reason, where=self.where, path=self.path, hint=hint)

    @property
    def is_null(self) -> bool:
        """Whether the key has no value, or YAML's null."""
        return self.value is None

    def mapping(self) -> Mapping[str, Item]:
        """Return the entries; raises ComposeError unless this is a mapping."""
        if isinstance(self.value, Mapping):
            return self.value
        raise self.wrong_kind("a mapping")

    def sequence(self) -> tuple[Item, ...]:
        """Return the elements; raises ComposeError unless this is a list."""
        if isinstance(self.value, tuple):
            return self.value
        raise self.wrong_kind("a list")

    def text(self) -> str:
        """Return a text without NUL; a number is refused, because its writing would be lost."""
        if not isinstance(self.value, str):
            hint = None
            if isinstance(self.value, int | float):
                hint = "put it into quotes"
            raise self.wrong_kind("a text", hint=hint)
        return self._without_nul(self.value)

    def scalar_text(self) -> str:
        """Return a text, or a number or truth value written as compose writes it."""
        if self.value is None or isinstance(self.value, tuple | Mapping):
            raise self.wrong_kind("a text")
        return self._without_nul(format_scalar(self.value))

    def integer(self) -> int:
        """Return a whole number, also from a text of digits (interpolation makes those)."""
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            return self.value
        if isinstance(self.value, str) and _INTEGER.match(self.value):
            return int(self.value)
        raise self.wrong_kind("a whole number")

    def boolean(self) -> bool:
        """Return a truth value, also from one of compose's words for it."""
        if isinstance(self.value, bool):
            return self.value
        if isinstance(self.value, str):
            word = self.value.lower()
            if word in _TRUE or word in _FALSE:
                return word in _TRUE
        raise self.wrong_kind("true or false")

    def plain(self) -> Value:
        """Return the value without positions."""
        if isinstance(self.value, Mapping):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, tuple):
            return tuple(item.plain() for item in self.value)
        return self.value

    def map_texts(self, change: Callable[[Item, str], str]) -> Item:
        """Return the same tree with `change` applied to every text (not to keys)."""
        match self.value:
            case str():
                return dataclasses.replace(self, value=change(self, self.value))
            case tuple():
                elements = tuple(item.map_texts(change) for item in self.value)
                return dataclasses.replace(self, value=elements)
            case Mapping():
                entries = {key: item.map_texts(change) for key, item in self.value.items()}
                return dataclasses.replace(self, value=entries)
        return self

    def _without_nul(self, text: str) -> str:
        if "\0" in text:
            raise self.error("the text has a NUL character")
        return text

    def wrong_kind(self, wanted: str, *, hint: str | None = None) -> ComposeError:
        """Return an error that says what was expected and what is there."""
        return self.error(f"expected {wanted}, found {_kind(self.value)}", hint=hint)


def child_path(parent: str, key: str | int) -> str:
    """Return the key path of an entry or element: `parent.key` or `parent[0]`."""
    if isinstance(key, int):
        return f"{parent}[{key}]"
    return f"{parent}.{key}" if parent else key


def present(fields: Mapping[str, Item], key: str) -> Item | None:
    """Return the entry, or None when it is missing or null: compose makes no difference."""
    item = fields.get(key)
    return None if item is None or item.is_null else item


def one_or_many(item: Item) -> Iterator[Item]:
    """Iterate over the elements of a list, or over a single value standing for a list of one."""
    return iter(item.value if isinstance(item.value, tuple) else (item,))


def format_scalar(value: str | int | float | bool) -> str:
    """Write a scalar as compose does (Go's `fmt.Sprint`): `true`, `1.5`, `1000`, `1e+21`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return str(value)


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value[:60]!r}"
        case tuple():
            return "a list"
    return "a mapping"
