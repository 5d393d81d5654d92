"""The build context: the host directory that COPY and ADD take files from, less what is ignored.

Nothing outside of it is ever read: links are resolved by `balenawasm.build.filetree`, and files are
opened by their resolved path only. Owners, extended attributes and hard links of the host are not
kept; permission bits and modification times are.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from balenawasm.build.filetree import Source, SourceError, join, show
from balenawasm.build.ignore import IgnoreRules
from balenawasm.digest import Digest, sha256, sha256_file
from balenawasm.layer.tree import SpecialFileError, entry_of, names_in

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from balenawasm.disk.entry import Entry


class ContextError(SourceError):
    """The build context itself, or a file in it, cannot be read."""


class Context:
    """A build context (a :class:`balenawasm.build.filetree.FileTree`)."""

    is_root_file_system = False

    def __init__(
        self,
        directory: Path,
        rules: IgnoreRules | None = None,
        *,
        title: str = "the build context",
    ) -> None:
        """`title` is what messages call it."""
        self.title = title
        self._directory = directory
        self._rules = rules or IgnoreRules()
        self._visible: dict[bytes, bool] = {}

    def lookup(self, path: bytes) -> Entry | None:
        """Return what is at `path`; None also for what is ignored. Raises ContextError."""
        if path and not self._is_visible(path):
            return None
        return self._lstat(path)

    def names(self, path: bytes) -> list[bytes]:
        """Return the sorted names in a directory that are not ignored. Raises ContextError."""
        return [name for name in self._all_names(path) if self._is_visible(join(path, name))]

    def content(self, path: bytes) -> Path:
        """Return the host file."""
        return self._host(path)

    def why_missing(self, path: bytes) -> str | None:
        """Say so when the file is there but ignored."""
        if self._lstat(path) is None:
            return None
        return f"{show(path)} is there, but {self._rules.source} excludes it"

    def _host(self, path: bytes) -> Path:
        return self._directory / os.fsdecode(path) if path else self._directory

    def _lstat(self, path: bytes) -> Entry | None:
        host = self._host(path)
        try:
            return entry_of(host, path, host.lstat() if path else host.stat())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except SpecialFileError as error:
            hint = f"remove it, or name it in {self._rules.source}"
            raise ContextError(error.message, hint=hint) from error
        except OSError as error:
            raise ContextError(f"cannot read {host}: {error.strerror}") from error

    def _all_names(self, path: bytes) -> list[bytes]:
        try:
            return names_in(self._host(path))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise ContextError(f"cannot read {self._host(path)}: {error.strerror}") from error

    def _is_visible(self, path: bytes) -> bool:
        """Tell whether a path is not excluded, or is a directory with something that is not."""
        text = path.decode(errors="surrogateescape")
        if not self._rules.excludes(text):
            return True
        if not self._rules.may_take_back_below(text):
            return False
        known = self._visible.get(path)
        if known is None:
            known = self._visible[path] = self._has_visible(path)
        return known

    def _has_visible(self, directory: bytes) -> bool:
        pending = [directory]
        while pending:
            parent = pending.pop()
            for name in self._all_names(parent):
                child = join(parent, name)
                text = child.decode(errors="surrogateescape")
                if not self._rules.excludes(text):
                    return True
                host = self._host(child)
                if self._rules.may_take_back_below(text) and not host.is_symlink():
                    pending.append(child)
        return False


def content_digest(sources: Iterable[Source]) -> Digest:
    """Return a digest over names, types, permissions, contents and link targets; not times.

    Raises ContextError when a file cannot be read.
    """
    records: list[bytes] = []
    for source in sources:
        records += (b"source", source.name)
        for entry in source.entries:
            body = entry.target or b""
            if stat.S_ISREG(entry.mode):
                body = _file_digest(source, entry).encode()
            records += (entry.path, b"%o" % entry.mode, body)
    return sha256(b"".join(b"%d:%b" % (len(record), record) for record in records))


def check_unchanged(sources: Iterable[Source]) -> None:
    """Raise ContextError when a file's size or time is not what it was when it was selected."""
    for source in sources:
        for entry in source.entries:
            now = source.tree.lookup(join(source.path, entry.path))
            if stat.S_ISREG(entry.mode) and (
                now is None or (now.size, now.mtime_ns) != (entry.size, entry.mtime_ns)
            ):
                raise ContextError(
                    f"{show(join(source.path, entry.path))} changed while it was copied",
                    hint="build again when nothing writes to the build context",
                )


def _file_digest(source: Source, entry: Entry) -> Digest:
    content = source.tree.content(join(source.path, entry.path))
    if isinstance(content, bytes):
        return sha256(content)
    try:
        return sha256_file(content)
    except OSError as error:
        raise ContextError(f"cannot read {content}: {error.strerror}") from error
