"""`balenawasm image` over a store with damaged images and images that projects use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from balenawasm.cli.image import image_command
from balenawasm.oci.config import ImageConfig
from balenawasm.oci.mediatypes import EXT4_LAYER
from balenawasm.oci.reference import parse_reference
from balenawasm.runtime.home import Home
from balenawasm.store.store import Store
from balenawasm.supervisor.record import ProjectFiles
from balenawasm.supervisor.target_state import ProjectTarget, ServiceTarget

if TYPE_CHECKING:
    from pathlib import Path

    from balenawasm.store.images import Image


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("BALENAWASM_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home").create()


def put(home: Home, name: str) -> Image:
    """An image with one small blob in the place of its layer."""
    store = Store(home.store).open()
    layer = store.blobs.add(name.encode(), EXT4_LAYER)
    return store.images.put(parse_reference(name), ImageConfig(cmd=(name,)), [layer])


def use(home: Home, image: Image) -> None:
    """A project on disk whose service is made from the image."""
    service = ServiceTarget(
        name="web",
        image="used",
        image_digest=image.digest,
        layers=tuple(layer.digest for layer in image.manifest.layers),
        argv=(b"x",),
    )
    ProjectFiles(home, "shop").save_target(ProjectTarget(name="shop", services=(service,)))


def test_rm_keeps_what_projects_use(home: Home) -> None:
    used, unused = put(home, "used"), put(home, "unused")
    use(home, used)
    result = CliRunner().invoke(image_command, ["rm", "used", "unused"])
    assert result.exit_code == 0, result.output
    assert all(path.exists() for path in used.layer_paths)
    assert not any(path.exists() for path in unused.layer_paths)
    ProjectFiles(home, "shop").forget()
    put(home, "other")
    CliRunner().invoke(image_command, ["rm", "other"])
    assert not any(path.exists() for path in used.layer_paths)


def test_a_damaged_image_is_a_line_of_its_own(home: Home) -> None:
    damaged, sound = put(home, "damaged"), put(home, "sound")
    Store(home.store).open().blobs.path(damaged.digest).write_bytes(b"{")
    result = CliRunner().invoke(image_command, ["verify", "--json"])
    assert result.exit_code == 1
    report = {line["name"]: line["error"] for line in json.loads(result.output)}
    assert list(report) == ["damaged:latest", "sound:latest"]
    assert "damaged" in report["damaged:latest"]
    listed = CliRunner().invoke(image_command, ["ls"])
    assert listed.exit_code == 0, listed.output
    assert sound.digest[7:19] in listed.output
    assert any("damaged" in line and " - " in line for line in listed.output.splitlines())
