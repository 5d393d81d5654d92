"""The guests and layers of the runtime's tests serve the supervisor's as well."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from container_parts import write_guest_layer
from daemon_parts import end

from balenawasm.digest import sha256_file
from balenawasm.runtime.home import Home
from balenawasm.store.store import Store
from balenawasm.supervisor.client import SupervisorClient, ensure_running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.digest import Digest


@pytest.fixture(scope="module")
def layer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("layer") / "layer"
    write_guest_layer(path)
    return path


@pytest.fixture(scope="module")
def native_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("native")


@pytest.fixture
def home(tmp_path: Path, layer_file: Path, native_code: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home").create()
    # Every test's guests are the same: compile them once.
    shutil.copytree(native_code, home.native_code, dirs_exist_ok=True)
    Store(home.store).open()
    blob = Store(home.store).blobs.path(sha256_file(layer_file))
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.hardlink_to(layer_file)
    yield home
    end(home)
    shutil.copytree(home.native_code, native_code, dirs_exist_ok=True)


@pytest.fixture
def layer(layer_file: Path) -> Digest:
    return sha256_file(layer_file)


@pytest.fixture
def client(home: Home) -> SupervisorClient:
    return ensure_running(home)
