"""Pipes: between services (compose-examples/pipeline), and between two `run`s in a shell."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import COMMAND, Cli, wait_for_no_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLE = Path(__file__).parents[2] / "compose-examples" / "pipeline"


@pytest.fixture
def pipeline(cli: Cli) -> Iterator[tuple[Cli, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    directory = cli.directory / "pipeline"
    shutil.copytree(EXAMPLE, directory)
    file = directory / "compose.yaml"
    file.write_text(file.read_text().replace('"${PORT:-8080}:80"', f'"127.0.0.1:{port}:80"'))
    inside = cli.in_directory(directory)
    yield inside, port
    inside("down", "-v", status=None)
    assert wait_for_no_process(cli.home) == {}


def uploaded(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_example(pipeline: tuple[Cli, int]) -> None:
    cli, port = pipeline
    cli("up", "-d", "--build")
    until(lambda: uploaded(port)["count"] > 3)
    assert all(reading["value"] > 0.5 for reading in uploaded(port)["last"])
    assert cli("logs", "-t", "filter").stdout.splitlines()[-1].endswith("above 0.5")
    assert cli("logs", "sensor").stdout == ""

    started = {s["name"]: s["started_at"] for s in services(cli)}
    cli("restart", "filter")
    count = uploaded(port)["count"]
    until(lambda: uploaded(port)["count"] > count + 3)
    again = {s["name"]: s["started_at"] for s in services(cli)}
    assert [name for name in started if started[name] != again[name]] == ["filter"]

    numbers = [
        json.loads(line.partition("uploaded ")[2])["number"]
        for line in cli("logs", "uploader").stdout.splitlines()
        if "uploaded" in line
    ]
    assert numbers == sorted(set(numbers))

    cli("stop", "sensor", "filter")
    until(lambda: "the input has ended" in cli("logs", "uploader").stdout)
    assert uploaded(port)["count"] >= len(numbers)


def services(cli: Cli) -> list[dict[str, Any]]:
    (project,) = json.loads(cli("ps", "--json").stdout)
    found: list[dict[str, Any]] = project["services"]
    return found


def test_runs_in_a_shells_pipe(cli: Cli) -> None:
    write = "for number in range(20000): print(number)"
    add = "import sys; print(sum(map(int, sys.stdin)))"
    script = (
        f"'{COMMAND}' run balenaos/python python -c '{write}'"
        f" | '{COMMAND}' run -i balenaos/python python -c '{add}'"
    )
    done = subprocess.run(
        ["sh", "-c", script], env=cli.environment, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{sum(range(20000))}\n", "")


def test_a_run_whose_reader_has_gone_ends(cli: Cli) -> None:
    write = "while True: print(1)"
    script = f"'{COMMAND}' run balenaos/python python -c '{write}' | head -n 1"
    done = subprocess.run(
        ["sh", "-c", script], env=cli.environment, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert done.stdout == "1\n"
    assert "BrokenPipeError" in done.stderr
