"""Debian source packages: fetched with apt-get by name and version, checked against pinned digests.

apt-get runs with a private configuration: lists, caches and sources in a temporary folder. The
sources are those that the system's apt is configured with, `deb` lines read as `deb-src`; no host
is named here and the system's configuration is not touched. What apt downloads is kept by name and
version in the downloads.

Where there is no apt, or the version has left the archive: put the files into a folder and name
that in BALENAWASM_SOURCES. They are checked against the same digests.

Locks: `debian.lock` in the downloads, exclusive while something is fetched.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.atomicfile import TEMPORARY_PREFIX, file_lock
from balenawasm.build.package_client import run_client
from balenawasm.digest import hex_of, sha256_file
from balenawasm.record import NamedTuple
from balenawasm.toolchain.archives import unpack_tar
from balenawasm.toolchain.artifacts import ToolchainError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from balenawasm.build.reporter import Reporter

SOURCES_VARIABLE = "BALENAWASM_SOURCES"
_APT_SECONDS = 600
_SHOWN_LINES = 8
_ONE_LINE = re.compile(r"^(\s*)deb(\s)", re.MULTILINE)
_TYPES = re.compile(r"^Types:.*$", re.MULTILINE | re.IGNORECASE)
_SOURCE_FILES = (".list", ".sources")


class SourcePackageError(ToolchainError):
    """A source package cannot be had, or is not the one that is pinned."""


class DebianSource(NamedTuple):
    """A source package in one version. `files` are those that are used: name → sha256 in hex."""

    name: str
    version: str
    files: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def fetch_source(
    source: DebianSource, downloads: Path, environment: Mapping[str, str], reporter: Reporter
) -> dict[str, Path]:
    """Return the package's files by name, downloaded if they are missing.

    `environment` is what apt-get runs with, and may have BALENAWASM_SOURCES. SourcePackageError.
    """
    given = environment.get(SOURCES_VARIABLE)
    if given:
        found = _complete(source, Path(given))
        if found is not None:
            return found
    kept = downloads / f"debian-{source.name}-{source.version.replace(':', '%3a')}"
    downloads.mkdir(parents=True, exist_ok=True)
    with file_lock(downloads / "debian.lock"):
        found = _complete(source, kept)
        if found is None:
            reporter.begin_fetch(str(source))
            with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=downloads) as temporary:
                fresh = Path(temporary)
                _download(source, fresh, environment)
                found = _keep(source, fresh, kept)
            reporter.end_fetch(sum(path.stat().st_size for path in found.values()))
    return found


def unpack_source(archive: Path, target: Path) -> None:
    """Unpack an upstream tarball without its topmost folder. SourcePackageError, OSError."""
    try:
        with tarfile.open(archive) as tar:
            unpack_tar(tar, target, strip=1)
    except (tarfile.TarError, EOFError) as error:
        raise SourcePackageError(f"{archive} cannot be unpacked: {error}") from error


def _complete(source: DebianSource, folder: Path) -> dict[str, Path] | None:
    """Return the files when all are in the folder; SourcePackageError when one is another."""
    found = {name: folder / name for name in source.files}
    if not all(path.is_file() for path in found.values()):
        return None
    _check(source, found)
    return found


def _check(source: DebianSource, found: Mapping[str, Path]) -> None:
    for name, path in found.items():
        actual = hex_of(sha256_file(path))
        if actual != source.files[name]:
            raise SourcePackageError(
                f"{path} of {source} is not the file that is pinned: its sha256 is {actual}",
                hint="remove the file, so that it is fetched again; if that does not help, it was"
                " replaced in the archive, and somebody should find out why",
            )


def _keep(source: DebianSource, fresh: Path, kept: Path) -> dict[str, Path]:
    found = {name: fresh / name for name in source.files}
    missing = sorted(name for name, path in found.items() if not path.is_file())
    if missing:
        raise SourcePackageError(f"{source} from Debian has no {', '.join(missing)}")
    _check(source, found)
    kept.mkdir(exist_ok=True)
    for name, path in found.items():
        path.replace(kept / name)
    return {name: kept / name for name in source.files}


def _download(source: DebianSource, folder: Path, environment: Mapping[str, str]) -> None:
    path = environment.get("PATH", "")
    apt_get, apt_config = (shutil.which(name, path=path) for name in ("apt-get", "apt-config"))
    if apt_get is None or apt_config is None:
        raise SourcePackageError(
            f"{source} is needed, and there is no apt-get to fetch it with",
            hint=f"put {' and '.join(source.files)} into a folder"
            f" and set {SOURCES_VARIABLE} to that",
        )
    settings = _configure(folder / "apt", _configured_sources(apt_config, environment))
    apt = {**environment, "APT_CONFIG": str(settings), "LC_ALL": "C"}
    # One source of many that cannot be reached is no reason to stop; what is missing shows below.
    update = _run([apt_get, "update"], folder, apt)
    words = ["source", "--download-only", "--only-source", f"{source.name}={source.version}"]
    done = _run([apt_get, *words], folder, apt)
    if done.returncode != 0:
        reason = _reason(done) or _reason(update)
        raise SourcePackageError(
            f"cannot fetch {source} with apt-get: {reason}",
            hint="check the network and the system's apt sources; or put"
            f" {' and '.join(source.files)} into a folder and set {SOURCES_VARIABLE} to that",
        )


def _configured_sources(apt_config: str, environment: Mapping[str, str]) -> list[Path]:
    """Return the files that name the system's package sources."""
    words = ["shell", "FILE", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"]
    done = _run([apt_config, *words], Path("/"), environment)
    named = dict(re.findall(r"^(FILE|PARTS)='(.*)'$", done.stdout, re.MULTILINE))
    found = [Path(named["FILE"])] if "FILE" in named else []
    if "PARTS" in named and Path(named["PARTS"]).is_dir():
        found += sorted(p for p in Path(named["PARTS"]).iterdir() if p.suffix in _SOURCE_FILES)
    return [path for path in found if path.is_file()]


def _configure(folder: Path, sources: Sequence[Path]) -> Path:
    """Write a private configuration; returns its file."""
    for name in ("parts", "lists/partial", "cache/archives/partial"):
        folder.joinpath(name).mkdir(parents=True)
    for number, path in enumerate(sources):
        text = path.read_text(encoding="utf-8", errors="replace")
        deb822 = path.suffix == ".sources"
        text = _TYPES.sub("Types: deb-src", text) if deb822 else _ONE_LINE.sub(r"\1deb-src\2", text)
        folder.joinpath("parts", f"{number}{path.suffix}").write_text(text, encoding="utf-8")
    settings = folder / "apt.conf"
    settings.write_text(
        f'Dir::Etc::sourcelist "/dev/null";\n'
        f'Dir::Etc::sourceparts "{folder / "parts"}";\n'
        f'Dir::State::lists "{folder / "lists"}";\n'
        f'Dir::Cache "{folder / "cache"}";\n'
        # As root apt would fetch as a user who cannot write here.
        f'APT::Sandbox::User "";\n'
        f'Acquire::Languages "none";\n'
        f'Acquire::Retries "2";\n',
        encoding="utf-8",
    )
    return settings


def _run(
    words: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    try:
        return run_client(words, environment, folder=folder, seconds=_APT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourcePackageError(f"{os.path.basename(words[0])} does not work: {error}") from error  # noqa: PTH119


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "Err"))]
    return "\n".join((lines or done.stderr.splitlines())[:_SHOWN_LINES])
