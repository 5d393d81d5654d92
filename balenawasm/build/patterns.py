r"""Wildcards of COPY sources and of .dockerignore files, as regular expressions.

COPY: Go's `path.Match`, one path component at a time: `*`, `?`, `[a-z]`, `[^a-z]` and a backslash
before a character to be taken as it is. .dockerignore adds `**`, any number of directories
(Dockerfile reference, ".dockerignore file"). As in Go and unlike in a shell, `*` matches names with
a leading dot too, and `[!a]` negates nothing.
"""

from __future__ import annotations

import re

from balenawasm.build.errors import InstructionError

_WILDCARDS = frozenset("*?[\\")


class PatternError(InstructionError):
    """A pattern's bracket or escape does not end."""


def has_wildcard(text: str) -> bool:
    """Tell whether `text` is a pattern rather than a plain name."""
    return not _WILDCARDS.isdisjoint(text)


def literal_start(text: str) -> str:
    """Return the part of a pattern before its first wildcard."""
    return re.split(r"[*?\[\\]", text, maxsplit=1)[0]


def compile_component(pattern: str) -> re.Pattern[str]:
    """Return a regular expression for one component of a COPY source; match it with `fullmatch`."""
    return re.compile(_translate(pattern, deep=False), re.DOTALL)


def compile_ignore_pattern(pattern: str) -> re.Pattern[str]:
    """Return a regular expression for a cleaned .dockerignore line; match it with `fullmatch`."""
    return re.compile(_translate(pattern, deep=True), re.DOTALL)


def _translate(pattern: str, *, deep: bool) -> str:
    pieces: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            stars = position
            while pattern.startswith("*", position):
                position += 1
            if not deep or position == stars:
                pieces.append("[^/]*")
                continue
            if pattern.startswith("/", position):
                position += 1
            pieces.append(".*" if position == len(pattern) else "(?:.*/)?")
        elif character == "?":
            pieces.append("[^/]")
        elif character == "[":
            piece, position = _character_class(pattern, position)
            pieces.append(piece)
        elif character == "\\":
            if position == len(pattern):
                raise PatternError(f"the pattern {pattern!r} ends in a backslash")
            pieces.append(re.escape(pattern[position]))
            position += 1
        else:
            pieces.append(re.escape(character))
    return "".join(pieces)


def _character_class(pattern: str, position: int) -> tuple[str, int]:
    """Translate `a-z]`, of which the opening bracket is read; returns it and the next position."""
    negated = pattern.startswith("^", position)
    position += negated
    ranges: list[str] = []
    while not (ranges and pattern.startswith("]", position)):
        low, position = _class_character(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _class_character(pattern, position + 1)
        if low > high:
            raise PatternError(f"the pattern {pattern!r} has an empty range {low}-{high}")
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    body = "".join(ranges)
    return (f"[^/{body}]" if negated else f"(?!/)[{body}]"), position + 1


def _class_character(pattern: str, position: int) -> tuple[str, int]:
    if pattern.startswith("\\", position):
        position += 1
    elif pattern.startswith(("-", "]"), position):
        raise PatternError(f"the pattern {pattern!r} has a wrong bracket expression")
    if position >= len(pattern):
        raise PatternError(
            f"the pattern {pattern!r} has a bracket without an end",
            hint="write \\[ for a bracket that stands in a name",
        )
    return pattern[position], position + 1
