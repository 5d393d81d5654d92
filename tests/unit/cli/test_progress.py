"""What the command shows of the supervisor's steps where there is no terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.cli.progress import StepDisplay
from balenawasm.supervisor.status import ProgressEvent

if TYPE_CHECKING:
    import pytest


def test_a_slow_step_is_one_line_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    with StepDisplay() as display:
        for seconds in range(3):
            for service in ("a", "b"):
                display(ProgressEvent("Compile", service, f"compiling, {seconds} s"))
        display(ProgressEvent("Start", "a", "starting"))
        display(ProgressEvent("CreateNetwork", None, "creating the network"))
    assert capsys.readouterr().err == "   a compiling\n   b compiling\n   a starting\n"
