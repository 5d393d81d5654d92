"""One name in a file tree that is to be written to a disk image: the input of `disk`'s writers.

Paths are bytes, relative, with `/` between components; `b""` is the root directory. An Entry
describes and does not check: a writer refuses what its format cannot hold, naming the path.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file, directory, symbolic link, device or further hard link.

    `mode` is a whole `st_mode`: type and permission bits. A regular file's content is `source`,
    bytes or a host file of exactly `size` bytes; for bytes, `size` is set from them. `hardlink`
    names another entry of the same image, which carries all attributes: of the link itself only
    `path` counts. `xattrs` have full names (`b"trusted.overlay.opaque"`).
    """

    path: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    source: bytes | Path | None = None
    target: bytes | None = None
    rdev: tuple[int, int] = (0, 0)
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)
    hardlink: bytes | None = None

    def __post_init__(self) -> None:
        if isinstance(self.source, bytes):
            object.__setattr__(self, "size", len(self.source))

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory; a hard link never is."""
        return stat.S_ISDIR(self.mode) and self.hardlink is None


def directory(path: bytes, *, permissions: int = 0o755, mtime_ns: int = 0) -> Entry:
    """Return a directory owned by 0:0."""
    return Entry(path=path, mode=stat.S_IFDIR | permissions, mtime_ns=mtime_ns)


def regular_file(
    path: bytes, content: bytes, *, permissions: int = 0o644, mtime_ns: int = 0
) -> Entry:
    """Return a regular file owned by 0:0 with this content."""
    return Entry(path=path, mode=stat.S_IFREG | permissions, mtime_ns=mtime_ns, source=content)


def symbolic_link(path: bytes, target: bytes, *, mtime_ns: int = 0) -> Entry:
    """Return a symbolic link owned by 0:0."""
    return Entry(path=path, mode=stat.S_IFLNK | 0o777, mtime_ns=mtime_ns, target=target)
