"""LLVM as a service: status, words and files of its programs, several at a time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from balenawasm.build.events import BuildEvent, WorkAdvanced
from balenawasm.build.reporter import Reporter
from balenawasm.toolchain.artifacts import ToolchainError
from balenawasm.toolchain.llvm import CompileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from c.toolchain import CToolchain


@pytest.fixture
def work(c_toolchain: CToolchain) -> Iterator[tuple[Path, str]]:
    """A folder, and where guests have it."""
    with tempfile.TemporaryDirectory(dir=c_toolchain.work) as folder:
        yield Path(folder), f"/work/{Path(folder).name}"


def test_status_and_output(c_toolchain: CToolchain) -> None:
    done = c_toolchain.llvm.run(["clang", "--version"])
    assert (done.status, done.output[:16]) == (0, b"clang version 22")
    done = c_toolchain.llvm.run(["clang", "/nothing.c"])
    assert done.status == 1
    assert b"no such file or directory: '/nothing.c'" in done.output


def test_standard_input(c_toolchain: CToolchain) -> None:
    words = ["clang", "-E", "-P", "-x", "c", "-"]
    assert c_toolchain.llvm.check(words, b"#define A 7\nA\n").strip() == b"7"
    with pytest.raises(ToolchainError, match="too long"):
        c_toolchain.llvm.run(words, b" " * (1 << 20))


def test_many_at_a_time_with_progress(c_toolchain: CToolchain, work: tuple[Path, str]) -> None:
    folder, inside = work
    events: list[BuildEvent] = []
    jobs = []
    for number in range(8):
        (folder / f"{number}.c").write_text(f"int f{number}(void) {{ return {number}; }}\n")
        jobs.append(["clang", "-c", f"{inside}/{number}.c", "-o", f"{inside}/{number}.o"])
    c_toolchain.llvm.run_all(jobs, Reporter("test", events.append))
    assert all((folder / f"{number}.o").read_bytes()[:4] == b"\0asm" for number in range(8))
    assert [event.done for event in events if isinstance(event, WorkAdvanced)] == [*range(1, 9)]


def test_the_first_error_ends_the_others(c_toolchain: CToolchain, work: tuple[Path, str]) -> None:
    folder, inside = work
    (folder / "wrong.c").write_text("wrong;\n")
    (folder / "right.c").write_text("int right;\n")
    wrong = ["clang", "-c", f"{inside}/wrong.c", "-o", f"{inside}/wrong.o"]
    right = ["clang", "-c", f"{inside}/right.c", "-o", f"{inside}/right.o"]
    with pytest.raises(CompileError, match=r"wrong\.c:1:1: error"):
        c_toolchain.llvm.run_all([wrong, *[right] * 200])
    assert not (folder / "wrong.o").exists()
