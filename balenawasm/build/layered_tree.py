"""The file system of an image or a stage while it is built: its layers, merged, read only.

The merge is overlayfs's (Documentation/filesystems/overlayfs.rst): upper names hide lower ones,
directories merge unless the upper one is opaque, whiteouts remove.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from balenawasm.build.filetree import SourceError, show
from balenawasm.disk.entry import Entry
from balenawasm.layer.whiteout import is_opaque, is_whiteout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from balenawasm.disk.ext4.reader import Ext4Image, Inode

_INLINE_SIZE = 1 << 20
_OVERLAY_XATTRS = b"trusted.overlay."


@dataclass(frozen=True, slots=True)
class _Merged:
    """What one path is. For a directory `parts` are the inodes that merge, the highest first."""

    parts: tuple[tuple[Ext4Image, int], ...]

    @property
    def inode(self) -> Inode:
        image, ino = self.parts[0]
        return image.inode(ino)


class LayeredTree:
    """A merged view (a :class:`balenawasm.build.filetree.FileTree`)."""

    is_root_file_system = True

    def __init__(self, title: str, layers: Sequence[Ext4Image], scratch: Path) -> None:
        """`layers` has the lowest first; large files are copied to `scratch` to be read there."""
        self.title = title
        self._scratch = scratch
        root = _Merged(tuple((image, image.root_ino) for image in reversed(layers)))
        self._merged: dict[bytes, _Merged | None] = {b"": root}

    def lookup(self, path: bytes) -> Entry | None:
        """Return what is at `path`. An image without layers has an empty root directory."""
        merged = self._find(path)
        if merged is None:
            return None
        if not merged.parts:
            return Entry(path=path, mode=stat.S_IFDIR | 0o755)
        image, ino = merged.parts[0]
        inode = merged.inode
        xattrs = {
            name: value
            for name, value in image.xattrs(ino).items()
            if not name.startswith(_OVERLAY_XATTRS)
        }
        return Entry(
            path=path,
            mode=inode.mode,
            uid=inode.uid,
            gid=inode.gid,
            mtime_ns=inode.mtime_ns,
            size=inode.size if stat.S_ISREG(inode.mode) else 0,
            target=inode.target,
            rdev=inode.rdev,
            xattrs=xattrs,
        )

    def names(self, path: bytes) -> list[bytes]:
        """Return the sorted names in a directory, without the ones that are whited out."""
        merged = self._find(path)
        if merged is None or not self._is_directory(merged):
            return []
        found: set[bytes] = set()
        for image, ino in merged.parts:
            found.update(image.directory(ino))
        prefix = path + b"/" if path else b""
        return sorted(name for name in found if self._find(prefix + name) is not None)

    def content(self, path: bytes) -> bytes | Path:
        """Return a regular file's bytes, or a file in the scratch directory that has them."""
        merged = self._find(path)
        if merged is None:
            raise SourceError(f"{show(path)} is not in {self.title}")
        image, inode = merged.parts[0][0], merged.inode
        view = memoryview(image.buffer)
        if inode.size <= _INLINE_SIZE:
            return b"".join(
                bytes(length) if offset is None else view[offset : offset + length]
                for offset, length in inode.runs
            )
        extracted = self._scratch / f"{id(image):x}-{inode.ino}"
        if not extracted.exists():
            with extracted.open("wb") as file:
                for offset, length in inode.runs:
                    if offset is None:
                        file.seek(length, os.SEEK_CUR)
                    else:
                        file.write(view[offset : offset + length])
                file.truncate(inode.size)
        return extracted

    def why_missing(self, path: bytes) -> str | None:
        """Nothing is hidden here."""
        return None

    def _find(self, path: bytes) -> _Merged | None:
        if path in self._merged:
            return self._merged[path]
        parent_path, _, name = path.rpartition(b"/")
        pending = [(path, name)]
        while parent_path not in self._merged:
            path_above, _, name = parent_path.rpartition(b"/")
            pending.append((parent_path, name))
            parent_path = path_above
        merged = self._merged[parent_path]
        for child_path, child_name in reversed(pending):
            merged = None if merged is None else self._child(merged, child_name)
            self._merged[child_path] = merged
        return merged

    def _child(self, parent: _Merged, name: bytes) -> _Merged | None:
        if not self._is_directory(parent):
            return None
        parts: list[tuple[Ext4Image, int]] = []
        for image, ino in parent.parts:
            found = image.directory(ino).get(name)
            if found is None:
                continue
            inode = image.inode(found[0])
            if is_whiteout(inode.mode, inode.rdev):
                break
            is_directory = stat.S_ISDIR(inode.mode)
            if parts and not is_directory:
                break
            parts.append((image, found[0]))
            if not is_directory or is_opaque(image.xattrs(found[0])):
                break
        return _Merged(tuple(parts)) if parts else None

    @staticmethod
    def _is_directory(merged: _Merged) -> bool:
        return not merged.parts or stat.S_ISDIR(merged.inode.mode)
