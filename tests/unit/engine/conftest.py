"""Fixtures of the engine's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from wat_guests import TABLES, Runner

from balenawasm.engine.code_cache import CodeCache
from balenawasm.engine.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> CodeCache:
    """One cache for all tests that do not test it: the same module is compiled once."""
    return CodeCache(tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="session")
def shared_machine(shared_cache: CodeCache) -> Machine:
    return Machine(shared_cache, TABLES)


@pytest.fixture
def runner(shared_machine: Machine) -> Runner:
    return Runner(shared_machine)


@pytest.fixture
def cache(tmp_path: Path) -> CodeCache:
    return CodeCache(tmp_path / "native")
