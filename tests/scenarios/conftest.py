"""Fixtures of the scenarios: containers with Python, put together in the test's own process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from balenawasm.engine.code_cache import CodeCache
from balenawasm.engine.machine import Machine
from balenawasm.personality import preview1
from tests.scenarios.python_guest import Container

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    cache = CodeCache(tmp_path_factory.mktemp("native"))
    return Machine(cache, {"wasi_snapshot_preview1": preview1.TABLE})


@pytest.fixture
def container(
    machine: Machine, python_wasm: Path, tmp_path: Path
) -> Iterator[Callable[..., Container]]:
    made: list[Container] = []

    def make(**options: object) -> Container:
        made.append(Container(machine, python_wasm, tmp_path, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.__exit__()
