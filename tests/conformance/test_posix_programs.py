"""C programs that use the POSIX door, each test of them by itself in a container of its own."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from c.toolchain import POSIX, PROGRAMS

from balenawasm.personality.posix import TABLE

if TYPE_CHECKING:
    from pathlib import Path

    from c.toolchain import CToolchain
    from conftest import Cli

ON_TERMINALS = "posix_terminal.c"
TYPED = {"settings": b"", "job_control": b"x\n", "interrupt": b"\x03"}
SOURCES = ("posix_process.c", "posix_signal.c", "posix_files.c", "posix_sockets.c")
ENDS_BY_SIGNAL = {"default_action_ends": 14, "busy_loop_is_ended": 14, "reset_after_one": 10}


def names_in(source: str) -> list[str]:
    """The names in a program's table of tests."""
    text = (PROGRAMS / source).read_text(encoding="utf-8")
    return re.findall(r'^    \{"(\w+)", \1\},$', text, re.MULTILINE)


@pytest.mark.parametrize(
    ("source", "name"), [(source, name) for source in SOURCES for name in names_in(source)]
)
def test_program(
    c_toolchain: CToolchain, bare_cli: Cli, tmp_path: Path, source: str, name: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    program = root / "test.wasm"
    shutil.copy(c_toolchain.compile(source, posix=True), program)
    signo = ENDS_BY_SIGNAL.get(name)
    done = bare_cli("run", "-v", f"{root}:/", str(program), name, status=None, timeout=60)
    assert done.stdout == ("ok\n" if signo is None else ""), done
    assert done.returncode == (0 if signo is None else 128 + signo), done.stderr


def converse(master: int, typed: bytes, seconds: float = 60) -> str:
    """Read a terminal until its other side is closed, and type when the program asks for it."""
    said = b""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            piece = os.read(master, 4096)
        except OSError:  # EIO: nobody has it open any more
            break
        said += piece
        if typed and b"type" in said:
            os.write(master, typed)
            typed = b""
    return said.decode()


@pytest.mark.parametrize("name", names_in(ON_TERMINALS))
def test_program_on_a_terminal(
    c_toolchain: CToolchain, bare_cli: Cli, tmp_path: Path, name: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    program = root / "test.wasm"
    shutil.copy(c_toolchain.compile(ON_TERMINALS, posix=True), program)
    master, slave = pty.openpty()
    try:
        streams = {"stdin": slave, "stdout": slave, "stderr": slave, "start_new_session": True}
        running = bare_cli.start("run", "-it", "-v", f"{root}:/", str(program), name, **streams)
        os.close(slave)
        try:
            said = converse(master, TYPED[name])
        finally:
            running.kill()
        assert said.endswith("ok\r\n"), said
    finally:
        running.wait()
        os.close(master)


def test_every_program_is_listed() -> None:
    assert {path.name for path in PROGRAMS.glob("posix_*.c")} == {*SOURCES, ON_TERMINALS}


def test_the_header_has_every_function_with_its_type() -> None:
    header = (POSIX / "include" / "door.h").read_text(encoding="utf-8")
    declared = {}
    for name, parameters in re.findall(r"^DOOR\((\w+)\) int sys_\w+\((.*)\);$", header, re.M):
        types = [] if parameters == "void" else parameters.split(", ")
        declared[name] = "".join("q" if "long long" in kind else "i" for kind in types)
    assert declared == {name: syscall.signature for name, syscall in TABLE.items()}
