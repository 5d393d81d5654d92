"""Fixtures of the personalities' tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from preview1_guest import Guest

from balenawasm.kernel.outcome import Exited

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def guest() -> Iterator[Guest]:
    guest = Guest()
    yield guest
    guest.process.finish(Exited(0))
