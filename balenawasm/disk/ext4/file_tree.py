"""The writer's first step: from entries in any order to checked, numbered inodes.

Every rule about what may be written stands here. The order, and so the numbering, depends on the
paths alone: components compared as bytes, parents before children.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from balenawasm.disk.entry import Entry, directory
from balenawasm.disk.ext4.errors import ImageTooLargeError, InvalidEntryError, ascii_path
from balenawasm.disk.ext4.layout import (
    EARLIEST_SECOND,
    EXT4_GOOD_OLD_FIRST_INO,
    EXT4_LINK_MAX,
    EXT4_NAME_LEN,
    EXT4_ROOT_INO,
    FILETYPE_OF_MODE,
    LATEST_SECOND,
    NANOSECONDS,
    Filetype,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

PATH_MAX: Final = 4096
"""Bytes of the longest path: a longer one could not be opened."""
TARGET_MAX: Final = 4095
_OWNER_MAX: Final = 0xFFFFFFFE
_MAJOR_MAX: Final = 0xFFF
_MINOR_MAX: Final = 0xFFFFF
_INO_MAX: Final = 0xFFFFFFFF


@dataclass(slots=True, eq=False)
class FileNode:
    """An inode to be written. `children` of a directory are sorted by name."""

    entry: Entry
    ino: int
    parent_ino: int
    links: int
    children: list[tuple[bytes, FileNode]] = field(default_factory=list)

    @property
    def filetype(self) -> Filetype:
        """The inode's type in directory entries."""
        return FILETYPE_OF_MODE[stat.S_IFMT(self.entry.mode)]


def build_tree(entries: Iterable[Entry]) -> list[FileNode]:
    """Return inodes by rising number, the root first.

    A root is made when there is none (mode 0755, owner 0:0, time 0). InvalidEntryError for anything
    that cannot be written, a path that occurs twice and a parent that is missing or no directory.
    """
    ordered = sorted(entries, key=lambda entry: entry.path.split(b"/"))
    if not ordered or ordered[0].path != b"":
        ordered.insert(0, directory(b""))
    if not ordered[0].is_directory:
        raise InvalidEntryError(b"", "the root must be a directory")
    nodes = _number(ordered)
    root = nodes[b""]
    root.links = 2
    for entry in ordered[1:]:
        parent_path, _, name = entry.path.rpartition(b"/")
        parent = nodes.get(parent_path)
        if parent is None or not parent.entry.is_directory:
            problem = "there is no entry for" if parent is None else "a file stands in place of"
            raise InvalidEntryError(
                entry.path, f"{problem} its directory {ascii_path(parent_path)}"
            )
        node = _linked_node(entry, nodes)
        parent.children.append((name, node))
        if node.entry.is_directory:
            node.parent_ino = parent.ino
            node.links = 2
            parent.links += 1
        else:
            node.links += 1
            if node.links > EXT4_LINK_MAX:
                raise InvalidEntryError(entry.path, f"more than {EXT4_LINK_MAX} hard links")
    return list(nodes.values())


def _number(ordered: list[Entry]) -> dict[bytes, FileNode]:
    """Return the inodes by the path that owns them."""
    nodes: dict[bytes, FileNode] = {}
    previous: bytes | None = None
    ino = EXT4_GOOD_OLD_FIRST_INO
    for entry in ordered:
        check_entry(entry)
        if entry.path == previous:
            raise InvalidEntryError(entry.path, "there are two entries for it")
        previous = entry.path
        if entry.hardlink is not None:
            continue
        if entry.path:
            nodes[entry.path] = FileNode(entry, ino, 0, 0)
            ino += 1
        else:
            nodes[b""] = FileNode(entry, EXT4_ROOT_INO, EXT4_ROOT_INO, 0)
    if ino > _INO_MAX:
        raise ImageTooLargeError(f"{len(nodes)} files are too many for one ext4 image")
    return nodes


def _linked_node(entry: Entry, nodes: dict[bytes, FileNode]) -> FileNode:
    """Return the inode an entry names: its own, or for a hard link its target's."""
    if entry.hardlink is None:
        return nodes[entry.path]
    node = nodes.get(entry.hardlink)
    if node is None or node.entry.is_directory:
        raise InvalidEntryError(
            entry.path, f"no file can be linked to at {ascii_path(entry.hardlink)}"
        )
    return node


def check_entry(entry: Entry) -> None:
    """Raise InvalidEntryError when ext4, or a layer's rules for paths, cannot hold the entry."""
    _check_path(entry)
    if entry.hardlink is not None:
        return
    kind = stat.S_IFMT(entry.mode)
    if kind not in FILETYPE_OF_MODE or entry.mode != kind | stat.S_IMODE(entry.mode):
        raise InvalidEntryError(entry.path, f"{entry.mode:#o} is not the mode of a file")
    for what, owner in (("uid", entry.uid), ("gid", entry.gid)):
        if not 0 <= owner <= _OWNER_MAX:
            raise InvalidEntryError(entry.path, f"{what} {owner} is not a 32-bit number")
    if not EARLIEST_SECOND <= entry.mtime_ns // NANOSECONDS <= LATEST_SECOND:
        raise InvalidEntryError(
            entry.path, f"its time, {entry.mtime_ns} ns, is not between the years 1901 and 2446"
        )
    _check_content(entry, kind)


def _check_path(entry: Entry) -> None:
    path = entry.path
    if len(path) >= PATH_MAX:
        raise InvalidEntryError(path, f"paths have at most {PATH_MAX - 1} bytes")
    if b"\0" in path:
        raise InvalidEntryError(path, "it contains a zero byte")
    for name in path.split(b"/") if path else ():
        if name in (b"", b".", b".."):
            raise InvalidEntryError(path, "paths are relative, without empty, . or .. components")
        if len(name) > EXT4_NAME_LEN:
            raise InvalidEntryError(path, f"names have at most {EXT4_NAME_LEN} bytes")


def _check_content(entry: Entry, kind: int) -> None:
    if kind == stat.S_IFREG:
        if entry.size < 0 or (entry.size and entry.source is None):
            raise InvalidEntryError(entry.path, f"{entry.size} bytes without a source")
    elif entry.size or isinstance(entry.source, bytes | Path):
        raise InvalidEntryError(entry.path, "only regular files have content")
    if kind == stat.S_IFLNK:
        target = entry.target or b""
        if not 0 < len(target) <= TARGET_MAX or b"\0" in target:
            raise InvalidEntryError(
                entry.path, f"a link's target has 1 to {TARGET_MAX} bytes, none of them zero"
            )
    elif entry.target is not None:
        raise InvalidEntryError(entry.path, "only symbolic links have a target")
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        major, minor = entry.rdev
        if not (0 <= major <= _MAJOR_MAX and 0 <= minor <= _MINOR_MAX):
            raise InvalidEntryError(entry.path, f"{major}:{minor} is not a device number")
