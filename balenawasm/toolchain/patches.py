"""Applying unified diffs, for boards without patch(1).

Strict: every context line must be there as written. A hunk may have moved by some lines, as with
patch(1); fuzz is refused, for a patch that nearly fits may change something else. Paths lose their
first component (`-p1`) and may not lead out of the folder. New and deleted files (`/dev/null`)
work; renames, binary patches and modes are not read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from balenawasm.record import NamedTuple
from balenawasm.toolchain.artifacts import ToolchainError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_FARTHEST = 200
_NOWHERE = "/dev/null"
_NO_NEWLINE = "\\ No newline at end of file"


class PatchError(ToolchainError):
    """A patch is no unified diff, or does not fit the files."""


class _Hunk(NamedTuple):
    start: int
    old: list[str]
    new: list[str]


class _FilePatch(NamedTuple):
    old: str
    new: str
    hunks: list[_Hunk]


def apply_patch(text: str, folder: Path, name: str) -> None:
    """Apply a patch to the files in a folder; `name` is for messages. PatchError, OSError.

    When a file does not fit, those before it have been changed.
    """
    for patch in _parse(text, name):
        target = patch.old if patch.new == _NOWHERE else patch.new
        path = folder / _inside(target, name)
        lines: list[str] = []
        if patch.old != _NOWHERE:
            try:
                lines = _lines(path.read_text(encoding="utf-8", errors="surrogateescape"))
            except FileNotFoundError:
                raise PatchError(f"{name}: there is no file {target}") from None
        moved = 0
        for number, hunk in enumerate(patch.hunks, 1):
            place = _find(lines, hunk, moved)
            if place is None:
                raise PatchError(f"{name}: hunk {number} does not fit {target}")
            moved = place - (hunk.start - 1)
            lines[place : place + len(hunk.old)] = hunk.new
            moved += len(hunk.new) - len(hunk.old)
        if patch.new == _NOWHERE:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")


def _lines(text: str) -> list[str]:
    """Split at newlines only: sources may have form feeds."""
    return re.findall(r"[^\n]*\n|[^\n]+\Z", text)


def _find(lines: list[str], hunk: _Hunk, moved: int) -> int | None:
    """Return the place of a hunk, the nearest to where it says; None when it fits nowhere."""
    if not hunk.old:
        return 0 if not lines else min(hunk.start + moved, len(lines))
    expected = hunk.start - 1 + moved
    for distance in range(_FARTHEST):
        for place in {expected - distance, expected + distance}:
            if place >= 0 and lines[place : place + len(hunk.old)] == hunk.old:
                return place
    return None


def _parse(text: str, name: str) -> Iterator[_FilePatch]:
    lines = _lines(text)
    index = 0
    while index < len(lines):
        head = lines[index : index + 2]
        if len(head) < 2 or not (head[0].startswith("--- ") and head[1].startswith("+++ ")):
            index += 1
            continue
        hunks = []
        index += 2
        while index < len(lines) and (match := _HUNK.match(lines[index])):
            hunk, index = _read_hunk(lines, index + 1, match, name)
            hunks.append(hunk)
        if not hunks:
            raise PatchError(f"{name}: {head[1].strip()} has no hunks")
        yield _FilePatch(_path(head[0]), _path(head[1]), hunks)


def _read_hunk(lines: list[str], index: int, match: re.Match[str], name: str) -> tuple[_Hunk, int]:
    old_left, new_left = (1 if match[n] is None else int(match[n]) for n in (2, 4))
    old: list[str] = []
    new: list[str] = []
    while old_left or new_left:
        line = lines[index] if index < len(lines) else ""
        sign, rest = line[:1], line[1:]
        if line == "\n":  # an editor took the trailing blank away
            sign, rest = " ", line
        if sign not in (" ", "-", "+"):
            raise PatchError(f"{name}: line {index + 1} is no line of a unified diff")
        if sign != "+":
            old.append(rest)
            old_left -= 1
        if sign != "-":
            new.append(rest)
            new_left -= 1
        index += 1
        if index < len(lines) and lines[index].startswith(_NO_NEWLINE):
            for side in (old,) if sign == "-" else (new,) if sign == "+" else (old, new):
                side[-1] = side[-1].removesuffix("\n")
            index += 1
    return _Hunk(int(match[1]), old, new), index


def _path(header: str) -> str:
    return header[4:].split("\t", maxsplit=1)[0].strip()


def _inside(path: str, name: str) -> str:
    parts = path.split("/")[1:]
    if not parts or ".." in parts or path.startswith("/"):
        raise PatchError(f"{name}: {path} does not name a file as a/NAME")
    return "/".join(parts)
