"""Artifacts are made once, whole or not at all; their digest is that of their inputs."""

import threading
from pathlib import Path

import pytest

from balenawasm.build.events import BuildEvent, WorkAdvanced, WorkDone, WorkStarted
from balenawasm.build.reporter import Reporter
from balenawasm.toolchain.artifacts import (
    ArtifactCache,
    ToolchainError,
    artifact_folder,
    digest_of,
)

DIGEST = digest_of("inputs")


def test_an_artifact_is_made_once_by_whoever_comes_first(tmp_path: Path) -> None:
    made: list[Path] = []
    begun = threading.Barrier(4)
    found: list[Path] = []

    def make(folder: Path, _reporter: Reporter) -> None:
        made.append(folder)
        (folder / "file").write_text("content")

    def ask() -> None:
        begun.wait()
        found.append(ArtifactCache(tmp_path / "new").obtain("thing", DIGEST, make))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(set(found)) == 1
    assert (found[0] / "file").read_text() == "content"


def test_what_fails_leaves_nothing_and_is_tried_again(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path)

    def fail(folder: Path, _reporter: Reporter) -> None:
        (folder / "half").write_text("")
        raise ToolchainError("no")

    with pytest.raises(ToolchainError, match="no"):
        cache.obtain("thing", DIGEST, fail)
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    assert cache.find("thing", DIGEST) is None
    folder = cache.obtain("thing", DIGEST, lambda folder, _: (folder / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]
    assert cache.find("thing", DIGEST) == folder


def test_leftovers_of_a_killed_maker_are_removed(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path)
    name = f"thing-{DIGEST.partition(':')[2][:32]}"
    leftover = tmp_path / f".tmp-{name}-dead" / "made"
    leftover.mkdir(parents=True)
    cache.obtain("thing", DIGEST, lambda folder, _: (folder / "whole").touch())
    assert not leftover.parent.exists()


def test_progress_is_told(tmp_path: Path) -> None:
    events: list[BuildEvent] = []

    def make(_folder: Path, reporter: Reporter) -> None:
        reporter.advance_work(3, 7)

    ArtifactCache(tmp_path, events.append).obtain("thing", DIGEST, make)
    assert [type(event) for event in events] == [WorkStarted, WorkAdvanced, WorkDone]
    assert events[1] == WorkAdvanced(image="thing", what="making thing", done=3, total=7)


def test_a_folder_that_cannot_be_written_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ToolchainError, match="cannot make thing") as caught:
        ArtifactCache(tmp_path / "file").obtain("thing", DIGEST, lambda _folder, _: None)
    assert "XDG_CACHE_HOME" in (caught.value.hint or "")


def test_the_digest_is_that_of_names_modes_and_contents(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/file").write_text("1")
    digests = [digest_of("flag", tree)]
    (tree / "sub/file").write_text("2")
    digests.append(digest_of("flag", tree))
    (tree / "sub/file").chmod(0o755)
    digests.append(digest_of("flag", tree))
    (tree / "sub/file").rename(tree / "sub/other")
    digests.append(digest_of("flag", tree))
    (tree / "link").symlink_to("sub")
    digests.append(digest_of("flag", tree))
    digests += [digest_of("fla", "g", tree), digest_of("flag", tree / "sub")]
    assert len(set(digests)) == len(digests)
    (tree / "__pycache__").mkdir()
    (tree / "__pycache__/x.pyc").touch()
    assert digest_of("flag", tree) == digests[4]


def test_the_cache_follows_the_environment(tmp_path: Path) -> None:
    named = artifact_folder({"XDG_CACHE_HOME": str(tmp_path)})
    assert named == tmp_path / "balenawasm" / "artifacts"
    assert artifact_folder({}) == Path.home() / ".cache" / "balenawasm" / "artifacts"
