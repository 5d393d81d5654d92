"""Our C library behaves as on Linux: small programs of ordinary C print what they print native.

Where the machine's C library (glibc) and musl rightly differ, the programs do not look.
"""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from c.libc_programs import ZONES, LibcPrograms, make_root, program_names
from test_posix_programs import converse

if TYPE_CHECKING:
    from conftest import Cli

COMMAND = Path(sys.executable).with_name("balenawasm")
SECONDS = 120
VARIABLES = {"PATH": "/usr/bin:/bin", "HOME": "/"}
ON_TERMINALS = {"terminal"}
WITH_SHELL = {"commands"}
IN_MEMORY = (
    "directories",
    "files_attributes",
    "files_names",
    "files_open",
    "files_temporary",
    "locks",
    "memory",
    "pipes",
    "sockets",
    "stdio_files",
)
# The C library is built by the first test that finds it missing.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="session")
def libc() -> LibcPrograms:
    """Our C library, built if it is missing."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler to compare with")
    if not all(Path("/usr/share/zoneinfo", zone).exists() for zone in ZONES):
        pytest.skip("the machine has no time zones to compare with")
    return LibcPrograms.ready()


def native(libc: LibcPrograms, name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run it in a folder of its own, where it finds itself as ./program."""
    folder.mkdir()
    shutil.copy(libc.native(name), folder / "program")
    done = subprocess.run(
        ["./program"],
        cwd=folder,
        env=VARIABLES,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode != 99, done.stdout
    return done


def guest_words(libc: LibcPrograms, name: str, root: Path, *options: str) -> list[str]:
    """The words of `run`, up to what is run."""
    make_root(root, libc.guest(name))
    variables = [word for key, value in VARIABLES.items() for word in ("-e", f"{key}={value}")]
    return ["run", "--unsetenv-all", *variables, "-w", "/work", *options]


def alone(libc: LibcPrograms, name: str, root: Path, *options: str) -> list[str]:
    """The words that run it with nothing else in its container."""
    words = guest_words(libc, name, root, "-v", f"{root}:/", *options)
    return [*words, str(root / "work" / "program")]


def compare(libc: LibcPrograms, cli: Cli, tmp_path: Path, name: str, words: list[str]) -> None:
    """Run both, and compare what they print and how they end."""
    expected = native(libc, name, tmp_path / "native")
    done = cli(*words, status=None, timeout=SECONDS)
    assert done.stdout == expected.stdout, done.stderr
    # The command itself may have something to say: that it compiles, what it denies.
    said = [line for line in done.stderr.splitlines() if not line.startswith("balenawasm: ")]
    assert said == expected.stderr.splitlines()
    assert done.returncode == expected.returncode


@pytest.mark.parametrize(
    "name", [name for name in program_names() if name not in ON_TERMINALS | WITH_SHELL]
)
def test_prints_what_it_prints_native(
    libc: LibcPrograms, bare_cli: Cli, tmp_path: Path, name: str
) -> None:
    compare(libc, bare_cli, tmp_path, name, alone(libc, name, tmp_path / "root"))


@pytest.mark.parametrize("name", IN_MEMORY)
def test_prints_the_same_over_a_file_system_in_memory(
    libc: LibcPrograms, bare_cli: Cli, tmp_path: Path, name: str
) -> None:
    root = tmp_path / "root"
    words = alone(libc, name, root, "--tmpfs", f"/work:from={root / 'work'}")
    compare(libc, bare_cli, tmp_path, name, words)


@pytest.mark.parametrize("name", sorted(WITH_SHELL))
def test_prints_what_it_prints_native_with_a_shell(
    libc: LibcPrograms, busybox_cli: Cli, tmp_path: Path, name: str
) -> None:
    root = tmp_path / "root"
    words = guest_words(libc, name, root, "-v", f"{root / 'work'}:/work")
    compare(libc, busybox_cli, tmp_path, name, [*words, "balenaos/busybox", "./program"])


def on_terminal(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run on a terminal; type a line when asked."""
    master, slave = pty.openpty()
    running = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *words],
        cwd=folder,
        env=environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    try:
        return converse(master, b"a typed line\n")
    finally:
        running.kill()
        running.wait()
        os.close(master)


@pytest.mark.parametrize("name", sorted(ON_TERMINALS))
def test_prints_what_it_prints_native_on_a_terminal(
    libc: LibcPrograms, bare_cli: Cli, tmp_path: Path, name: str
) -> None:
    program = tmp_path / "program"
    shutil.copy(libc.native(name), program)
    expected = on_terminal([str(program)], tmp_path, VARIABLES)
    assert "a typed line" in expected
    words = alone(libc, name, tmp_path / "root", "-it")
    said = on_terminal([str(COMMAND), *words], tmp_path, bare_cli.environment)
    assert said == expected
