"""What the command shows of steps where there is no terminal."""

from __future__ import annotations

import pytest

from balenawasm.build.events import StepDone, StepOutput, StepStarted
from balenawasm.cli.progress import BuildDisplay, StepDisplay, output_text
from balenawasm.supervisor.status import ProgressEvent


def test_a_slow_step_is_one_line_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    with StepDisplay() as display:
        for seconds in range(3):
            for service in ("a", "b"):
                display(ProgressEvent("Compile", service, f"compiling, {seconds} s"))
        display(ProgressEvent("Start", "a", "starting"))
        display(ProgressEvent("CreateNetwork", None, "creating the network"))
    assert capsys.readouterr().err == "   a compiling\n   b compiling\n   a starting\n"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain\ttext ü", "plain\ttext ü"),
        ("10 %\r50 %\r100 %\r", "100 %"),
        ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m\x1b[0m"),
        ("\x1b[2Jcleared\x07", "\\x1b[2Jcleared\\x07"),
    ],
)
def test_a_command_s_line_does_nothing_but_print(line: str, shown: str) -> None:
    assert output_text(line) == shown


def test_output_of_a_step_is_a_line_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    step = {"image": "web", "number": 2, "total": 3, "stage": "0", "text": "RUN x"}
    with BuildDisplay("plain") as display:
        display(StepStarted(**step))
        display(StepOutput(**step, line="compiling\x07"))
        display(StepDone(**step, seconds=0.5, size=None, cached=False))
    assert capsys.readouterr().err == ("   [web 2/3] compiling\\x07\n   [web 2/3] RUN x 500ms\n")
