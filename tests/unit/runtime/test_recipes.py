"""Whether a base image is still what its recipe says, as a start sees it."""

from pathlib import Path

from balenawasm.digest import sha256
from balenawasm.runtime.recipes import CheckedImage

IMAGE = sha256(b"image")


def test_remembers_until_something_changes(tmp_path: Path) -> None:
    recipes = tmp_path / "images"
    (recipes / "python" / "rootfs").mkdir(parents=True)
    (recipes / "python" / "Balenafile").write_text("FROM scratch\n")
    checked = CheckedImage(tmp_path, "balenaos/python", recipes)
    assert not checked.holds(IMAGE)
    checked.remember(IMAGE)
    assert checked.holds(IMAGE)
    assert not checked.holds(sha256(b"another image"))

    (recipes / "python" / "rootfs" / "adapter.py").write_text("new")
    assert not checked.holds(IMAGE)
    checked.remember(IMAGE)
    assert checked.holds(IMAGE)
    (recipes / "python" / "rootfs" / "adapter.py").write_text("longer")
    assert not checked.holds(IMAGE)


def test_byte_code_beside_an_adapter_is_no_change(tmp_path: Path) -> None:
    recipes = tmp_path / "images"
    recipes.mkdir()
    checked = CheckedImage(tmp_path, "balenaos/python", recipes)
    (recipes / "x.py").write_text("")
    (recipes / "__pycache__").mkdir()
    checked.remember(IMAGE)
    (recipes / "__pycache__" / "x.pyc").write_bytes(b"code")
    assert checked.holds(IMAGE)
