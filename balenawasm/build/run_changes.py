"""What a command of RUN changed, as the entries of a layer.

The overlay's upper directory holds more than what changed: each directory on the way to a change,
without the owner and the special mode bits that it has in the layers, which a directory of the
host cannot show. Those are put back here, and what is as it was is left out: a command that changed
nothing makes no layer, nor does one that tidied up behind itself.

Times are the builder's habit (docs/formats/image.md): those of regular files, in whole seconds and
not later than `latest`; 0 for directories and links.
"""

from __future__ import annotations

import filecmp
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.build.filetree import SourceError, show
from balenawasm.layer.changes import change_entries
from balenawasm.layer.tree import UnreadableTreeError
from balenawasm.layer.whiteout import is_opaque, is_whiteout

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.build.filetree import FileTree
    from balenawasm.disk.entry import Entry

_NANOSECONDS = 1_000_000_000
_SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


def run_changes(
    upper: Path, below: FileTree, latest: int | None, warn: Callable[[str], None]
) -> list[Entry] | None:
    """Return the changes in an upper directory over the layers `below`; None for no change.

    `warn` is told of named pipes, which no layer takes; sockets are nothing without who made them.
    Raises SourceError.
    """
    if not upper.is_dir():
        return None

    def omitted(path: bytes, mode: int) -> None:
        if not stat.S_ISSOCK(mode):
            warn(f"/{show(path)} is left out of the image: it is no file, directory or link")

    try:
        found = list(change_entries(upper, owners=True, omitted=omitted))
    except UnreadableTreeError as error:
        raise SourceError(error.message, hint=error.hint) from error
    return _Comparison(below, latest).changed(found)


class _Comparison:
    """The entries of one upper directory against what is below them."""

    def __init__(self, below: FileTree, latest: int | None) -> None:
        self._below = below
        self._latest = latest
        self._covered: set[bytes] = set()
        """Directories through which nothing of the layers shows."""

    def changed(self, found: list[Entry]) -> list[Entry] | None:
        """Return what changed, with the directories on the way; `found` has parents first."""
        linked = {entry.hardlink for entry in found if entry.hardlink is not None}
        entries: dict[bytes, Entry] = {}
        needed: set[bytes] = set()
        for raw in found:
            same = self._lookup(raw)
            entry = entries[raw.path] = self._normal(raw, same)
            if entry.path in linked or not self._is_same(entry, same):
                needed.update(_with_ancestors(entry.path))
        if not needed:
            return None
        root = self._below.lookup(b"")
        if b"" not in entries and root is not None:
            entries[b""] = root
        return [entry for path, entry in entries.items() if path in needed]

    def _lookup(self, entry: Entry) -> Entry | None:
        """What the layers have in an entry's place; None also for what is hidden from here on."""
        parent = entry.path.rpartition(b"/")[0]
        same = None
        if entry.path == b"" or parent not in self._covered:
            same = self._below.lookup(entry.path)
        opaque = is_opaque(entry.xattrs)
        if entry.is_directory and (opaque or same is None or not same.is_directory):
            self._covered.add(entry.path)
        return None if opaque else same

    def _normal(self, entry: Entry, same: Entry | None) -> Entry:
        """Return an entry with the times of a layer, and what it has of what was copied up."""
        if entry.hardlink is not None or is_whiteout(entry.mode, entry.rdev):
            return entry
        mtime_ns = 0
        if stat.S_ISREG(entry.mode):
            seconds = entry.mtime_ns // _NANOSECONDS
            if self._latest is not None:
                seconds = min(seconds, self._latest)
            mtime_ns = seconds * _NANOSECONDS
        entry = replace(entry, mtime_ns=mtime_ns)
        if same is None or stat.S_IFMT(same.mode) != stat.S_IFMT(entry.mode):
            return entry
        mode = entry.mode
        if mode == same.mode & ~_SPECIAL_BITS:
            mode = same.mode
        # A command that gives a file back to 0 cannot be told from one that did not touch it.
        return replace(entry, mode=mode, uid=entry.uid or same.uid, gid=entry.gid or same.gid)

    def _is_same(self, entry: Entry, same: Entry | None) -> bool:
        """Tell whether an entry says of its place what the layers below say already."""
        if same is None or entry.hardlink is not None:
            return False
        attributes = (entry.mode, entry.uid, entry.gid, entry.target, entry.rdev)
        if attributes != (same.mode, same.uid, same.gid, same.target, same.rdev):
            return False
        if entry.is_directory:
            return True
        if stat.S_ISREG(entry.mode):
            times = (entry.mtime_ns, entry.size) == (same.mtime_ns, same.size)
            return times and self._same_content(entry)
        return stat.S_ISLNK(entry.mode)

    def _same_content(self, entry: Entry) -> bool:
        content = self._below.content(entry.path)
        assert isinstance(entry.source, Path)  # noqa: S101 - it is a file of the upper directory
        if isinstance(content, bytes):
            return entry.source.read_bytes() == content
        return filecmp.cmp(content, entry.source, shallow=False)


def _with_ancestors(path: bytes) -> list[bytes]:
    """Return a path and all directories above it, the root included."""
    found = [path]
    while path:
        path = path.rpartition(b"/")[0]
        found.append(path)
    return found
