from __future__ import annotations

import os
import stat

import pytest

from balenawasm.layer.changes import change_entries
from balenawasm.layer.tree import SpecialFileError, UnreadableTreeError
from balenawasm.layer.whiteout import is_opaque, is_whiteout


def changes(upper):
    return {entry.path: entry for entry in change_entries(upper)}


def test_new_files_and_directories(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "new").write_bytes(b"new")
    found = changes(tmp_path)
    assert list(found) == [b"d", b"d/new"]
    assert found[b"d/new"].size == 3
    assert (found[b"d/new"].uid, found[b"d/new"].gid) == (0, 0)


def test_the_upper_directory_itself_is_no_change(tmp_path):
    tmp_path.chmod(0o700)
    assert changes(tmp_path) == {}


def test_markers_become_whiteouts(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".wh.gone").touch()
    (tmp_path / ".wh..hidden").touch()
    found = changes(tmp_path)
    assert set(found) == {b".hidden", b"d", b"d/gone"}
    for path in (b".hidden", b"d/gone"):
        assert is_whiteout(found[path].mode, found[path].rdev)


def test_what_is_there_wins_over_its_marker(tmp_path):
    (tmp_path / ".wh.f").touch()
    (tmp_path / "f").write_bytes(b"back again")
    found = changes(tmp_path)
    assert set(found) == {b"f"}
    assert stat.S_ISREG(found[b"f"].mode)


def test_opaque_directories(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".wh..wh..opq").touch()
    (tmp_path / "d" / "new").touch()
    found = changes(tmp_path)
    assert set(found) == {b"d", b"d/new"}
    assert is_opaque(found[b"d"].xattrs)
    assert not is_opaque(found[b"d/new"].xattrs)


def test_an_opaque_root(tmp_path):
    (tmp_path / ".wh..wh..opq").touch()
    assert is_opaque(changes(tmp_path)[b""].xattrs)


def test_other_names_of_aufs_are_left_out(tmp_path):
    (tmp_path / ".wh..wh.plnk").mkdir()
    (tmp_path / ".wh..wh.plnk" / "x").touch()
    assert changes(tmp_path) == {}


def test_hard_links_stay(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "z").write_bytes(b"same")
    os.link(tmp_path / "z", tmp_path / "d" / "link")
    found = changes(tmp_path)
    assert found[b"d/link"].hardlink is None
    assert found[b"z"].hardlink == b"d/link"


def test_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SpecialFileError, match="pipe"):
        changes(tmp_path)


def test_a_missing_directory(tmp_path):
    with pytest.raises(UnreadableTreeError):
        changes(tmp_path / "gone")


def test_owners_are_kept_on_demand_and_those_of_the_caller_are_root_s(tmp_path):
    (tmp_path / "mine").touch()
    if os.geteuid() == 0:
        (tmp_path / "theirs").touch()
        os.chown(tmp_path / "theirs", 100, 101)
    owners = {entry.path: (entry.uid, entry.gid) for entry in change_entries(tmp_path, owners=True)}
    assert owners.pop(b"mine") == (0, 0)
    assert owners == ({b"theirs": (100, 101)} if os.geteuid() == 0 else {})


def test_what_a_layer_does_not_take_is_left_out_on_demand(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    told = []
    entries = change_entries(tmp_path, omitted=lambda path, mode: told.append((path, mode)))
    assert [entry.path for entry in entries] == [b"file"]
    assert told == [(b"pipe", (tmp_path / "pipe").lstat().st_mode)]
