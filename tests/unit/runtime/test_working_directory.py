"""The directory that process 1 starts in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from balenawasm.runtime.exitrecord import StartError
from balenawasm.runtime.working_directory import check_working_directory, make_working_directory
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.path import Namespace

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_made_with_those_above_it(tmp_path: Path) -> None:
    namespace = Namespace(HostDirectory(tmp_path).root)
    make_working_directory(namespace, b"/a/b//c/")
    make_working_directory(namespace, b"/a/b")
    make_working_directory(namespace, b"/")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_links_on_the_way_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    make_working_directory(Namespace(HostDirectory(tmp_path).root), b"/link/new")
    assert (tmp_path / "real" / "new").is_dir()


def test_what_cannot_be_made_is_a_start_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    namespace = Namespace(HostDirectory(tmp_path).root)
    for path in (b"/file", b"/file/below"):
        with pytest.raises(StartError, match="ENOTDIR"):
            make_working_directory(namespace, path)
    read_only = Namespace(HostDirectory(tmp_path, read_only=True).root)
    with pytest.raises(StartError, match="EROFS"):
        make_working_directory(read_only, b"/new")


def test_a_command_in_a_running_container_makes_none(tmp_path: Path) -> None:
    namespace = Namespace(HostDirectory(tmp_path).root)
    with pytest.raises(StartError, match="no such directory"):
        check_working_directory(namespace, b"/new")
    assert not (tmp_path / "new").exists()
