"""Fixtures of the conformance tests: one suite over every file system and personality."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from balenawasm.engine import accelerator

# The guest without code is the personalities' unit tests' own; see there.
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "personality"))


@pytest.fixture(scope="module", params=["c", "python"])
def accelerated(request: pytest.FixtureRequest) -> bool:
    """Whether the machine uses the C accelerator: what is asked of guests runs on both."""
    if request.param == "c" and accelerator.load() is None:
        pytest.skip("the accelerator has not been built (no C compiler?)")
    return bool(request.param == "c")
