from __future__ import annotations

import pytest
from ext4_examples import content, file, rich_entries

from balenawasm.digest import HashingWriter
from balenawasm.layer.image_layer import LayerError, open_layer
from balenawasm.layer.image_writer import check_layer, write_layer
from balenawasm.layer.tree import tree_entries


@pytest.fixture
def layer(tmp_path):
    path = tmp_path / "layer"
    with path.open("wb") as out:
        write_layer([file(b"app/bin/tool", b"code"), file(b"top", b"x")], out)
    return path


def test_written_layers_open(layer):
    with open_layer(layer) as opened:
        assert opened.image.buffer is opened.mmap
        found = dict(opened.image.walk())
        assert list(found) == [b"app", b"app/bin", b"app/bin/tool", b"top"]
        assert content(opened.image, found[b"app/bin/tool"]) == b"code"
        assert opened.image.label == b"balenawasm-layer"
    assert opened.mmap.closed


def test_the_digest_does_not_depend_on_the_place(tmp_path):
    digests = set()
    for name in ("one", "another name"):
        top = tmp_path / name
        top.mkdir()
        (top / "f").write_bytes(b"content")
        import os

        os.utime(top / "f", ns=(len(name), 5))
        with (tmp_path / "layer").open("wb") as out:
            hashing = HashingWriter(out)
            write_layer(tree_entries(top), hashing)
        digests.add(hashing.digest)
    assert len(digests) == 1


def test_missing_and_empty_layers(tmp_path):
    with pytest.raises(LayerError, match="cannot open the layer"):
        open_layer(tmp_path / "gone")
    (tmp_path / "empty").touch()
    with pytest.raises(LayerError, match="cannot map the layer"):
        open_layer(tmp_path / "empty")
    with pytest.raises(LayerError):
        open_layer(tmp_path)


def test_what_is_no_layer(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"text " * 1000)
    with pytest.raises(LayerError, match="s_magic") as caught:
        open_layer(path)
    assert str(path) in caught.value.message


def test_check(tmp_path):
    path = tmp_path / "layer"
    with path.open("wb") as out:
        write_layer(rich_entries(), out)
    assert check_layer(path).inodes > 300


def test_check_finds_damage_and_cut_off_ends(layer):
    data = bytearray(layer.read_bytes())
    with open_layer(layer) as opened:
        at = opened.image.inode(opened.image.directory(2)[b"app"][0]).runs[0].offset
    layer.write_bytes(data[:-4096])
    with pytest.raises(LayerError, match="do not fit"):
        check_layer(layer)
    data[at + 12 + 4] = 3
    layer.write_bytes(data)
    with pytest.raises(LayerError, match="rec_len"):
        check_layer(layer)
