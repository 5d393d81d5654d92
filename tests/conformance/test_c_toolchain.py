"""The C compiler that tests use, and that our engine runs what it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from c.toolchain import CompileError

if TYPE_CHECKING:
    from pathlib import Path

    from c.toolchain import CToolchain
    from conftest import Cli


def test_setjmp_works_through_frames(bare_cli: Cli, c_toolchain: CToolchain) -> None:
    program = c_toolchain.compile("setjmp.c")
    assert bare_cli("run", str(program), "x").stdout == "3 rounds, value 7, x\n"


def test_a_program_is_made_once_and_anew_for_other_flags(
    c_toolchain: CToolchain, tmp_path: Path
) -> None:
    source = tmp_path / "one.c"
    source.write_text("int main(void) { return VALUE; }\n")
    one = c_toolchain.compile(source, flags=("-DVALUE=1",))
    made = one.stat().st_mtime_ns
    assert c_toolchain.compile(source, flags=("-DVALUE=1",)).stat().st_mtime_ns == made
    assert c_toolchain.compile(source, flags=("-DVALUE=2",)) != one


def test_the_compilers_words_are_the_error(c_toolchain: CToolchain, tmp_path: Path) -> None:
    source = tmp_path / "wrong.c"
    source.write_text("int main(void) { return nothing; }\n")
    with pytest.raises(CompileError, match=r"wrong\.c:1:25: error"):
        c_toolchain.compile(source)
