"""`--chown=USER[:GROUP]`: numbers as they are, names from the image's /etc/passwd and /etc/group.

Guests see owners as metadata only; they give no rights. Without a group, the group's number is the
user's (Dockerfile reference, "COPY --chown").
"""

from __future__ import annotations

import stat
from pathlib import Path

from balenawasm.build.errors import InstructionError
from balenawasm.build.filetree import FileTree, resolve

_MAXIMUM_ID = (1 << 32) - 2
_MAXIMUM_BYTES = 1 << 20


class OwnerError(InstructionError):
    """A user or group of `--chown` is not known."""


def resolve_owner(text: str | None, tree: FileTree) -> tuple[int, int]:
    """Return (uid, gid) for `--chown`; 0:0 without it. Raises OwnerError."""
    if not text:
        return 0, 0
    user, colon, group = text.partition(":")
    uid = _number(user or "0", tree, b"etc/passwd", "user")
    return uid, _number(group, tree, b"etc/group", "group") if colon and group else uid


def _number(name: str, tree: FileTree, database: bytes, kind: str) -> int:
    if name.isascii() and name.isdigit() and int(name) <= _MAXIMUM_ID:
        return int(name)
    for line in _read(tree, database).split("\n"):
        fields = line.split(":")
        if fields[0] == name and len(fields) > 2 and fields[2].isdecimal():
            return min(int(fields[2]), _MAXIMUM_ID)
    if name == "root":
        return 0
    raise OwnerError(
        f"--chown: the image's /{database.decode()} has no {kind} {name!r}",
        hint=f"use the {kind}'s number",
    )


def _read(tree: FileTree, path: bytes) -> str:
    real = resolve(tree, path)
    entry = tree.lookup(real)
    if entry is None or not stat.S_ISREG(entry.mode) or entry.size > _MAXIMUM_BYTES:
        return ""
    content = tree.content(real)
    data = content.read_bytes() if isinstance(content, Path) else content
    return data.decode(errors="replace")
