"""Fixtures of the kernel's tests: real processes on real threads, without guests' code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kernel_parts import new_process

from balenawasm.kernel.outcome import Exited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.kernel.process import Process


@pytest.fixture
def process() -> Iterator[Process]:
    process = new_process()
    yield process
    process.finish(Exited(0))
