"""Unified diffs: what fits is applied exactly, what does not is refused."""

import subprocess
from pathlib import Path

import pytest

from balenawasm.toolchain.patches import PatchError, apply_patch

OLD = "".join(f"line {n}\n" for n in range(1, 40))


def diff(folder: Path, before: dict[str, str], after: dict[str, str]) -> str:
    """What diff(1) says about two trees."""
    for side, files in (("a", before), ("b", after)):
        for name, text in files.items():
            path = folder / side / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    done = subprocess.run(
        ["diff", "-Nru", "a", "b"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    return done.stdout


def test_changes_additions_and_ends_without_a_newline(tmp_path: Path) -> None:
    new = OLD.replace("line 3\n", "line three\nand more\n").replace("line 30\n", "") + "end"
    before = {"dir/file.c": OLD, "other": "x"}
    after = {"dir/file.c": new, "other": "y\n"}
    text = diff(tmp_path, before, after)
    apply_patch(text, tmp_path / "a", "test")
    for name, content in after.items():
        assert (tmp_path / "a" / name).read_text() == content


def test_a_file_is_made_and_one_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "gone").write_text("old\n")
    made = "--- /dev/null\n+++ b/sub/new\n@@ -0,0 +1,2 @@\n+one\n+two\n"
    deleted = "--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n"
    apply_patch("Some words first.\n" + made + deleted, tmp_path, "test")
    assert (tmp_path / "sub/new").read_text() == "one\ntwo\n"
    assert not (tmp_path / "gone").exists()


def test_a_hunk_may_have_moved(tmp_path: Path) -> None:
    text = diff(tmp_path, {"f": OLD}, {"f": OLD.replace("line 20\n", "twenty\n")})
    (tmp_path / "a/f").write_text("new first line\n" * 7 + OLD)
    apply_patch(text, tmp_path / "a", "test")
    assert "twenty\n" in (tmp_path / "a/f").read_text()


@pytest.mark.parametrize(
    ("patch", "problem"),
    [
        ("--- a/f\n+++ b/f\n@@ -1 +1 @@\n-other\n+x\n", "hunk 1 does not fit a/f|b/f"),
        ("--- a/none\n+++ b/none\n@@ -1 +1 @@\n-a\n+b\n", "no file b/none"),
        ("--- a/f\n+++ b/f\n@@ -1,2 +1 @@\n-one\n", "no line of a unified diff"),
        ("--- a/f\n+++ b/f\n", "no hunks"),
        ("--- a/../f\n+++ b/../../f\n@@ -1 +1 @@\n-one\n+x\n", "does not name a file"),
        ("--- /etc/f\n+++ /etc/f\n@@ -1 +1 @@\n-one\n+x\n", "does not name a file"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, patch: str, problem: str) -> None:
    (tmp_path / "f").write_text("one\n")
    with pytest.raises(PatchError, match=problem):
        apply_patch(patch, tmp_path, "test")
    assert (tmp_path / "f").read_text() == "one\n"
