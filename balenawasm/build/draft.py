"""A layer in the making: entries collected over the tree of the layers below.

What a layer must say beside the new files: every parent directory again, with the attributes it has
below, because a merged directory shows those of the highest layer. Entries are kept by path, so
that a later source replaces an earlier one, as when files are copied one after the other.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace

from balenawasm.build.filetree import FileTree, Source, SourceError, join, resolve, show
from balenawasm.disk.entry import Entry

_NANOSECONDS = 1_000_000_000


class DestinationError(SourceError):
    """Files cannot be put where COPY, ADD or WORKDIR wants them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What copied files get: `mode` None keeps theirs; no time is later than `latest` (seconds)."""

    mode: int | None = None
    uid: int = 0
    gid: int = 0
    latest: int | None = None


class LayerDraft:
    """The entries of one new layer on top of `below`."""

    def __init__(self, below: FileTree, attributes: Attributes | None = None) -> None:
        self._below = below
        self._attributes = attributes or Attributes()
        self._entries: dict[bytes, Entry] = {}

    @property
    def entries(self) -> list[Entry]:
        """Everything collected so far, parents before what is in them."""
        return [self._entries[path] for path in sorted(self._entries)]

    def make_directory(self, path: bytes) -> bool:
        """Make a directory and its parents; returns False when all of it was there already.

        Raises DestinationError when something else stands in the way.
        """
        real = resolve(self._below, path)
        existed = self._lookup(real) is not None
        self._require_directory(real)
        return not existed

    def check_directory(self, path: bytes) -> None:
        """Raise DestinationError unless a directory is at `path` already: a wildcard needs one."""
        existing = self._lookup(resolve(self._below, path))
        if existing is None or not existing.is_directory:
            raise DestinationError(
                f"several files match, and /{show(path.strip(b'/'))} is not a directory",
                hint="end the destination in a slash to make it one",
            )

    def place(self, source: Source, destination: bytes, *, into: bool) -> None:
        """Copy a source to `destination` (absolute), following links there.

        A directory's content goes into the destination. A file goes into it when it is a directory
        or `into` says that it is to be one, else it takes its name. Raises DestinationError,
        SourceError.
        """
        real = resolve(self._below, destination)
        if source.is_directory:
            if self._lookup(real) is None:
                self._require_directory(real.rpartition(b"/")[0])
                self._put(source, source.entries[0], real)
            else:
                self._require_directory(real)
            for entry in source.entries[1:]:
                self._put(source, entry, join(real, entry.path))
            return
        existing = self._lookup(real)
        if into or (existing is not None and existing.is_directory):
            self._require_directory(real)
            real = join(real, source.name)
        else:
            self._require_directory(real.rpartition(b"/")[0])
        self._put(source, source.entries[0], real)

    def _put(self, source: Source, entry: Entry, path: bytes) -> None:
        existing = self._lookup(path)
        if existing is not None and existing.is_directory != entry.is_directory:
            raise DestinationError(
                f"cannot put the {_kind(entry)} {show(join(source.path, entry.path))}"
                f" at /{show(path)}: there is a {_kind(existing)}",
                hint="choose another destination, or rename the source",
            )
        given = self._attributes
        permissions = stat.S_IMODE(entry.mode)
        if given.mode is not None and not stat.S_ISLNK(entry.mode):
            permissions = given.mode
        content = None
        if stat.S_ISREG(entry.mode):
            content = source.tree.content(join(source.path, entry.path))
        self._entries[path] = replace(
            entry,
            path=path,
            mode=stat.S_IFMT(entry.mode) | permissions,
            uid=given.uid,
            gid=given.gid,
            mtime_ns=self._time(entry),
            source=content,
        )

    def _require_directory(self, path: bytes) -> None:
        """See to it that a directory and its parents are in the layer, as they are or new."""
        parts = path.split(b"/") if path else []
        for length in range(len(parts) + 1):
            ancestor = b"/".join(parts[:length])
            existing = self._lookup(ancestor)
            if existing is None:
                given = self._attributes
                mode = stat.S_IFDIR | 0o755
                existing = Entry(path=ancestor, mode=mode, uid=given.uid, gid=given.gid)
            elif not existing.is_directory:
                raise DestinationError(
                    f"/{show(path)} cannot be a directory: /{show(ancestor)} is a {_kind(existing)}"
                )
            self._entries[ancestor] = existing

    def _lookup(self, path: bytes) -> Entry | None:
        return self._entries.get(path) or self._below.lookup(path)

    def _time(self, entry: Entry) -> int:
        """Return a file's time in whole seconds; that of directories and links means nothing: 0.

        Programs compare files' times (HTTP's If-Modified-Since), so those stay. The rest would only
        make the layer another one after a copy, a checkout or an editor's temporary file.
        """
        if not stat.S_ISREG(entry.mode):
            return 0
        seconds = entry.mtime_ns // _NANOSECONDS
        latest = self._attributes.latest
        return (seconds if latest is None else min(seconds, latest)) * _NANOSECONDS


def _kind(entry: Entry) -> str:
    if entry.is_directory:
        return "directory"
    return "symbolic link" if stat.S_ISLNK(entry.mode) else "file"
