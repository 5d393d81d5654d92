"""Command lines in the shell form that mean the same words to every shell.

Spec: POSIX, Shell Command Language, 2.2 Quoting and 2.3 Token Recognition. Such a text needs no
shell, in an image without one. And with one, a container's process 1 is better the program itself:
it gets the signals that are for the container, and a shell less has to start. Many shells do as
much when they see that nothing follows a command; BusyBox's does not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SHELL = "/bin/sh"

_ACTIVE = frozenset("|&;<>()$`\\*?[]{}\n")
_ACTIVE_IN_DOUBLE_QUOTES = frozenset("$`\\")
_ACTIVE_AT_START = frozenset("~#")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_SHELL_WORDS = re.compile(
    r"!|\.|:|alias|bg|break|case|cd|command|continue|do|done|elif|else|esac|eval|exit|export|fc|fg|fi"
    r"|for|getopts|hash|if|jobs|read|readonly|return|set|shift|source|then|times|trap|type|ulimit"
    r"|umask|unalias|unset|until|wait|while"
)


class NotPlainError(ValueError):
    """A text needs a shell; the argument says why."""


def program_words(argv: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the words that the shell would run for `/bin/sh -c TEXT`, when they are plain and a
    program's; else nothing. What follows the text are the shell's parameters, which it does not use
    then.
    """
    if tuple(argv[:2]) != (SHELL.encode(), b"-c") or len(argv) < 3:
        return ()
    try:
        words = plain_words(argv[2].decode(errors="surrogateescape"))
    except NotPlainError:
        return ()
    return tuple(word.encode(errors="surrogateescape") for word in words)


def plain_words(text: str) -> tuple[str, ...]:
    """Return the words of a command line that needs no shell; raises NotPlainError.

    `exec` in front is what shell scripts write to do without a further process: it is dropped.
    """
    words = _split(text)
    if words[:1] == ["exec"] and len(words) > 1:
        words = words[1:]
    if not words:
        raise NotPlainError("it has no words")
    if _SHELL_WORDS.fullmatch(words[0]):
        raise NotPlainError(f"{words[0]!r} is a command of the shell itself")
    if _ASSIGNMENT.match(words[0]):
        raise NotPlainError(f"{words[0]!r} sets a variable")
    return tuple(words)


def _split(text: str) -> list[str]:
    words: list[str] = []
    word: str | None = None
    quote = ""
    for character in text:
        if quote:
            if character == quote:
                quote = ""
            elif quote == '"' and character in _ACTIVE_IN_DOUBLE_QUOTES:
                raise NotPlainError(f"{character!r} means something to a shell")
            else:
                word = (word or "") + character
        elif character in "'\"":
            quote = character
            word = word or ""
        elif character in " \t":
            if word is not None:
                words.append(word)
            word = None
        elif character in _ACTIVE or (word is None and character in _ACTIVE_AT_START):
            raise NotPlainError(f"{character!r} means something to a shell")
        else:
            word = (word or "") + character
    if quote:
        raise NotPlainError(f"a {quote} has no end")
    return words if word is None else [*words, word]
