"""Variables in compose files.

Spec: compose specification, "Interpolation": `$NAME`, `${NAME}`, `${NAME:-default}`,
`${NAME-default}`, `${NAME:?message}`, `${NAME?message}`, `${NAME:+replacement}`,
`${NAME+replacement}`; `$$` is a dollar sign. Defaults, messages and replacements may hold
variables. Any other use of `$` is refused, as Docker does: it is more often a mistake than meant.

A template is read whole before it is filled in, so a mistake in it shows whatever the variables
are; of defaults only those that are needed are filled in. Limit: variables nest at most 32 deep.
Errors have no position: the caller knows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from balenawasm.errors import BalenaWasmError

Lookup = Callable[[str], str | None]
"""Returns a variable's value, None when it is not set."""

_MAXIMUM_DEPTH = 32
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_LITERAL = re.compile(r"[^$}]+")


class InterpolationError(BalenaWasmError):
    """A `$` that is not a variable, or a variable that must be set is not."""


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    operator: str
    argument: tuple[str | _Variable, ...]


def interpolate(
    template: str, lookup: Lookup, on_missing: Callable[[str], None] | None = None
) -> str:
    """Return `template` with its variables replaced.

    `on_missing` is told each variable that is not set and has no default: it becomes an empty
    text. Raises InterpolationError.
    """
    if "$" not in template:
        return template
    parser = _Parser(template)
    return _fill(parser.parse(0), lookup, on_missing)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def parse(self, depth: int) -> tuple[str | _Variable, ...]:
        """Read to the end, or with a depth to the closing brace, which is taken too."""
        pieces: list[str | _Variable] = []
        while self._position < len(self._text):
            if literal := self._take(_LITERAL):
                pieces.append(literal)
            elif self._text[self._position] == "}":
                self._position += 1
                if depth:
                    return tuple(pieces)
                pieces.append("}")
            else:
                pieces.append(self._parse_dollar(depth))
        if depth:
            raise self._error("a '}' is missing")
        return tuple(pieces)

    def _parse_dollar(self, depth: int) -> str | _Variable:
        start = self._position
        self._position += 1
        if self._text.startswith("$", self._position):
            self._position += 1
            return "$"
        if name := self._take(_NAME):
            return _Variable(name, "", ())
        if not self._text.startswith("{", self._position):
            raise self._error(f"{self._text[start : start + 2]!r} is not a variable")
        self._position += 1
        name = self._take(_NAME)
        if not name:
            raise self._error("a variable has no name")
        operator = self._take(_OPERATOR)
        if operator:
            if depth == _MAXIMUM_DEPTH:
                raise self._error(f"variables nest more than {_MAXIMUM_DEPTH} deep")
            return _Variable(name, operator, self.parse(depth + 1))
        if self._position == len(self._text):
            raise self._error("a '}' is missing")
        if self._text[self._position] != "}":
            shown = self._text[start : start + 40]
            raise self._error(f"{shown!r} is not a variable")
        self._position += 1
        return _Variable(name, "", ())

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._position)
        if match is None:
            return ""
        self._position = match.end()
        return match[0]

    def _error(self, reason: str) -> InterpolationError:
        return InterpolationError(reason, hint="write $$ for a dollar sign that starts no variable")


def _fill(
    pieces: tuple[str | _Variable, ...], lookup: Lookup, on_missing: Callable[[str], None] | None
) -> str:
    filled: list[str] = []
    for piece in pieces:
        if isinstance(piece, str):
            filled.append(piece)
        else:
            filled.append(_value(piece, lookup, on_missing))
    return "".join(filled)


def _value(variable: _Variable, lookup: Lookup, on_missing: Callable[[str], None] | None) -> str:
    value = lookup(variable.name)
    is_missing = value is None or (variable.operator.startswith(":") and not value)
    match variable.operator[-1:]:
        case "+":
            return "" if is_missing else _fill(variable.argument, lookup, on_missing)
        case "-" if is_missing:
            return _fill(variable.argument, lookup, on_missing)
        case "?" if is_missing:
            message = _fill(variable.argument, lookup, on_missing)
            state = "not set" if value is None else "empty"
            raise InterpolationError(
                f"the variable {variable.name} is {state}" + (f": {message}" if message else ""),
                hint=f"set {variable.name} in the environment or in .env",
            )
    if value is None and on_missing is not None:
        on_missing(variable.name)
    return value or ""
