"""The merged view of layers: the same rules as the kernel's overlayfs."""

from __future__ import annotations

import io
import stat

import pytest

from balenawasm.build.filetree import SourceError, resolve, select
from balenawasm.build.layered_tree import LayeredTree
from balenawasm.disk.entry import directory, regular_file, symbolic_link
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.layer.image_writer import write_layer
from balenawasm.layer.whiteout_entries import opaque_entry, whiteout_entry


def layer(*entries):
    out = io.BytesIO()
    write_layer(entries, out)
    return Ext4Image(out.getvalue())


def merge(tmp_path, *layers):
    return LayeredTree("the tree", layers, tmp_path)


def test_upper_layers_hide_lower_names_and_directories_merge(tmp_path):
    tree = merge(
        tmp_path,
        layer(regular_file(b"d/a", b"1"), regular_file(b"d/b", b"1"), regular_file(b"x/y", b"1")),
        layer(directory(b"d", permissions=0o700), regular_file(b"d/b", b"2")),
        layer(regular_file(b"x", b"3")),
    )
    assert tree.names(b"") == [b"d", b"x"]
    assert tree.names(b"d") == [b"a", b"b"]
    assert tree.content(b"d/b") == b"2"
    assert stat.S_IMODE(tree.lookup(b"d").mode) == 0o700
    assert tree.names(b"x") == []
    assert tree.lookup(b"x/y") is None


def test_whiteouts_and_opaque_directories(tmp_path):
    tree = merge(
        tmp_path,
        layer(regular_file(b"d/a", b"1"), regular_file(b"d/b", b"1"), regular_file(b"e/a", b"1")),
        layer(whiteout_entry(b"d/a"), opaque_entry(directory(b"e")), regular_file(b"e/n", b"2")),
    )
    assert tree.names(b"d") == [b"b"]
    assert tree.lookup(b"d/a") is None
    assert tree.names(b"e") == [b"n"]
    assert tree.lookup(b"e").xattrs == {}


def test_a_directory_above_a_whiteout_starts_anew(tmp_path):
    tree = merge(
        tmp_path,
        layer(regular_file(b"d/old", b"1")),
        layer(whiteout_entry(b"d")),
        layer(regular_file(b"d/new", b"2")),
    )
    assert tree.names(b"d") == [b"new"]


def test_an_image_without_layers_has_a_root(tmp_path):
    tree = merge(tmp_path)
    assert tree.lookup(b"").is_directory
    assert tree.names(b"") == []
    assert tree.lookup(b"a/b") is None
    with pytest.raises(SourceError):
        tree.content(b"a")


def test_links_stay_inside(tmp_path):
    tree = merge(
        tmp_path,
        layer(
            regular_file(b"real/x", b"1"),
            symbolic_link(b"a", b"/../../real"),
            symbolic_link(b"b", b"a/x"),
            symbolic_link(b"loop", b"loop"),
        ),
    )
    assert resolve(tree, b"a/x") == b"real/x"
    assert resolve(tree, b"b") == b"real/x"
    assert resolve(tree, b"a/new/file") == b"real/new/file"
    assert select(tree, "/b")[0].path == b"real/x"
    with pytest.raises(SourceError, match="too many symbolic links"):
        resolve(tree, b"loop")


def test_large_files_come_as_files(tmp_path):
    data = bytes(range(256)) * 5000
    tree = merge(tmp_path, layer(regular_file(b"big", data)))
    content = tree.content(b"big")
    assert content.read_bytes() == data
    assert tree.content(b"big") == content
