r"""Text of a Balenafile → nodes: one keyword, its arguments and its place each.

The syntax is the Dockerfile's (Dockerfile reference, "Format", "Parser directives", "Escape").
`dockerfile_parse` separates keywords, arguments and comments; this module is its only importer.
The package is given bytes in memory, so it never touches a file. It differs from Docker in
several places, so the text is brought into a form in which they do not show:

- it ends a continued instruction at an empty line, loses one that the file ends in, and loses the
  last line when it is a bare keyword without a line end;
- it takes an escaped escape character at the end of a line for a continuation;
- it does not join a keyword that is itself continued (`RU\` + `N`);
- it knows no byte order mark, and does not refuse a repeated or wrong `escape` directive.

Invariant: what `dockerfile_parse` sees has as many lines as the file, so its line numbers are the
file's.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dockerfile_parse import DockerfileParser

from balenawasm.balenafile.heredoc import Heredoc, read_heredocs
from balenawasm.balenafile.source import BalenafileError, SourceRange

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_ESCAPE = "\\"

_DIRECTIVE = re.compile(r"#[ \t]*([a-zA-Z][a-zA-Z0-9]*)[ \t]*=[ \t]*(.+?)[ \t]*\Z")
_DIRECTIVES = frozenset({"check", "escape", "syntax"})
_COMMENT = "COMMENT"
_FENCE = " \0"
"""Put behind every logical line: no line looks continued, and a bare keyword has a value."""


@dataclass(frozen=True, slots=True)
class Node:
    """One instruction: `keyword` in upper case, `value` what follows, continued lines joined."""

    keyword: str
    value: str
    where: SourceRange
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedText:
    """All instructions in the order of the file; `escape` is a backslash or a backquote."""

    nodes: tuple[Node, ...]
    escape: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _LogicalLine:
    """Continued lines joined; `first` and `last` are indices from 0."""

    first: int
    last: int
    text: str
    has_empty_line: bool
    heredocs: tuple[Heredoc, ...] = ()


def parse_text(text: str, name: str) -> ParsedText:
    """Split `text` into nodes; `name` is the file's name in messages.

    Raises BalenafileError for wrong directives and for text with NUL characters.
    """
    lines = [line.rstrip("\r") for line in text.removeprefix("\ufeff").split("\n")]
    for index, line in enumerate(lines):
        if "\0" in line:
            where = SourceRange(name, index + 1, index + 1, line.replace("\0", "␀"))
            raise BalenafileError("the file is not text: it has a NUL character", where)
    escape = _read_directives(lines, name)
    logical_lines = _join_continued(lines, escape, name)
    nodes = []
    keywords = _split_keywords(logical_lines, len(lines))
    for logical, (keyword, value) in zip(logical_lines, keywords, strict=True):
        where = SourceRange(name, logical.first + 1, logical.last + 1, lines[logical.first])
        nodes.append(Node(keyword, value, where, logical.heredocs))
    warnings = tuple(
        f"{name}:{line.first + 1}: the continued instruction has empty lines in it"
        for line in logical_lines
        if line.has_empty_line
    )
    return ParsedText(tuple(nodes), escape, warnings)


def _read_directives(lines: Sequence[str], name: str) -> str:
    """Read the directives at the top of the file and return the escape character.

    `syntax` and `check` steer BuildKit and mean nothing here. The first line that is no directive
    ends them.
    """
    escape = DEFAULT_ESCAPE
    seen: set[str] = set()
    for index, line in enumerate(lines):
        match = _DIRECTIVE.match(line.lstrip())
        if match is None or match[1].lower() not in _DIRECTIVES:
            break
        directive, value = match[1].lower(), match[2]
        where = SourceRange(name, index + 1, index + 1, line)
        if directive in seen:
            raise BalenafileError(f"the {directive} directive stands twice", where)
        seen.add(directive)
        if directive == "escape":
            if value not in ("\\", "`"):
                raise BalenafileError(
                    f"{value!r} cannot be the escape character",
                    where,
                    hint="the escape directive takes a backslash or a backquote",
                )
            escape = value
    return escape


def _join_continued(lines: Sequence[str], escape: str, name: str) -> list[_LogicalLine]:
    """Join lines that end in the escape character, without comments and empty lines between them.

    An escape character that is itself escaped does not continue the line (BuildKit's rule). Lines
    of here-documents go with the instruction that announces them.
    """
    token = re.escape(escape)
    continuation = re.compile(rf"(?:(?<=[^{token}])|^){token}[ \t]*\Z")
    joined: list[_LogicalLine] = []
    parts: list[str] = []
    first = last = 0
    has_empty_line = pending_empty_line = False
    numbered = iter(enumerate(lines))
    for index, line in numbered:
        stripped = line.lstrip()
        if stripped.startswith("#"):
            continue
        if not stripped:
            pending_empty_line = True
            continue
        if parts:
            has_empty_line |= pending_empty_line
        else:
            first, has_empty_line = index, False
        pending_empty_line = False
        last = index
        # Docker strips the indentation of an instruction's first line only.
        content = line if parts else stripped
        match = continuation.search(content)
        parts.append(content if match is None else content[: match.start()])
        if match is None:
            text = "".join(parts)
            where = SourceRange(name, first + 1, last + 1, lines[first])
            heredocs, end = read_heredocs(text, escape, numbered, where)
            last = last if end is None else end
            joined.append(_LogicalLine(first, last, text, has_empty_line, heredocs))
            parts = []
    if parts:
        joined.append(_LogicalLine(first, last, "".join(parts), has_empty_line))
    return [line for line in joined if line.text.strip()]


def _split_keywords(
    logical_lines: Sequence[_LogicalLine], line_count: int
) -> list[tuple[str, str]]:
    """Return (keyword, value) of every logical line, as `dockerfile_parse` finds them."""
    prepared = ["#"] * line_count
    for line in logical_lines:
        prepared[line.first] = line.text.strip() + _FENCE
    content = "".join(line + "\n" for line in prepared).encode()
    parser = DockerfileParser(fileobj=io.BytesIO(content), env_replace=False)
    return [
        (entry["instruction"], entry["value"].removesuffix(_FENCE.strip(" ")).strip())
        for entry in parser.structure
        if entry["instruction"] != _COMMENT
    ]
