r"""Files of variables: `.env` and what `env_file` names.

Spec: compose documentation, "Syntax for environment variables in an env file" ("`.env` file
syntax"). A line is `NAME=value`, `NAME: value`, or `NAME` alone, which takes the value from
outside; `export` in front is allowed; `#` starts a comment, behind an unquoted value only after
white space. In single quotes everything is literal but `\'`; in double quotes `\n \r \t \\ \" \$`
are escapes; quoted values may span lines. Variables are replaced outside single quotes, with the
variables from outside before those further up in the file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from balenawasm.compose.document import ComposeError, Position
from balenawasm.compose.interpolate import InterpolationError, Lookup, interpolate

if TYPE_CHECKING:
    from pathlib import Path

_MAXIMUM_BYTES = 1 << 20
_BLANK = re.compile(r"(?:[ \t]*(?:#[^\n]*)?(?:\n|\Z))")
_STATEMENT = re.compile(r"[ \t]*(?:export[ \t]+)?([\w.-]+)[ \t]*(?:([=:])|(?=[#\n]|\Z))")
_SINGLE_QUOTED = re.compile(r"'((?:\\'|[^'])*)'")
_DOUBLE_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)
_REST_OF_LINE = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_COMMENT = re.compile(r"[ \t]#")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$$", "\n": ""}


def read_dotenv(path: Path, name: str, lookup: Lookup) -> dict[str, str]:
    """Read a file of variables; messages call it `name`. Raises ComposeError and OSError."""
    with path.open("rb") as file:
        data = file.read(_MAXIMUM_BYTES + 1)
    if len(data) > _MAXIMUM_BYTES:
        raise ComposeError(f"the file is larger than {_MAXIMUM_BYTES >> 20} MiB", where=name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = Position(name, data.count(b"\n", 0, error.start) + 1)
        raise ComposeError("the text is not UTF-8", where=where) from error
    return parse_dotenv(text, name, lookup)


def parse_dotenv(text: str, name: str, lookup: Lookup) -> dict[str, str]:
    """Return the variables in the order of the file; a later one of the same name wins.

    `lookup` answers for variables from outside. Raises ComposeError with the line.
    """
    text = text.replace("\r\n", "\n")
    if "\0" in text:
        where = Position(name, text.count("\n", 0, text.index("\0")) + 1)
        raise ComposeError("the text has a NUL character", where=where)
    found: dict[str, str] = {}

    def look_up(variable: str) -> str | None:
        value = lookup(variable)
        return found.get(variable) if value is None else value

    position = counted = 0
    line = 1
    while position < len(text):
        if blank := _BLANK.match(text, position):
            position = blank.end()
            continue
        line += text.count("\n", counted, position)
        counted = position
        where = Position(name, line)
        statement = _STATEMENT.match(text, position)
        if statement is None:
            raise ComposeError(
                "not a variable", where=where, hint="a line is NAME=value or a # comment"
            )
        variable, separator, position = statement[1], statement[2], statement.end()
        if separator is None:
            value = lookup(variable)
            position = _end_of_line(text, position, where)
        else:
            try:
                value, position = _read_value(text, position, where, look_up)
            except InterpolationError as error:
                raise ComposeError(error.message, where=where, hint=error.hint) from error
        if value is not None:
            found[variable] = value
    return found


def _read_value(text: str, position: int, where: Position, lookup: Lookup) -> tuple[str, int]:
    """Read the value that starts at `position`; returns it and where the next line starts."""
    start = position
    while text[start : start + 1] in (" ", "\t"):
        start += 1
    quote = text[start : start + 1]
    if quote == "'":
        match = _SINGLE_QUOTED.match(text, start)
        if match is not None:
            return match[1].replace("\\'", "'"), _end_of_line(text, match.end(), where)
    elif quote == '"':
        match = _DOUBLE_QUOTED.match(text, start)
        if match is not None:
            template = _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[0]), match[1])
            return interpolate(template, lookup), _end_of_line(text, match.end(), where)
    else:
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        comment = _COMMENT.search(text, position, end)
        value = text[position : end if comment is None else comment.start()]
        return interpolate(value.strip(), lookup), end + 1
    raise ComposeError(f"the {quote} has no end", where=where)


def _end_of_line(text: str, position: int, where: Position) -> int:
    match = _REST_OF_LINE.match(text, position)
    if match is None:
        raise ComposeError(
            "there is text behind the value",
            where=where,
            hint="put the whole value into quotes, and a \\ before a quote inside",
        )
    return match.end()
