"""Unmodified programs of Debian, built for our C library, do what the same sources do native."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from c import libc_packages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from c.libc_packages import Built
    from conftest import Cli

SCRIPTS = Path(libc_packages.__file__).parent / "packages"
VARIABLES = {"HOME": "/"}
SECONDS = 120

# Fetching and compiling them takes a minute, once.
pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


class Sides:
    """A program in a folder of each side."""

    def __init__(self, built: Built, cli: Cli, folder: Path) -> None:
        self.native = folder / "native"
        self.guest = folder / "root" / "work"
        self._cli = cli
        for place, program in ((self.native, built.native), (self.guest, built.guest)):
            place.mkdir(parents=True)
            shutil.copy(program, place / "program")

    def put(self, name: str, data: bytes) -> None:
        """A file for both."""
        for place in (self.native, self.guest):
            (place / name).write_bytes(data)

    def run(self, arguments: Sequence[str], text: str = "") -> tuple[list[str], list[str]]:
        """What each side prints, with the status as the last line."""
        native = subprocess.run(
            ["./program", *arguments],
            cwd=self.native,
            env=VARIABLES,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        words = ["run", "--unsetenv-all", "-e", "HOME=/", "-i", "-w", "/work"]
        words += ["-v", f"{self.guest.parent}:/", str(self.guest / "program"), *arguments]
        guest = self._cli(*words, status=None, stdin=text, timeout=SECONDS)
        return told(native), told(guest)


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Output, complaints and status, without what the command itself says."""
    said = [line for line in done.stderr.splitlines() if not line.startswith("balenawasm: ")]
    lines = [line.replace("./program", "program") for line in said]
    return [*done.stdout.splitlines(), *lines, str(done.returncode)]


def test_lua(bare_cli: Cli, tmp_path: Path) -> None:
    sides = Sides(libc_packages.build("lua"), bare_cli, tmp_path)
    sides.put("script", (SCRIPTS / "all_sorts.lua").read_bytes())
    native, guest = sides.run(["script"])
    assert guest == native
    assert native[-1] == "3"
    native, guest = sides.run(["-e", "error('thrown')"])
    assert guest == native
    native, guest = sides.run(["-"], "print(io.read('n'))\n")
    assert guest == native


def test_bzip2(bare_cli: Cli, tmp_path: Path) -> None:
    sides = Sides(libc_packages.build("bzip2"), bare_cli, tmp_path)
    text = "".join(f"line {number * number}\n" for number in range(50_000)).encode()
    sides.put("text", text)
    native, guest = sides.run(["-k", "text"])
    assert guest == native == ["0"]
    packed = (sides.native / "text.bz2").read_bytes()
    assert (sides.guest / "text.bz2").read_bytes() == packed
    native, guest = sides.run(["-d", "text.bz2"])
    assert guest == native
    assert "exists" in native[0]
    (sides.guest / "text").unlink()
    assert sides.run(["-d", "text.bz2"])[1] == ["0"]
    assert (sides.guest / "text").read_bytes() == text
    sides.put("broken.bz2", packed[:1000])
    native, guest = sides.run(["-t", "broken.bz2"])
    assert guest == native
    assert native[-1] == "2"


def test_sqlite(bare_cli: Cli, tmp_path: Path) -> None:
    sides = Sides(libc_packages.build("sqlite3"), bare_cli, tmp_path)
    statements = (SCRIPTS / "all_sorts.sql").read_text(encoding="utf-8")
    native, guest = sides.run(["test.db"], statements)
    assert guest == native
    assert "wal" in native
    # What one side has written the other one reads.
    shutil.copy(sides.guest / "test.db", sides.native / "theirs.db")
    shutil.copy(sides.native / "test.db", sides.guest / "theirs.db")
    native, guest = sides.run(
        ["theirs.db"], "PRAGMA integrity_check; SELECT sum(id) FROM person;\n"
    )
    assert guest == native
    assert native[0] == "ok"
