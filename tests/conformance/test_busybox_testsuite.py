"""BusyBox's own test suites on our BusyBox, against a native one: docs/busybox.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.busybox_testsuite import SIDES, as_table, meets_bars, run
from tests.conftest import COMMAND

if TYPE_CHECKING:
    from pathlib import Path

# A second of many units: the harness itself works on both sides.
UNITS = ("hush/hush-arith", "hush/hush-getopts", "new/cut", "new/sort", "old/cat")


def test_some_units_go_as_natively(busybox_home: Path) -> None:
    outcomes = run(SIDES, UNITS, COMMAND, busybox_home)
    native, wasm = outcomes["native"], outcomes["wasm"]
    assert native.hush_passed > 5
    assert native.applets_passed > 30
    assert wasm.hush == native.hush
    assert wasm.applets == native.applets


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_suites_meet_the_bars(busybox_home: Path) -> None:
    outcomes = run(SIDES, (), COMMAND, busybox_home)
    assert meets_bars(outcomes), as_table(outcomes)
