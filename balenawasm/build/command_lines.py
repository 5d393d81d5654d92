"""The shell form of CMD and ENTRYPOINT for images without a shell.

With a shell in the image the text is its business. Without one, a text that means the same words to
every shell is split into them (POSIX, Shell Command Language, 2.2 Quoting and 2.3 Token
Recognition); any other is refused, never guessed.
"""

from __future__ import annotations

import re

from balenawasm.build.errors import InstructionError

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


class NeedsShellError(InstructionError):
    """A command line in the shell form needs a shell, and the image has none."""


def plain_words(text: str) -> tuple[str, ...]:
    """Return the words of a command line that needs no shell; raises NeedsShellError.

    `exec` in front is what shell scripts write to do without a further process: it is dropped.
    """
    words = _split(text)
    if words[:1] == ["exec"] and len(words) > 1:
        words = words[1:]
    if not words:
        raise _needs_shell("it has no words")
    if _SHELL_WORDS.fullmatch(words[0]):
        raise _needs_shell(f"{words[0]!r} is a command of the shell itself")
    if _ASSIGNMENT.match(words[0]):
        raise _needs_shell(f"{words[0]!r} sets a variable")
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
                raise _needs_shell(f"{character!r} means something to a shell")
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
            raise _needs_shell(f"{character!r} means something to a shell")
        else:
            word = (word or "") + character
    if quote:
        raise _needs_shell(f"a {quote} has no end")
    return words if word is None else [*words, word]


def _needs_shell(reason: str) -> NeedsShellError:
    return NeedsShellError(
        f"the image has no {SHELL} to run this with: {reason}",
        hint='use the JSON form, ["program", "argument"], or a base image with a shell',
    )
