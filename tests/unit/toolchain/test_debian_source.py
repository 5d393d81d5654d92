"""Debian's source packages: by apt-get, or from a given folder; only what is pinned is taken."""

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from balenawasm.build.events import BuildEvent, FetchDone, FetchStarted
from balenawasm.build.reporter import Reporter
from balenawasm.toolchain.archives import UnsafeArchiveError
from balenawasm.toolchain.debian_source import (
    SOURCES_VARIABLE,
    DebianSource,
    SourcePackageError,
    fetch_source,
    unpack_source,
)

MUSL = DebianSource(
    "musl",
    "1.2.3-1",
    {
        "musl_1.2.3.orig.tar.gz": (
            "7d5b0b6062521e4627e099e4c9dc8248d32a30285e959b7eecaa780cf8cfd4a4"
        )
    },
)


def silent(_event: BuildEvent) -> None: ...


QUIET = Reporter("test", silent)


def archive(path: Path, members: list[tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, size: int = 1, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size = size
    for key, value in fields.items():
        setattr(made, key, value)
    return made


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get here")
def test_apt_fetches_once_without_touching_the_systems_lists(tmp_path: Path) -> None:
    events: list[BuildEvent] = []
    lists = {path.name: path.stat().st_mtime_ns for path in Path("/var/lib/apt/lists").iterdir()}
    environment = {key: value for key, value in os.environ.items() if key != SOURCES_VARIABLE}
    for _ in range(2):
        found = fetch_source(MUSL, tmp_path, environment, Reporter("test", events.append))
    assert [type(event) for event in events] == [FetchStarted, FetchDone]
    after = {path.name: path.stat().st_mtime_ns for path in Path("/var/lib/apt/lists").iterdir()}
    assert after == lists
    unpack_source(found["musl_1.2.3.orig.tar.gz"], tmp_path / "musl")
    assert (tmp_path / "musl/VERSION").read_text() == "1.2.3\n"
    assert os.access(tmp_path / "musl/configure", os.X_OK)


def test_a_given_folder_replaces_the_network(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "thing.tar.gz").write_bytes(b"content")
    digest = hashlib.sha256(b"content").hexdigest()
    environment = {SOURCES_VARIABLE: str(given)}
    source = DebianSource("thing", "1", {"thing.tar.gz": digest})
    assert fetch_source(source, tmp_path / "d", environment, QUIET) == {
        "thing.tar.gz": given / "thing.tar.gz"
    }
    (given / "thing.tar.gz").write_bytes(b"other")
    with pytest.raises(SourcePackageError, match="not the file that is pinned"):
        fetch_source(source, tmp_path / "d", environment, QUIET)


def test_without_apt_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourcePackageError, match="no apt-get") as caught:
        fetch_source(MUSL, tmp_path, {"PATH": str(tmp_path)}, QUIET)
    assert "musl_1.2.3.orig.tar.gz" in (caught.value.hint or "")
    assert SOURCES_VARIABLE in (caught.value.hint or "")


def test_sources_are_unpacked_with_their_modes_and_links(tmp_path: Path) -> None:
    made = archive(
        tmp_path / "good.tar.gz",
        [
            member("top/", 0, type=tarfile.DIRTYPE),
            member("top/run", 3, mode=0o755, mtime=1000),
            member("top/sub/text", 2, mode=0o4644),
            member("top/sub/link", 0, type=tarfile.SYMTYPE, linkname="../run"),
        ],
    )
    unpack_source(made, tmp_path / "out")
    assert (tmp_path / "out/run").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out/run").stat().st_mtime == 1000
    assert (tmp_path / "out/sub/text").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "out/sub/link").read_text() == "xxx"


@pytest.mark.parametrize(
    "bad",
    [
        member("../out"),
        member("top/../../out"),
        member("/etc/passwd"),
        member("top/link", 0, type=tarfile.SYMTYPE, linkname="/etc"),
        member("top/link", 0, type=tarfile.SYMTYPE, linkname="../.."),
        member("top/hard", 0, type=tarfile.LNKTYPE, linkname="top/other"),
        member("top/pipe", 0, type=tarfile.FIFOTYPE),
        member("top/device", 0, type=tarfile.CHRTYPE),
    ],
    ids=lambda bad: bad.name + bad.linkname,
)
def test_what_leads_out_or_is_no_file_is_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    made = archive(tmp_path / "bad.tar.gz", [member("top/a"), bad])
    with pytest.raises(UnsafeArchiveError):
        unpack_source(made, tmp_path / "deep/out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "deep/out/link").exists()


def test_a_damaged_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.tar.gz").write_bytes(b"\x1f\x8bnonsense")
    with pytest.raises(SourcePackageError, match="cannot be unpacked"):
        unpack_source(tmp_path / "bad.tar.gz", tmp_path / "out")
