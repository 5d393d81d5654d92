"""From an overlay's upper directory to the entries of a layer: what counts as a change."""

from __future__ import annotations

import io
import os
import socket
import stat

import pytest

from balenawasm.build.layered_tree import LayeredTree
from balenawasm.build.run_changes import run_changes
from balenawasm.disk.entry import Entry, directory, regular_file, symbolic_link
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.layer.image_writer import write_layer
from balenawasm.layer.whiteout import is_opaque, is_whiteout

SECOND = 1_000_000_000
BIG = bytes(range(256)) * 8192


@pytest.fixture
def upper(tmp_path):
    folder = tmp_path / "upper"
    folder.mkdir()
    return folder


@pytest.fixture
def below(tmp_path):
    out = io.BytesIO()
    entries = [
        directory(b"d"),
        regular_file(b"d/file", b"text", mtime_ns=5 * SECOND),
        regular_file(b"d/big", BIG, mtime_ns=5 * SECOND),
        symbolic_link(b"d/link", b"file"),
        Entry(path=b"tmp", mode=stat.S_IFDIR | 0o1777),
        Entry(path=b"home", mode=stat.S_IFDIR | 0o755, uid=100, gid=101),
    ]
    write_layer(entries, out)
    return LayeredTree("below", [Ext4Image(out.getvalue())], tmp_path)


def changes(upper, below, latest=None):
    """Path → entry, or None for no change."""
    warnings = []
    found = run_changes(upper, below, latest, warnings.append)
    assert warnings == []
    return None if found is None else {entry.path: entry for entry in found}


def put(path, text=b"text", *, seconds=5, mode=0o644):
    path.write_bytes(text)
    path.chmod(mode)
    os.utime(path, (seconds, seconds))


def folder(path, mode=0o755):
    path.mkdir()
    path.chmod(mode)
    return path


def test_no_upper_directory_is_no_change(tmp_path, below):
    assert changes(tmp_path / "missing", below) is None


def test_directories_on_the_way_to_nothing_are_no_change(upper, below):
    folder(upper / "d")
    folder(upper / "tmp", 0o777)
    folder(upper / "home")
    assert changes(upper, below) is None


@pytest.mark.parametrize(
    ("name", "text"), [("file", b"text"), ("big", BIG)], ids=["small", "extracted"]
)
def test_a_copy_that_was_not_changed_is_no_change(upper, below, name, text):
    put(folder(upper / "d") / name, text)
    assert changes(upper, below) is None


@pytest.mark.parametrize(
    "how",
    [
        {"text": b"TEXT"},
        {"text": b"texts"},
        {"seconds": 6},
        {"mode": 0o600},
    ],
    ids=str,
)
def test_what_is_a_change_of_a_file(upper, below, how):
    put(folder(upper / "d") / "file", **how)
    assert list(changes(upper, below)) == [b"d", b"d/file", b""]


def test_what_a_host_directory_cannot_show_is_kept(upper, below):
    put(folder(upper / "tmp", 0o777) / "x")
    put(folder(upper / "home") / "x")
    found = changes(upper, below)
    assert stat.S_IMODE(found[b"tmp"].mode) == 0o1777
    assert (found[b"home"].uid, found[b"home"].gid) == (100, 101)
    assert (found[b"home/x"].uid, found[b"home/x"].gid) == (0, 0)


def test_a_changed_mode_is_the_new_one(upper, below):
    folder(upper / "tmp", 0o700)
    found = changes(upper, below)
    assert stat.S_IMODE(found[b"tmp"].mode) == 0o700


def test_times_are_whole_seconds_and_capped_and_those_of_files_only(upper, below):
    put(upper / "x", seconds=7.5)
    (upper / "l").symlink_to("x")
    put(folder(upper / "new") / "y", seconds=9)
    found = changes(upper, below)
    assert {path: entry.mtime_ns // SECOND for path, entry in found.items()} == {
        b"": 0,
        b"l": 0,
        b"new": 0,
        b"x": 7,
        b"new/y": 9,
    }
    assert changes(upper, below, latest=8)[b"new/y"].mtime_ns == 8 * SECOND


def test_what_stands_under_an_opaque_directory_is_new_although_it_is_the_same(upper, below):
    (folder(upper / "d") / ".wh..wh..opq").touch()
    put(upper / "d" / "file")
    found = changes(upper, below)
    assert is_opaque(found[b"d"].xattrs)
    assert b"d/file" in found


def test_a_removed_name_is_a_whiteout(upper, below):
    (folder(upper / "d") / ".wh.file").touch()
    found = changes(upper, below)
    assert is_whiteout(found[b"d/file"].mode, found[b"d/file"].rdev)


def test_a_directory_in_place_of_a_file(upper, below):
    folder(upper / "d")
    folder(upper / "d" / "file")
    put(upper / "d" / "file" / "x")
    assert {b"d/file", b"d/file/x"} <= set(changes(upper, below))


def test_links_stay_links_and_the_first_name_is_kept_for_the_others(upper, below):
    put(folder(upper / "d") / "file")
    os.link(upper / "d" / "file", upper / "d" / "name")
    found = changes(upper, below)
    assert found[b"d/name"].hardlink == b"d/file"
    assert b"d/file" in found


def test_pipes_are_told_and_sockets_are_not(upper, below):
    os.mkfifo(upper / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(upper / "socket"))
    warnings = []
    assert run_changes(upper, below, None, warnings.append) is None
    assert len(warnings) == 1
    assert warnings[0].startswith("/pipe is left out")
