"""Files of the host as entries of a layer: what COPY does, and the directories that entries need.

Permissions, times of modification and symbolic links are kept. Owners become 0:0, for whoever
builds must not matter; other times, extended attributes and hard links are dropped, for copying a
build context drops them too. Names are sorted as bytes: equal trees give equal entries.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from balenawasm.disk.entry import Entry, directory
from balenawasm.errors import BalenaWasmError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class SpecialFileError(BalenaWasmError):
    """A file of the host is neither regular, nor a directory, nor a symbolic link."""


class UnreadableTreeError(BalenaWasmError):
    """A file or directory of the host is missing or cannot be read."""


def file_entry(host_path: Path, path: bytes) -> Entry:
    """Return one file, directory or link of the host, not followed, as an entry called `path`.

    SpecialFileError when it is a pipe, socket or device, UnreadableTreeError when it is not there.
    """
    try:
        status = host_path.lstat()
        return entry_of(host_path, path, status)
    except OSError as error:
        raise UnreadableTreeError(f"cannot read {host_path}: {error.strerror}") from error


def tree_entries(
    host_dir: Path, prefix: bytes = b"", *, skip: Callable[[bytes], bool] | None = None
) -> Iterator[Entry]:
    """Yield everything inside a host directory as entries below `prefix`, parents first, sorted.

    The directory itself is not among them: `with_parents` makes `prefix`. `skip` is asked with each
    path relative to `host_dir`; what it wants skipped is left out, for a directory with all
    inside. Raises as `file_entry` does.
    """
    inside = prefix + b"/" if prefix else b""
    stack = _paths(host_dir, b"", skip)
    while stack:
        relative = stack.pop()
        host_path = host_dir / os.fsdecode(relative)
        entry = file_entry(host_path, inside + relative)
        yield entry
        if entry.is_directory:
            stack += _paths(host_path, relative + b"/", skip)


def with_parents(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the entries and, before the first that needs it, each parent directory they lack.

    Such a directory has mode 0755, owner 0:0 and time 0. As an entry may follow those inside it,
    all are read first.
    """
    listed = list(entries)
    present = {entry.path for entry in listed}
    for entry in listed:
        missing = []
        parent = entry.path
        while parent:
            parent = parent.rpartition(b"/")[0]
            if parent in present:
                break
            present.add(parent)
            missing.append(parent)
        yield from map(directory, reversed(missing))
        yield entry


def entry_of(host_path: Path, path: bytes, status: os.stat_result) -> Entry:
    """Return a host file with this status as the entry `path`; OSError for a link now gone."""
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG:
        return Entry(
            path=path,
            mode=status.st_mode,
            mtime_ns=status.st_mtime_ns,
            size=status.st_size,
            source=host_path,
        )
    if kind == stat.S_IFDIR:
        return Entry(path=path, mode=status.st_mode, mtime_ns=status.st_mtime_ns)
    if kind == stat.S_IFLNK:
        # Path.readlink would tidy the text: `./a/` is to stay `./a/`.
        target = os.readlink(os.fsencode(host_path))  # noqa: PTH115
        return Entry(
            path=path,
            mode=stat.S_IFLNK | 0o777,
            mtime_ns=status.st_mtime_ns,
            target=target,
        )
    raise SpecialFileError(
        f"{host_path} is {_KINDS.get(kind, 'no regular file')}, which a layer does not take",
        hint="remove it or list it in .dockerignore",
    )


def names_in(host_dir: Path) -> list[bytes]:
    """Return the names in a host directory, sorted as bytes; OSError when it cannot be read."""
    with os.scandir(os.fsencode(host_dir)) as found:
        return sorted(item.name for item in found)


def _paths(host_dir: Path, inside: bytes, skip: Callable[[bytes], bool] | None) -> list[bytes]:
    """Return the paths inside a directory that are not skipped, last name first."""
    try:
        names = names_in(host_dir)
    except OSError as error:
        raise UnreadableTreeError(f"cannot list {host_dir}: {error.strerror}") from error
    paths = [inside + name for name in reversed(names)]
    return paths if skip is None else [path for path in paths if not skip(path)]
