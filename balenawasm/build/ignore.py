""".dockerignore: which files of a build context are not there for COPY and ADD.

Spec: Dockerfile reference, ".dockerignore file"; where it is silent, moby's patternmatcher: the
last pattern that matches a path or one of its parent directories decides, `!` takes back, patterns
are anchored at the context.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from balenawasm.build.patterns import compile_ignore_pattern, literal_start
from balenawasm.errors import BalenaWasmError

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence
    from pathlib import Path

IGNORE_FILE = ".dockerignore"
_MAXIMUM_BYTES = 1 << 20


class IgnoreFileError(BalenaWasmError):
    """A .dockerignore file cannot be read."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """One line. `literal` is the part before the first wildcard."""

    regex: re.Pattern[str]
    takes_back: bool
    literal: str


class IgnoreRules:
    """The rules of one file, in its order; `source` names the file in messages."""

    def __init__(self, lines: Sequence[str] = (), source: str = IGNORE_FILE) -> None:
        self.source = source
        self._rules = tuple(rule for line in lines if (rule := _parse(line)) is not None)
        self._hits: dict[str, tuple[bool, ...]] = {"": (False,) * len(self._rules)}

    def excludes(self, path: str) -> bool:
        """Tell whether the rules exclude `path` (relative, clean)."""
        if not self._rules or not path:
            return False
        excluded = False
        for rule, hit in zip(self._rules, self._hits_of(path), strict=True):
            if hit:
                excluded = not rule.takes_back
        return excluded

    def may_take_back_below(self, directory: str) -> bool:
        """Tell whether a `!` rule could match something below an excluded directory."""
        inside = directory + "/"
        return any(
            rule.literal.startswith(inside) or inside.startswith(rule.literal)
            for rule in self._rules
            if rule.takes_back
        )

    def _hits_of(self, path: str) -> tuple[bool, ...]:
        """Return for each rule whether it matches the path or a parent; parents are remembered."""
        known = self._hits.get(path)
        if known is not None:
            return known
        missing = [path]
        while (parent := posixpath.dirname(missing[-1])) not in self._hits:
            missing.append(parent)
        hits = self._hits[parent]
        for item in reversed(missing):
            hits = tuple(
                hit or rule.regex.fullmatch(item) is not None
                for hit, rule in zip(hits, self._rules, strict=True)
            )
            if item != path:
                self._hits[item] = hits
        return hits


def read_ignore_rules(context: Path, balenafile: Path) -> IgnoreRules:
    """Read `<Balenafile>.dockerignore` beside the Balenafile, else `.dockerignore` in the context.

    No file means no rules. Raises IgnoreFileError, PatternError.
    """
    for path in (balenafile.with_name(balenafile.name + IGNORE_FILE), context / IGNORE_FILE):
        try:
            with path.open("rb") as file:
                data = file.read(_MAXIMUM_BYTES + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise IgnoreFileError(f"cannot read {path}: {error.strerror}") from error
        if len(data) > _MAXIMUM_BYTES:
            raise IgnoreFileError(f"{path} is larger than {_MAXIMUM_BYTES >> 20} MiB")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise IgnoreFileError(f"{path} is not UTF-8 text") from None
        return IgnoreRules(text.split("\n"), path.name)
    return IgnoreRules()


def _parse(line: str) -> _Rule | None:
    if line.startswith("#"):
        return None
    pattern = line.strip()
    takes_back = pattern.startswith("!")
    if takes_back:
        pattern = pattern[1:].strip()
    if not pattern:
        return None
    # Anchored anyway; a leading slash changes nothing, and `..` cannot lead out.
    pattern = posixpath.normpath("/" + pattern).lstrip("/")
    return _Rule(compile_ignore_pattern(pattern), takes_back, literal_start(pattern))
