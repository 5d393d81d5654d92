"""Files in tests/data/balenafile: what good ones mean, how bad ones are answered (`.expected`)."""

import dataclasses
from pathlib import Path

import pytest

from balenawasm.balenafile.instructions import Instruction
from balenawasm.balenafile.source import BalenafileError, NotYetSupportedError
from balenawasm.balenafile.stages import Balenafile, read_balenafile

DATA = Path(__file__).parents[2] / "data" / "balenafile"
GOOD = sorted(path for path in (DATA / "good").iterdir() if not path.suffix)
BAD = sorted(path for path in (DATA / "bad").iterdir() if not path.suffix)


def show_instruction(instruction: Instruction) -> str:
    hidden = {"where", "escape", "keyword"}
    fields = [
        f"{field.name}={getattr(instruction, field.name)!r}"
        for field in dataclasses.fields(instruction)
        if field.name not in hidden and getattr(instruction, field.name) is not None
    ]
    where = instruction.where
    return f"{where.first_line}-{where.last_line} {instruction.keyword} {' '.join(fields)}"


def show(balenafile: Balenafile) -> str:
    lines = [show_instruction(instruction) for instruction in balenafile.global_args]
    for stage in balenafile.stages:
        lines.append(f"stage {stage.index} {stage.name}")
        lines += [
            "  " + show_instruction(instruction)
            for instruction in (stage.base, *stage.instructions)
        ]
    lines += [f"warning: {warning}" for warning in balenafile.warnings]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.name)
def test_good_file(path: Path) -> None:
    assert show(read_balenafile(path, path.name)) == path.with_suffix(".expected").read_text()


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name)
def test_bad_file(path: Path) -> None:
    with pytest.raises(BalenafileError) as caught:
        read_balenafile(path, path.name)
    kind = "not yet" if isinstance(caught.value, NotYetSupportedError) else "wrong"
    answer = f"{kind}: {caught.value.message}\nhint: {caught.value.hint}\n"
    assert answer == path.with_suffix(".expected").read_text()
