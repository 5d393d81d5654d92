"""A writable upper directory of the host as a layer: what a container or a build step changed.

The directory holds what `vfs.filesystems.overlay` wrote there: new and copied-up files, and marker
files for what is gone (see `layer.whiteout`). In the layer a marker is a whiteout device or an
opaque directory. Hard links inside the upper directory stay hard links. The upper directory itself
is not part of the change: its times and mode are the host's, the root keeps those of below.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from balenawasm.disk.entry import directory
from balenawasm.layer.tree import UnreadableTreeError, entry_of, names_in
from balenawasm.layer.whiteout import OPAQUE_MARKER, hidden_name, is_reserved_name
from balenawasm.layer.whiteout_entries import opaque_entry, whiteout_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from balenawasm.disk.entry import Entry


def change_entries(
    upper: Path, *, owners: bool = False, omitted: Callable[[bytes, int], None] | None = None
) -> Iterator[Entry]:
    """Yield an upper directory's content, parents first, names sorted.

    `owners`: with the files' owners, in which whoever runs this is 0:0. `omitted` is told the path
    and mode of each pipe, socket or device, which no layer takes; without it they are a
    SpecialFileError. UnreadableTreeError when something cannot be read. A name that is there wins
    over a marker that hides it, as in the overlay itself.
    """
    first_paths: dict[tuple[int, int], bytes] = {}
    stack = [b""]
    while stack:
        path = stack.pop()
        host_path = upper / os.fsdecode(path)
        try:
            status = host_path.lstat()
            if omitted is not None and not _is_taken(status.st_mode):
                omitted(path, status.st_mode)
                continue
            entry = entry_of(host_path, path, status)
            if owners:
                entry = replace(entry, uid=_owner(status.st_uid), gid=_group(status.st_gid))
            names = names_in(host_path) if entry.is_directory else []
        except OSError as error:
            raise UnreadableTreeError(f"cannot read {host_path}: {error.strerror}") from error
        if entry.is_directory:
            inside = path + b"/" if path else b""
            opaque = OPAQUE_MARKER in names
            if opaque:
                yield opaque_entry(entry if path else directory(b""))
            elif path:
                yield entry
            yield from _whiteouts(inside, names)
            stack += [inside + name for name in reversed(names) if not is_reserved_name(name)]
        else:
            yield _linked(entry, status, first_paths)


def _is_taken(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _owner(uid: int) -> int:
    return 0 if uid == os.geteuid() else uid


def _group(gid: int) -> int:
    return 0 if gid == os.getegid() else gid


def _whiteouts(inside: bytes, names: list[bytes]) -> Iterator[Entry]:
    present = set(names)
    for name in names:
        hidden = hidden_name(name)
        if hidden is not None and hidden not in present:
            yield whiteout_entry(inside + hidden)


def _linked(
    entry: Entry, status: os.stat_result, first_paths: dict[tuple[int, int], bytes]
) -> Entry:
    """Return the entry, or a hard link to the path under which the same file came before."""
    if status.st_nlink < 2 or not stat.S_ISREG(status.st_mode):
        return entry
    first = first_paths.setdefault((status.st_dev, status.st_ino), entry.path)
    return entry if first == entry.path else replace(entry, hardlink=first)
