from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from balenawasm.runtime.home import Home, HomeError, UnsafeNameError

if TYPE_CHECKING:
    from pathlib import Path


def test_create_makes_private_directories_and_is_repeatable(tmp_path: Path) -> None:
    home = Home(tmp_path / "state").create()
    assert home.version_file.read_bytes() == b"1\n"
    for directory in (home.root, home.store, home.run, home.native_code, home.containers):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert home.create() is home


def test_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "version").write_bytes(b"99\n")
    with pytest.raises(HomeError, match="99"):
        Home(tmp_path).create()


def test_a_file_in_the_way_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HomeError) as caught:
        Home(tmp_path / "file").create()
    assert caught.value.hint is not None


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "-x", "a\n", "x" * 200])
def test_names_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path)
    with pytest.raises(UnsafeNameError):
        home.container(name)
    with pytest.raises(UnsafeNameError):
        home.volume(name)


def test_paths_of_a_container(tmp_path: Path) -> None:
    home = Home(tmp_path)
    paths = home.container("abc")
    assert paths.bundle == tmp_path / "containers/abc/bundle.json"
    assert paths.control_socket == tmp_path / "run/containers/abc/control"
    assert home.volume("p_data") == tmp_path / "volumes/p_data"
