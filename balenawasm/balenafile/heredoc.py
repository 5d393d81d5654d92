"""Here-documents: text that follows an instruction's line, up to a line that is its name.

Spec: Dockerfile reference, "Here-Documents"; BuildKit's parser. A word `<<NAME` (`<<-NAME`,
`<<"NAME"`, `3<<NAME`) of RUN, COPY or ADD announces one; several follow each other. Unlike in
BuildKit a name starts with a letter or `_`, so that `$((1 <<2))` is none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from balenawasm.balenafile.source import BalenafileError, SourceRange
from balenawasm.balenafile.words import split_words

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEYWORDS = frozenset({"RUN", "COPY", "ADD"})
_WORD = re.compile(r"""\d*<<(-?)(["']?)([A-Za-z_][^\s<"']*)\2\Z""")


class Heredoc(NamedTuple):
    """`text` as written, with the end of each line; `chomp`: tabs in front of lines are not meant.

    `alone`: the announcement is all that its instruction says.
    """

    name: str
    text: str
    chomp: bool
    alone: bool

    @property
    def content(self) -> str:
        """The text as it is meant."""
        return re.sub(r"(?m)^\t+", "", self.text) if self.chomp else self.text


def read_heredocs(
    line: str, escape: str, following: Iterator[tuple[int, str]], where: SourceRange
) -> tuple[tuple[Heredoc, ...], int | None]:
    """Take the here-documents that an instruction's (joined) line announces.

    `following` has the index and text of the lines after it. Returns the documents and the index of
    the last line that was taken. Raises BalenafileError for one without an end.
    """
    keyword, *words = split_words(line, escape) or [""]
    if keyword.upper() not in _KEYWORDS:
        return (), None
    found = []
    last = None
    plain = [word for word in words if not word.startswith("--")]
    for word in plain:
        match = _WORD.match(word)
        if match is None:
            continue
        chomp, name = bool(match[1]), match[3]
        text = []
        for index, taken in following:
            last = index
            if (taken.lstrip("\t") if chomp else taken) == name:
                break
            text.append(taken + "\n")
        else:
            raise BalenafileError(
                f"the here-document {name} has no end",
                where,
                hint=f"a line with {name} alone ends it",
            )
        found.append(Heredoc(name, "".join(text), chomp, len(plain) == 1))
    return tuple(found), last
