r"""Words of a Balenafile: splitting, quotes, escapes and variables.

Spec: Dockerfile reference, "Environment replacement"; where it is silent, BuildKit's behaviour.
Understood are `$name`, `${name}`, and `${name` with one of `:-` `-` `:+` `+` `:?` `?` and a word
`}`; the word may hold variables itself. Removing and replacing patterns (`#`, `##`, `%`, `%%`,
`/`, `//`) is refused as not supported yet.

Single quotes take everything as it is; in double quotes variables count, and the escape character
(backslash, or what the file's `escape` directive says) protects `"`, `$` and itself; outside
quotes it protects any character. An unset variable is an empty word.

Limits: variables nest at most 32 deep. Errors have no position: the caller knows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from balenawasm.errors import BalenaWasmError

_MAXIMUM_DEPTH = 32
_SPECIAL_PARAMETERS = "@*#?-$!0"
_PATTERN_OPERATORS = "#%/"


class WordError(BalenaWasmError):
    """A word has a quote or a variable that does not end, or a variable that must be set is not."""


class UnsupportedSubstitutionError(WordError):
    """A substitution that Docker knows and balenawasm does not yet."""


def split_words(text: str, escape: str) -> list[str]:
    """Split at white space outside quotes; quotes and escapes stay in the words.

    A quote without an end reaches to the end of the text; `process_word` refuses it later.
    """
    words: list[str] = []
    word: list[str] = []
    quote = ""
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if not quote and character.isspace():
            if word:
                words.append("".join(word))
                word = []
            continue
        if character == escape and quote != "'":
            if position == len(text):
                break
            word.append(character)
            character = text[position]
            position += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        word.append(character)
    if word:
        words.append("".join(word))
    return words


def process_word(word: str, variables: Mapping[str, str], escape: str) -> str:
    """Return `word` without its quotes and escapes, with its variables replaced; white space stays.

    Raises WordError; UnsupportedSubstitutionError for a substitution that is not supported yet.
    """
    return "".join(text for text, _ in _Reader(word, variables, escape).read_all())


def process_words(word: str, variables: Mapping[str, str], escape: str) -> list[str]:
    """Like :func:`process_word`, then split at white space without quotes (EXPOSE's rule)."""
    words: list[str] = []
    current: list[str] = []
    for text, is_quoted in _Reader(word, variables, escape).read_all():
        if is_quoted:
            current.append(text)
            continue
        for character in text:
            if not character.isspace():
                current.append(character)
            elif current:
                words.append("".join(current))
                current = []
    if current:
        words.append("".join(current))
    return [found for found in words if found]


def check_word(word: str, escape: str) -> None:
    """Raise what `process_word` would raise for the word's form, whatever the variables are."""
    process_word(word, _EveryVariable(), escape)


class _EveryVariable(Mapping[str, str]):
    """Every name is set, so that `${name:?message}` passes and only the form is checked."""

    def __getitem__(self, name: str) -> str:
        return "x"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _Reader:
    """One pass over one word; `position` is the next character."""

    def __init__(self, word: str, variables: Mapping[str, str], escape: str) -> None:
        self._text = word
        self._variables = variables
        self._escape = escape
        self._position = 0
        self._depth = 0

    def read_all(self) -> list[tuple[str, bool]]:
        """Read to the end: pieces of text, each with whether it was quoted or escaped."""
        return self._read_until("")

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _next(self) -> str:
        character = self._peek()
        self._position += 1
        return character

    def _read_until(self, stop: str) -> list[tuple[str, bool]]:
        pieces: list[tuple[str, bool]] = []
        while character := self._peek():
            if character == stop:
                self._next()
                return pieces
            if character == "$":
                pieces.append((self._read_variable(), False))
            elif character == "'":
                pieces.append((self._read_single_quoted(), True))
            elif character == '"':
                pieces.append((self._read_double_quoted(), True))
            elif character == self._escape:
                self._next()
                pieces.append((self._next(), True))
            else:
                pieces.append((self._next(), False))
        if stop:
            raise WordError("a '}' is missing", hint="a variable is written ${NAME}")
        return pieces

    def _read_single_quoted(self) -> str:
        end = self._text.find("'", self._position + 1)
        if end < 0:
            raise _unterminated("'")
        quoted = self._text[self._position + 1 : end]
        self._position = end + 1
        return quoted

    def _read_double_quoted(self) -> str:
        self._next()
        read: list[str] = []
        while character := self._peek():
            if character == "$":
                read.append(self._read_variable())
                continue
            self._next()
            if character == '"':
                return "".join(read)
            if character == self._escape and self._peek() in ('"', "$", self._escape):
                character = self._next()
            read.append(character)
        raise _unterminated('"')

    def _read_variable(self) -> str:
        self._next()
        if self._peek() != "{":
            name = self._read_name()
            return self._variables.get(name, "") if name else "$"
        self._next()
        name = self._read_name()
        if not name:
            raise WordError("a variable has no name", hint="write \\$ for a dollar sign")
        operator = self._next()
        if operator == "}":
            return self._variables.get(name, "")
        if operator == ":":
            operator += self._next()
        if operator[:1] and operator[:1] in _PATTERN_OPERATORS:
            raise UnsupportedSubstitutionError(
                f"${{{name}{operator}…}} is not supported yet",
                hint="write the value out, or pass it as a build argument",
            )
        if operator not in (":-", "-", ":+", "+", ":?", "?"):
            if not operator.strip(":"):
                raise WordError("a '}' is missing", hint="a variable is written ${NAME}")
            raise WordError(f"${{{name}{operator}…}} is not a substitution")
        return self._substitute(name, operator)

    def _substitute(self, name: str, operator: str) -> str:
        self._depth += 1
        if self._depth > _MAXIMUM_DEPTH:
            raise WordError(f"variables nest more than {_MAXIMUM_DEPTH} deep")
        word = "".join(text for text, _ in self._read_until("}"))
        self._depth -= 1
        value = self._variables.get(name)
        is_missing = value is None or (operator.startswith(":") and not value)
        match operator[-1]:
            case "+":
                return "" if is_missing else word
            case "?" if is_missing:
                reason = word or f"is not allowed to be {'unset' if value is None else 'empty'}"
                raise WordError(f"{name}: {reason}", hint=f"pass it: --build-arg {name}=VALUE")
            case "-" if is_missing:
                return word
        return value or ""

    def _read_name(self) -> str:
        """Read letters, digits and `_`; or only digits; or a special parameter of the shell."""
        start = self._position
        if (character := self._peek()).isdigit():
            while self._peek().isdigit():
                self._next()
        elif character and character in _SPECIAL_PARAMETERS:
            self._next()
        else:
            while (character := self._peek()).isalnum() or character == "_":
                self._next()
        return self._text[start : self._position]


def _unterminated(quote: str) -> WordError:
    return WordError(
        f"a {quote} has no end",
        hint='close it; paths with white space are written in the JSON form: ["a b", "c"]',
    )
