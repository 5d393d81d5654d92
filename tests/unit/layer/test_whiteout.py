from __future__ import annotations

import stat

import pytest

from balenawasm.disk.entry import directory
from balenawasm.layer import whiteout, whiteout_entries


def test_a_whiteout_is_character_device_0_0():
    entry = whiteout_entries.whiteout_entry(b"a/b")
    assert whiteout.is_whiteout(entry.mode, entry.rdev)
    assert (entry.path, entry.mtime_ns) == (b"a/b", 0)


@pytest.mark.parametrize(
    ("mode", "rdev"),
    [(stat.S_IFCHR | 0o666, (1, 3)), (stat.S_IFBLK, (0, 0)), (stat.S_IFREG, (0, 0))],
)
def test_other_files_are_none(mode, rdev):
    assert not whiteout.is_whiteout(mode, rdev)


def test_opaque():
    opaque = whiteout_entries.opaque_entry(directory(b"d"))
    assert whiteout.is_opaque(opaque.xattrs)
    assert not whiteout.is_opaque(directory(b"d").xattrs)
    assert not whiteout.is_opaque({b"trusted.overlay.opaque": b"n"})


def test_markers():
    assert whiteout.marker_name(b"gone") == b".wh.gone"
    assert whiteout.hidden_name(b".wh.gone") == b"gone"
    assert whiteout.hidden_name(whiteout.marker_name(b".hidden")) == b".hidden"


@pytest.mark.parametrize("name", [b"plain", b".wh.", b".wh..wh..opq", b".wh..wh.plnk", b"x.wh.y"])
def test_what_hides_nothing(name):
    assert whiteout.hidden_name(name) is None


def test_names_an_upper_directory_cannot_hold():
    assert whiteout.is_reserved_name(b".wh.x")
    assert whiteout.is_reserved_name(b".wh..wh..opq")
    assert not whiteout.is_reserved_name(b".whx")
