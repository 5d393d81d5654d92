"""Fixtures for tests of every kind; the slow, shared ones are made once a session."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from c.toolchain import CToolchain

import balenawasm
from balenawasm.build.layered_tree import LayeredTree
from balenawasm.layer.image_layer import open_layer
from balenawasm.oci.reference import parse_reference
from balenawasm.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(balenawasm.__path__[0])
COMMAND = Path(sys.executable).with_name("balenawasm")

# A job that a shell started in the background ignores SIGINT, and so would all the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Cli:
    """The `balenawasm` command with a state directory of its own, run in `directory`."""

    home: Path
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the command runs with."""
        return {**os.environ, "BALENAWASM_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}

    def __call__(
        self,
        *words: str,
        status: int | None = 0,
        stdin: str | None = None,
        timeout: float = 100,
        environment: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb; fails the test unless it ends with `status` (None: any)."""
        done = subprocess.run(
            [str(COMMAND), *words],
            cwd=self.directory,
            env={**self.environment, **(environment or {})},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert status is None or done.returncode == status, (words, done)
        assert str(PACKAGE) not in done.stderr, done.stderr  # a traceback of ours
        return done

    def start(self, *words: str, **options: object) -> subprocess.Popen[str]:
        """Start a verb in the background; the caller ends it."""
        return subprocess.Popen(
            [str(COMMAND), *words],
            cwd=self.directory,
            env=self.environment,
            text=True,
            **options,  # type: ignore[call-overload]
        )

    def in_directory(self, directory: Path) -> Cli:
        """The same state directory, seen from another working directory."""
        return Cli(self.home, directory)


def processes_of(home: Path) -> dict[int, str]:
    """Live processes whose environment or command names a state directory: pid → command."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        name = os.fsencode(home)
        if command and (name in command or b"BALENAWASM_HOME=" + name in environment):
            found[int(entry.name)] = command.replace(b"\0", b" ").decode()
    return found


def wait_for_no_process(home: Path, seconds: float = 15) -> dict[int, str]:
    """Wait until nothing runs for a state directory any more; returns what still does."""
    deadline = time.monotonic() + seconds
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state directory for the session; whatever still runs for it at the end is killed."""
    home = tmp_path_factory.mktemp("home")
    yield home
    for pid in processes_of(home):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def python_home(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's state directory with balenaos/python built and compiled to native code."""
    cli = Cli(shared_home, tmp_path_factory.mktemp("work"))
    cli("run", "balenaos/python", "python", "-c", "pass", timeout=900)
    return shared_home


def in_empty_directory(home: Path, tmp_path: Path) -> Cli:
    """The command over a state directory, in an empty working directory."""
    directory = tmp_path / "work"
    directory.mkdir()
    return Cli(home, directory)


@pytest.fixture
def cli(python_home: Path, tmp_path: Path) -> Cli:
    """The command over the session's state directory, in an empty working directory."""
    return in_empty_directory(python_home, tmp_path)


@pytest.fixture
def bare_cli(shared_home: Path, tmp_path: Path) -> Cli:
    """The command over the session's state directory, with no image built for it."""
    return in_empty_directory(shared_home, tmp_path)


@pytest.fixture(scope="session")
def python_wasm(python_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stock python.wasm of the base image as a host file."""
    image = Store(python_home / "store").open().images.get(parse_reference("balenaos/python"))
    scratch = tmp_path_factory.mktemp("python")
    layers = [open_layer(path).image for path in image.layer_paths]
    program = LayeredTree("balenaos/python", layers, scratch).content(b"usr/bin/python")
    assert isinstance(program, Path)  # too large for memory
    return program


@pytest.fixture(scope="session")
def c_toolchain() -> CToolchain:
    """A C compiler for wasm32-wasip1, kept in the user's cache directory between sessions."""
    return CToolchain.ready()


@pytest.fixture(scope="session")
def c_home(
    shared_home: Path, c_toolchain: CToolchain, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The session's state directory with balenaos/c built and LLVM's native code, which takes half
    a minute to make and is kept between sessions.
    """
    c_toolchain.share_native_code(shared_home)
    cli = Cli(shared_home, tmp_path_factory.mktemp("work"))
    cli("run", "balenaos/c", "cc", "--version", timeout=900)
    return shared_home


@pytest.fixture
def c_cli(c_home: Path, tmp_path: Path) -> Cli:
    """The command for balenaos/c, in an empty working directory."""
    return in_empty_directory(c_home, tmp_path)


@pytest.fixture(scope="session")
def busybox_home(
    shared_home: Path, c_toolchain: CToolchain, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The session's state directory with balenaos/busybox built and compiled to native code."""
    c_toolchain.share_native_code(shared_home)
    cli = Cli(shared_home, tmp_path_factory.mktemp("work"))
    cli("run", "balenaos/busybox", "true", timeout=900)
    return shared_home


@pytest.fixture
def busybox_cli(busybox_home: Path, tmp_path: Path) -> Cli:
    """The command for balenaos/busybox, in an empty working directory."""
    return in_empty_directory(busybox_home, tmp_path)
