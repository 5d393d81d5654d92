"""Where an instruction stands in a Balenafile, and errors that show it.

A position is a file name as the user knows it, line numbers counted from 1, and the source line
itself, so that a message needs no second look at the file.
"""

from __future__ import annotations

from dataclasses import dataclass

from balenawasm.errors import BalenaWasmError

_SHOWN_COLUMNS = 200


@dataclass(frozen=True, slots=True)
class SourceRange:
    """The lines of one instruction: `first_line` to `last_line`, both included, counted from 1.

    `text` is the first line as written, without its line end.
    """

    name: str
    first_line: int
    last_line: int
    text: str

    def __str__(self) -> str:
        return f"{self.name}:{self.first_line}"

    def excerpt(self) -> str:
        """Return the source line with its number in front, as error messages show it."""
        shown = self.text.rstrip().expandtabs(4)
        if len(shown) > _SHOWN_COLUMNS:
            shown = shown[: _SHOWN_COLUMNS - 1] + "…"
        return f"{self.first_line:>5} | {shown}"


class BalenafileError(BalenaWasmError):
    """A Balenafile cannot be used. `reason` is the message without the position `where`.

    `message` is `FILE:LINE: reason`, then, on a line of its own, the source line.
    """

    def __init__(
        self, reason: str, where: SourceRange | None = None, *, hint: str | None = None
    ) -> None:
        message = reason if where is None else f"{where}: {reason}\n{where.excerpt()}"
        super().__init__(message, hint=hint)
        self.reason = reason
        self.where = where


class NotYetSupportedError(BalenafileError):
    """The Balenafile is right, but asks for what Docker has and balenawasm has not yet."""
