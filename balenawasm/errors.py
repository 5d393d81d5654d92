"""The root of every error that a user may see.

An error's class lives beside the code that raises it and derives from :class:`BalenaWasmError`.
The library never prints and never exits: `balenawasm.cli` shows the message and the hint and turns
`exit_code` into the process's exit status. This module imports nothing of ours.
"""

from __future__ import annotations


class BalenaWasmError(Exception):
    """Something the user can understand and mend.

    `message` says what is wrong and where; `hint`, when there is one, says how to mend it.
    Both are complete sentences or phrases without a trailing full stop or newline.
    """

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(BalenaWasmError):
    """The command line, an option or a reference is malformed."""

    exit_code = 2
