"""/proc/spawn, pipes and waiting as a stock C program uses them: no library of ours in it."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from c.toolchain import CToolchain
    from conftest import Cli

TOOL = """\
#include <stdlib.h>
#include <stdio.h>
int main(int argc, char **argv) {
    for (int i = 0; argc > 2 && i < atoi(argv[2]); i++)
        putchar('x');
    return atoi(argv[1]);
}
"""


@pytest.fixture
def spawn(c_toolchain: CToolchain, bare_cli: Cli, tmp_path: Path) -> Callable[..., str]:
    """Run the spawner with a small tool beside it; what it prints, or says of an error."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    source = tmp_path / "tool.c"
    source.write_text(TOOL)
    shutil.copy(c_toolchain.compile("spawn.c"), root / "spawn.wasm")
    shutil.copy(c_toolchain.compile(source), root / "bin" / "tool")

    def run(*arguments: str, status: int = 0, options: tuple[str, ...] = ()) -> str:
        words = ("run", "-v", f"{root}:/", *options, str(root / "spawn.wasm"), *arguments)
        done = bare_cli(*words, status=None)
        assert done.returncode == status, done
        return done.stderr if status == 2 else done.stdout

    return run


def test_many_one_after_the_other(spawn: Callable[..., str]) -> None:
    printed = spawn("200", "tool", "7", status=7)
    assert re.fullmatch(r"median \d+ total \d+\n", printed)


def test_through_a_pipe(spawn: Callable[..., str]) -> None:
    assert spawn("pipe", "tool", "3", "300000") == "300000 bytes, status 768\n"


def test_what_is_not_there(spawn: Callable[..., str]) -> None:
    assert "No such file or directory" in spawn("1", "nothing", status=2)
