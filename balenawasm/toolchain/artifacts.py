"""Artifacts: what the toolchain makes from sources (LLVM unpacked, the C library, BusyBox), kept by
content.

    <root>/NAME-<first 32 hex digits of the digest>/   the files of one artifact
    <root>/NAME-<…>.lock                               held by who makes it; the others wait for it
    <root>/downloads/                                  packages, by their own digests

The digest is that of everything an artifact is made from: sources' checksums, our own files, flags,
and the digests of other artifacts. So an artifact never changes, and whoever has one may use it
without a lock. It is made in a `.tmp-` folder beside it and renamed when complete. The root may be
deleted at any time when nothing runs; what is missing is made again.

Lock order: an artifact's lock, then those of the artifacts that it is made from, then the
downloads' `lock`.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.atomicfile import TEMPORARY_PREFIX, file_lock, fsync_directory
from balenawasm.build.events import Progress, ignore_events
from balenawasm.build.reporter import Reporter
from balenawasm.digest import Digest, hex_of, sha256, sha256_file
from balenawasm.errors import BalenaWasmError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_DIGITS = 32


class ToolchainError(BalenaWasmError):
    """Something of the toolchain cannot be fetched or made."""


def artifact_folder(environment: Mapping[str, str]) -> Path:
    """Return where a user's artifacts are: in $XDG_CACHE_HOME, else in ~/.cache."""
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "balenawasm" / "artifacts"


class ArtifactCache:
    """One folder of artifacts. Many processes and threads may share it."""

    def __init__(self, root: Path, progress: Progress = ignore_events) -> None:
        self._root = root
        self._progress = progress

    @property
    def downloads(self) -> Path:
        """The folder for packages."""
        return self._root / "downloads"

    def find(self, name: str, digest: Digest) -> Path | None:
        """Return the artifact's folder when it has been made."""
        folder = self._folder(name, digest)
        return folder if folder.is_dir() else None

    def obtain(self, name: str, digest: Digest, make: Callable[[Path, Reporter], None]) -> Path:
        """Return the artifact's folder, filled by `make` if it is missing.

        `make` gets an empty folder, and a reporter that says what it does. What it raises leaves
        nothing behind. Raises ToolchainError when the folder cannot be written.
        """
        folder = self._folder(name, digest)
        if folder.is_dir():
            return folder
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with file_lock(folder.with_name(folder.name + ".lock")):
                if not folder.is_dir():
                    self._make(name, folder, make)
        except OSError as error:
            raise ToolchainError(
                f"cannot make {name} in {self._root}: {error.strerror or error}",
                hint="free some space there, or set XDG_CACHE_HOME to another folder",
            ) from error
        return folder

    def _make(self, name: str, folder: Path, make: Callable[[Path, Reporter], None]) -> None:
        prefix = f"{TEMPORARY_PREFIX}{folder.name}-"
        for leftover in self._root.glob(f"{prefix}*"):  # of makers that were killed
            shutil.rmtree(leftover, ignore_errors=True)
        reporter = Reporter(name, self._progress)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self._root) as temporary:
            made = Path(temporary, "made")
            made.mkdir()
            reporter.begin_work(f"making {name}")
            make(made, reporter)
            reporter.end_work()
            # One call for thousands of files; the name must not outlive their content in a power
            # cut.
            os.sync()
            made.rename(folder)
            fsync_directory(self._root)

    def _folder(self, name: str, digest: Digest) -> Path:
        return self._root / f"{name}-{hex_of(digest)[:_DIGITS]}"


def digest_of(*parts: str | Path) -> Digest:
    """Return a digest of all these: texts, and files or folders with their names, permissions to
    execute and contents. Byte code does not count.
    """
    records: list[bytes] = []
    for part in parts:
        if isinstance(part, str):
            records += (b"text", part.encode())
        else:
            records += (b"files", *_records(part))
    return sha256(b"".join(b"%d:%b" % (len(record), record) for record in records))


def _records(top: Path) -> Iterator[bytes]:
    for path in _files(top):
        status = path.lstat()
        yield os.fsencode(path.relative_to(top))
        if stat.S_ISLNK(status.st_mode):
            yield b"link"
            yield os.fsencode(path.readlink())
        else:
            yield b"%o" % (status.st_mode & 0o111)
            yield sha256_file(path).encode()


def _files(top: Path) -> list[Path]:
    """Return the files at or below a path, in order."""
    if not top.is_dir():
        return [top]
    found = [
        Path(folder, name) for folder, *names in os.walk(top) for name in (*names[0], *names[1])
    ]
    kept = (path for path in found if path.is_symlink() or not path.is_dir())
    return sorted(path for path in kept if path.parent.name != "__pycache__")
