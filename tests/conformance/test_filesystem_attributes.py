"""chmod and chown, the same on every writable file system."""

from __future__ import annotations

import os

import pytest
from filesystem_suite import BOTH, WRITABLE, Files, Link, entries_of, layer, refused

from balenawasm.vfs.mounts import NOBODY
from balenawasm.wasi.errno import Errno


@pytest.fixture(params=WRITABLE)
def make(request, tmp_path):
    made = []

    def maker(tree):
        made.append(Files(WRITABLE[request.param](tmp_path, tree)))
        return made[-1]

    yield maker
    for files in made:
        files.close_all()


def test_chmod_by_name_and_by_fd(make) -> None:
    files = make({b"d": None, b"d/f": b"text"})
    before = files.stat(b"d/f")
    files.at(b"d/f").node.set_mode(0o640)
    files.at(b"d").node.set_mode(0o1711)
    after = files.stat(b"d/f")
    assert after.mode == 0o640
    assert (after.ino, after.size, after.mtim) == (before.ino, before.size, before.mtim)
    assert files.stat(b"d").mode == 0o1711
    opened = files.open(b"d/f", BOTH)
    opened.set_mode(0o755)
    assert opened.stat().mode == files.stat(b"d/f").mode == 0o755
    assert files.read(b"d/f") == b"text"


def test_chmod_follows_a_link(make) -> None:
    files = make({b"f": b"text", b"l": Link(b"f")})
    files.at(b"l").node.set_mode(0o700)
    assert files.stat(b"f").mode == 0o700


def test_chown_to_oneself(make) -> None:
    files = make({b"d": None, b"f": b"", b"l": Link(b"f")})
    for path in (b"d", b"f", b"l"):
        node = files.namespace.resolve(NOBODY, files.start, path, follow=False).node
        stat = node.stat()
        node.set_owner(stat.uid, None)
        node.set_owner(None, stat.gid)
        assert (node.stat().uid, node.stat().gid) == (stat.uid, stat.gid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_chown_to_another(make) -> None:
    files = make({b"d": None, b"f": b"", b"l": Link(b"f")})
    for path in (b"d", b"f", b"l"):
        node = files.namespace.resolve(NOBODY, files.start, path, follow=False).node
        node.set_owner(1000, None)
        node.set_owner(None, 1001)
        assert (node.stat().uid, node.stat().gid) == (1000, 1001)
    opened = files.open(b"f", BOTH)
    opened.set_owner(7, 8)
    assert (opened.stat().uid, files.stat(b"f").gid) == (7, 8)


def test_set_user_id_never_reaches_the_host(make, tmp_path) -> None:
    files = make({b"f": b"text"})
    files.at(b"f").node.set_mode(0o6755)
    assert files.stat(b"f").mode & 0o777 == 0o755
    on_host = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in on_host if path.stat().st_mode & 0o6000]


def test_capacity(make) -> None:
    files = make({b"d": None, b"f": b"text"})
    for path in (b"", b"d", b"f"):
        node = files.at(path).node if path else files.root
        found = node.capacity()
        assert 0 < found.available <= found.free <= found.blocks
        assert found.block_size >= 512
        assert found.name_max == 255
        assert not found.read_only


def test_a_layer_alone_cannot_be_changed() -> None:
    node = layer(*entries_of({}))
    with refused(Errno.EROFS):
        node.set_mode(0o700)
    with refused(Errno.EROFS):
        node.set_owner(1, 1)
