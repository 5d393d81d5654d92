"""Unpacking tar archives of sources without letting them reach outside of the target folder.

Python 3.11's early releases have no extraction filters, so the rules are here: regular files,
directories and links that stay inside; the rest, and a name that leads out, is an error. Owners are
not kept; permissions are 0755 for directories and programs, 0644 for other files. Times are kept,
for make(1) compares them.
"""

from __future__ import annotations

import os
import posixpath
import shutil
from typing import TYPE_CHECKING

from balenawasm.toolchain.artifacts import ToolchainError

if TYPE_CHECKING:
    import tarfile
    from pathlib import Path

_MAXIMUM_FILES = 100_000
_MAXIMUM_SIZE = 2 << 30
_CHUNK = 1 << 20


class UnsafeArchiveError(ToolchainError):
    """An archive has something that sources do not need and attackers do."""


def unpack_tar(archive: tarfile.TarFile, target: Path, *, strip: int = 0) -> None:
    """Unpack into a folder, which is made; `strip` leaves out so many leading directories.

    Raises UnsafeArchiveError, tarfile.TarError, OSError.
    """
    target.mkdir(parents=True, exist_ok=True)
    links: list[tuple[Path, str]] = []
    count = size = 0
    for member in archive:
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if ".." in parts or member.name.startswith("/"):
            raise _unsafe(archive, member.name)
        if len(parts) <= strip or member.isdir():
            target.joinpath(*parts[strip:]).mkdir(parents=True, exist_ok=True)
            continue
        count, size = count + 1, size + member.size
        if count > _MAXIMUM_FILES or size > _MAXIMUM_SIZE:
            raise UnsafeArchiveError(f"the archive {archive.name!s} is too large")
        path = target.joinpath(*parts[strip:])
        path.parent.mkdir(parents=True, exist_ok=True)
        if member.issym():
            inside = posixpath.normpath(posixpath.join("/".join(parts[:-1]), member.linkname))
            if member.linkname.startswith("/") or inside.split("/")[0] == "..":
                raise _unsafe(archive, member.name)
            links.append((path, member.linkname))
        elif member.isreg():
            _write(archive, member, path)
        else:
            raise _unsafe(archive, member.name)
    # Links come last: until then every directory on the way to a file is one that we made.
    for path, linkname in links:
        path.unlink(missing_ok=True)
        path.symlink_to(linkname)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = archive.extractfile(member)
    if content is None:
        raise _unsafe(archive, member.name)
    with path.open("wb") as file:
        shutil.copyfileobj(content, file, _CHUNK)
    path.chmod(0o755 if member.mode & 0o111 else 0o644)
    os.utime(path, (member.mtime, member.mtime))


def _unsafe(archive: tarfile.TarFile, name: str) -> UnsafeArchiveError:
    return UnsafeArchiveError(
        f"the archive {archive.name!s} has {name!r}, which is no file or link inside of it"
    )
