"""`ADD npm:NAME@VERSION#PATH`: files out of an npm package, checked against a pinned digest.

An extension of the Balenafile. `--checksum=sha512-BASE64` is npm's own integrity string: the
tarball's sha512 (Subresource Integrity), as package-lock.json has it. Tarballs are kept in the
downloads under that digest, `npm-sha512-<hex>.tgz`, and checked again when they are used. `PATH` is
relative to the package: its topmost folder in the tarball does not count, as for npm.

Limits: 100,000 files and 4 GiB in a package; symbolic links in it are left out, as npm does.
Locks: `lock` in the downloads, exclusive while something is fetched.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import posixpath
import re
import shutil
import stat
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from balenawasm.atomicfile import TEMPORARY_PREFIX, file_lock, pending_file
from balenawasm.build.filetree import SourceError
from balenawasm.build.leftovers import sweep
from balenawasm.build.npm_client import NpmError, find_npm
from balenawasm.disk.entry import Entry
from balenawasm.store.errors import from_oserror

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.build.reporter import Reporter

PREFIX = "npm:"

_SPECIFICATION = re.compile(
    r"npm:(?P<name>(?:@[a-z0-9~][a-z0-9._~-]*/)?[a-z0-9~][a-z0-9._~-]*)"
    r"@(?P<version>[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*)(?:#(?P<path>.+))?\Z"
)
_CHECKSUM = re.compile(r"sha512-([A-Za-z0-9+/]{86}==)\Z")
_MAXIMUM_FILES = 100_000
_MAXIMUM_SIZE = 4 << 30
_CHUNK = 1 << 20


class ChecksumError(NpmError):
    """A package is not the one that the Balenafile pins."""


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """A package in one version; `path` is the file or folder in it, "." for all of it."""

    name: str
    version: str
    path: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `npm:NAME@VERSION[#PATH]`; raises SourceError."""
        match = _SPECIFICATION.match(text)
        if match is None:
            raise SourceError(
                f"{text} is not an npm source",
                hint="write npm:NAME@1.2.3#PATH with an exact version;"
                " NAME may be scoped, as in @scope/name",
            )
        return cls(match["name"], match["version"], match["path"] or ".")


def parse_checksum(text: str) -> str:
    """Return the hexadecimal sha512 of `sha512-BASE64`; raises ChecksumError."""
    match = _CHECKSUM.match(text)
    try:
        return base64.b64decode(match[1] if match else "?", validate=True).hex()
    except binascii.Error:
        raise ChecksumError(
            f"{text!r} is not a checksum of npm",
            hint="write --checksum=sha512-… with the `integrity` that `npm view NAME@VERSION"
            " dist.integrity` prints",
        ) from None


def checksum_text(hex_digest: str) -> str:
    """Return npm's spelling of a sha512."""
    return "sha512-" + base64.b64encode(bytes.fromhex(hex_digest)).decode()


class NpmDownloads:
    """The tarballs in the downloads folder; `environment` is what npm runs with."""

    def __init__(self, folder: Path, environment: Mapping[str, str], reporter: Reporter) -> None:
        self._folder = folder
        self._environment = environment
        self._reporter = reporter

    def cached(self, hex_digest: str) -> Path | None:
        """Return the tarball when it is there and unchanged."""
        path = self._path(hex_digest)
        try:
            return path if _sha512(path) == hex_digest else None
        except OSError:
            return None

    def fetch(self, package: NpmPackage, expected: str | None) -> tuple[Path, str]:
        """Return the package's tarball and its sha512 in hexadecimal, downloading what is missing.

        With `expected` that is its sha512, or ChecksumError is raised. Raises NpmError, StoreError.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with file_lock(self._folder / "lock"):
                found = self.cached(expected) if expected else None
                if found is None:
                    return self._download(package, expected)
                return found, expected or ""
        except OSError as error:
            raise from_oserror(error, self._folder, "write") from error

    def _download(self, package: NpmPackage, expected: str | None) -> tuple[Path, str]:
        sweep(self._folder)
        self._reporter.begin_fetch(str(package))
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=self._folder) as temporary:
            npm = find_npm(self._environment, self._folder)
            tarball = npm.pack(str(package), Path(temporary))
            actual = _sha512(tarball)
            if expected is not None and actual != expected:
                raise ChecksumError(
                    f"{package} from npm has another checksum than the Balenafile says:"
                    f" {checksum_text(actual)}",
                    hint="find out why before you change the Balenafile: the package was replaced,"
                    " or the checksum belongs to another version",
                )
            with pending_file(self._folder) as pending, tarball.open("rb") as source:
                shutil.copyfileobj(source, pending.file, _CHUNK)
                pending.commit(self._path(actual))
        self._reporter.end_fetch(self._path(actual).stat().st_size)
        return self._path(actual), actual

    def _path(self, hex_digest: str) -> Path:
        return self._folder / f"npm-sha512-{hex_digest}.tgz"


class NpmTree:
    """The files of one package (a :class:`balenawasm.build.filetree.FileTree`).

    Unpacked into `scratch`, a private directory that outlives the tree. Permissions are 0755 for
    directories and programs and 0644 for the rest, as npm installs them. Raises NpmError.
    """

    is_root_file_system = False

    def __init__(self, package: NpmPackage, tarball: Path, scratch: Path) -> None:
        self.title = f"the npm package {package}"
        self._entries: dict[bytes, Entry] = {b"": Entry(path=b"", mode=stat.S_IFDIR | 0o755)}
        self._files: dict[bytes, Path] = {}
        try:
            with tarfile.open(tarball, "r:gz") as archive:
                self._unpack(archive, scratch)
        except (tarfile.TarError, EOFError) as error:
            raise NpmError(f"the tarball of {package} cannot be read: {error}") from error

    def lookup(self, path: bytes) -> Entry | None:
        """Return what is at `path`."""
        return self._entries.get(path)

    def names(self, path: bytes) -> list[bytes]:
        """Return the sorted names in a directory."""
        return sorted(
            name
            for parent, _, name in (entry.rpartition(b"/") for entry in self._entries)
            if parent == path and name
        )

    def content(self, path: bytes) -> Path:
        """Return the unpacked file."""
        return self._files[path]

    def why_missing(self, path: bytes) -> str | None:
        """Nothing is hidden here."""
        return None

    def _unpack(self, archive: tarfile.TarFile, scratch: Path) -> None:
        total = 0
        for member in archive:
            parts = [part for part in member.name.split("/")[1:] if part not in ("", ".")]
            if not member.isreg() or not parts or ".." in parts:
                continue
            total += member.size
            if total > _MAXIMUM_SIZE or len(self._files) >= _MAXIMUM_FILES:
                raise NpmError(f"{self.title} is too large")
            path = posixpath.join(*parts).encode(errors="surrogateescape")
            content = archive.extractfile(member)
            if content is None:
                continue
            target = scratch / f"npm-{len(self._files)}"
            with target.open("wb") as file:
                shutil.copyfileobj(content, file, _CHUNK)
            self._files[path] = target
            self._add(path, member)

    def _add(self, path: bytes, member: tarfile.TarInfo) -> None:
        parent = path.rpartition(b"/")[0]
        while parent and parent not in self._entries:
            self._entries[parent] = Entry(path=parent, mode=stat.S_IFDIR | 0o755)
            parent = parent.rpartition(b"/")[0]
        permissions = 0o755 if member.mode & 0o111 else 0o644
        self._entries[path] = Entry(
            path=path,
            mode=stat.S_IFREG | permissions,
            size=member.size,
            mtime_ns=int(member.mtime) * 1_000_000_000,
        )


def _sha512(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest()
