"""What a service writes, at the user's terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from balenawasm.cli.logs import print_lines
from balenawasm.cli.output import terminal_text
from balenawasm.supervisor.status import LogLine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain\ttext é 漢 👩‍🔬", "plain\ttext é 漢 👩‍🔬"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m"),
        ("\x1b[1;38:5:9mred", "\x1b[1;38:5:9mred\x1b[0m"),
        ("carriage\r", "carriage"),
        ("web | fine\rdb | forged", "web | fine\\rdb | forged"),
        ("\x1b[2J\x1b[1;1Hgone", "\\x1b[2J\\x1b[1;1Hgone"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b]52;c;cm0gLXJm\x1b\\", "\\x1b]52;c;cm0gLXJm\\x1b\\"),
        ("\x1b[31\x1b[2Km", "\\x1b[31\\x1b[2Km"),
        ("\x9b2J\x85\x00\x7f\x08", "\\x9b2J\\x85\\x00\\x7f\\x08"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
    ],
)
def test_a_line_does_not_steer_the_terminal(written: str, shown: str) -> None:
    assert terminal_text(written) == shown


def test_only_a_terminal_is_protected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = LogLine(service="web", time="now", stream="stdout", line="a\x1b[2Jb\x07")
    ours, terminal = os.openpty()
    with open(terminal, "w") as file, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        print_lines([line], ["web"])
        file.flush()
        assert b"a\\x1b[2Jb\\x07" in os.read(ours, 1000)
    os.close(ours)
    with (tmp_path / "saved").open("w") as file, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        print_lines([line], ["web"])
    assert "\x07" in (tmp_path / "saved").read_text()


def test_all_goes_to_standard_output_and_our_own_lines_are_marked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    streams = ("stdout", "stderr", "system")
    lines = [LogLine(service="web", time="now", stream=s, line=f"to {s}") for s in streams]
    print_lines(lines, ["web", "worker"])
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.splitlines() == [
        "web    | to stdout",
        "web    | to stderr",
        "web    ! to system",
    ]
