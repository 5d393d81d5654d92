from __future__ import annotations

import os
from typing import TYPE_CHECKING

from balenawasm.runtime.scratch import remove_tree

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_there_is_fine(tmp_path: Path) -> None:
    remove_tree(tmp_path / "missing")


def test_links_are_removed_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(outside)
    (tree / "top").symlink_to(outside)
    (tree / "a" / "b" / "file").write_text("x")
    os.mkfifo(tree / "fifo")
    (tree / "a" / "b").chmod(0)
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "kept").read_text() == "x"
    link = tmp_path / "link"
    link.symlink_to(outside)
    remove_tree(link)
    assert not link.is_symlink()
    assert outside.exists()


def test_a_tree_deeper_than_any_path(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY)
    name = "deep" * 50
    for _ in range(60):
        os.mkdir(name, dir_fd=fd)
        next_fd = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = next_fd
    os.close(fd)
    remove_tree(tree)
    assert not tree.exists()
