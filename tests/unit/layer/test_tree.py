from __future__ import annotations

import os
import shutil
import socket
import stat

import pytest
from ext4_examples import write

from balenawasm.disk.entry import directory, regular_file
from balenawasm.layer.tree import (
    SpecialFileError,
    UnreadableTreeError,
    file_entry,
    tree_entries,
    with_parents,
)


@pytest.fixture
def host(tmp_path):
    top = tmp_path / "host"
    (top / "b" / "deep").mkdir(parents=True)
    (top / "b" / "deep" / "file").write_bytes(b"content")
    (top / "b" / "deep" / "file").chmod(0o4711)
    (top / "a.link").symlink_to("b/deep/file")
    (top / "dangling").symlink_to("/no/where")
    (top / "b.txt").write_bytes(b"")
    with open(os.fsencode(top) + b"/\xff", "wb") as out:
        out.write(b"odd name")
    os.utime(top / "b" / "deep" / "file", ns=(1, -1_500_000_001))
    return top


def test_order_and_prefix(host):
    paths = [entry.path for entry in tree_entries(host, b"app/src")]
    assert paths == [
        b"app/src/a.link",
        b"app/src/b",
        b"app/src/b/deep",
        b"app/src/b/deep/file",
        b"app/src/b.txt",
        b"app/src/dangling",
        b"app/src/\xff",
    ]


def test_what_is_kept(host):
    entries = {entry.path: entry for entry in tree_entries(host)}
    file = entries[b"b/deep/file"]
    assert (file.mode, file.uid, file.gid) == (stat.S_IFREG | 0o4711, 0, 0)
    assert file.mtime_ns == -1_500_000_001
    assert (file.size, file.source) == (7, host / "b" / "deep" / "file")
    assert entries[b"a.link"].target == b"b/deep/file"
    assert entries[b"dangling"].target == b"/no/where"
    assert entries[b"b"].mode & 0o7777 == (host / "b").stat().st_mode & 0o7777


def test_skipped_directories_are_not_entered(host):
    asked = []

    def skip(path):
        asked.append(path)
        return path == b"b"

    paths = [entry.path for entry in tree_entries(host, skip=skip)]
    assert b"b" not in paths
    assert not any(path.startswith(b"b/") for path in [*paths, *asked])
    assert b"b.txt" in paths


def test_a_copied_tree_gives_the_same_image(host, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(host, copy, symlinks=True)
    for path in copy.rglob("*"):
        status = path.lstat()
        os.utime(path, ns=(7, status.st_mtime_ns), follow_symlinks=False)
    shutil.copystat(host / "b", copy / "b")
    assert write(tree_entries(host)) == write(tree_entries(copy))


@pytest.mark.parametrize("kind", ["a named pipe", "a socket"])
def test_special_files_are_refused_by_name(host, kind):
    if kind == "a named pipe":
        os.mkfifo(host / "special")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(host / "special"))
    with pytest.raises(SpecialFileError, match=kind) as caught:
        list(tree_entries(host))
    assert "special" in caught.value.message


def test_devices_are_refused():
    from pathlib import Path

    with pytest.raises(SpecialFileError, match="character device"):
        file_entry(Path("/dev/null"), b"null")


def test_missing_sources(tmp_path):
    with pytest.raises(UnreadableTreeError, match="No such file"):
        file_entry(tmp_path / "gone", b"gone")
    with pytest.raises(UnreadableTreeError, match="cannot list"):
        list(tree_entries(tmp_path / "gone"))


def test_parents_are_made_once_and_before():
    entries = [regular_file(b"a/b/c", b""), regular_file(b"a/b/d", b""), regular_file(b"e", b"")]
    made = list(with_parents(entries))
    assert [entry.path for entry in made] == [b"", b"a", b"a/b", b"a/b/c", b"a/b/d", b"e"]
    assert made[1] == directory(b"a")


def test_parents_that_are_listed_later_are_not_made():
    entries = [regular_file(b"a/b", b""), directory(b"a", permissions=0o700)]
    assert sorted(entry.path for entry in with_parents(entries)) == [b"", b"a", b"a/b"]
