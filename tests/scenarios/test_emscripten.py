"""compose-examples/hello-emscripten: a standalone module made by Debian's emcc, copied in."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import wait_for_no_process

if TYPE_CHECKING:
    from tests.conftest import Cli

EXAMPLE = Path(__file__).parents[2] / "compose-examples" / "hello-emscripten"

pytestmark = pytest.mark.long  # the compiler is 112 MB to fetch: `make test-long` installs it


@pytest.fixture
def example(cli: Cli) -> Cli:
    directory = cli.directory / "hello-emscripten"
    shutil.copytree(EXAMPLE, directory)
    make = ["emcc", "-O2", "-sSTANDALONE_WASM", "-o", "words.wasm", "words.c"]
    subprocess.run(make, cwd=directory / "words", check=True, timeout=300)
    return cli.in_directory(directory)


def test_the_example(example: Cli) -> None:
    example("build", "-t", "words", "words")
    words = ("run", "-i", "-e", "NAME=you", "words", "with", "arguments")
    done = example(*words, stdin="two lines\nof text\n")
    assert done.stdout == (
        "Hello you from Emscripten\nargument 1: with\nargument 2: arguments\n"
        "2 lines, 4 words, 18 characters\n"
    )


def test_as_a_service(example: Cli) -> None:
    example("up", "-d", "--build")
    deadline = time.monotonic() + 60
    said: list[str] = []
    while len(said) < 4:
        assert time.monotonic() < deadline, said
        said = [line.partition("| ")[2] for line in example("logs", "words").stdout.splitlines()]
    example("down")
    assert said == [
        "Hello board from Emscripten",
        "argument 1: from",
        "argument 2: compose",
        "0 lines, 0 words, 0 characters",
    ]
    assert wait_for_no_process(example.home) == {}
