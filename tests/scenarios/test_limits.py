"""Limits, each run into by a guest that means harm, while a neighbour goes on answering."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Cli, wait_for_no_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMPOSE = """
services:
  neighbour:
    image: balenaos/python
    command: python -m http.server 80
    ports: ["127.0.0.1:{port}:80"]
  memory:
    image: balenaos/python
    command: ["python", "-u", "-c", {memory}]
    mem_limit: 64m
  forks:
    image: balenaos/python
    command: ["python", "-u", "-c", {forks}]
    pids_limit: 8
  disk:
    image: balenaos/python
    command: ["python", "-u", "-c", {disk}]
    x-balenawasm: {{storage: 4m}}
  files:
    image: balenaos/python
    command: ["python", "-u", "-c", {files}]
    ulimits: {{nofile: {{soft: 32, hard: 64}}}}
  log:
    image: balenaos/python
    command: ["python", "-u", "-c", {log}]
    logging: {{options: {{max-size: 64k, max-file: 2}}}}
    x-balenawasm: {{log_rate: 100/s}}
  spinner:
    image: balenaos/python
    command: ["python", "-u", "-c", {spinner}]
    cpus: 0.25
  sprinter:
    image: balenaos/python
    command: ["python", "-u", "-c", "while True: pass"]
    x-balenawasm: {{cpu_time: 1s}}
"""
BOMBS = {
    "memory": """
import time
hoard = []
try:
    while True: hoard.append(bytearray(1 << 20))
except MemoryError: print("refused", len(hoard))
time.sleep(3600)
""",
    "forks": """
import subprocess, time
children = []
try:
    while True:
        children.append(subprocess.Popen(["python", "-c", "import time; time.sleep(3600)"]))
except OSError as error: print("refused", len(children), error.strerror)
time.sleep(3600)
""",
    "disk": """
import os, time
for name in ("/a", "/tmp/b"):
    try:
        with open(name, "wb", 0) as file:
            while True: file.write(bytes(65536))
    except OSError as error: print("refused", error.strerror)
size = os.path.getsize("/a")
os.remove("/a")
open("/c", "wb").write(bytes(1 << 20))
print("room again", size)
time.sleep(3600)
""",
    "files": """
import time
files = []
try:
    while True: files.append(open("/etc/hosts"))
except OSError as error: print("refused", len(files))
time.sleep(3600)
""",
    "log": """
import time
for number in range(20000): print(number, "x" * 50)
time.sleep(1.5)
print("after the flood")
time.sleep(3600)
""",
    "spinner": "while True: pass",
}


@pytest.fixture
def project(cli: Cli) -> Iterator[tuple[Cli, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    bombs = {name: json.dumps(text) for name, text in BOMBS.items()}
    (cli.directory / "compose.yaml").write_text(COMPOSE.format(port=port, **bombs))
    yield cli, port
    cli("down", "-v", status=None)
    assert wait_for_no_process(cli.home) == {}


def until(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def services(cli: Cli) -> dict[str, dict[str, Any]]:
    (status,) = json.loads(cli("ps", "--json").stdout)
    return {service["name"]: service for service in status["services"]}


def usage(cli: Cli, name: str) -> dict[str, Any]:
    (service,) = json.loads(cli("inspect", name).stdout)
    found: dict[str, Any] = service["usage"]
    return found


def answers(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        return bool(answer.read())


def test_a_container_at_its_limit_harms_no_other(project: tuple[Cli, int]) -> None:
    cli, port = project
    cli("up", "-d")
    first = services(cli)["neighbour"]

    def log(name: str) -> str:
        return cli("logs", name).stdout

    until(lambda: answers(port))
    for name in ("memory", "forks", "files"):
        until(lambda name=name: "refused" in log(name))  # type: ignore[misc]
    until(lambda: "room again" in log("disk"))
    until(lambda: "after the flood" in log("log"))
    until(lambda: services(cli)["sprinter"]["state"] == "exited")
    assert answers(port)

    memory = usage(cli, "memory")
    assert memory["limits"]["memory"] == 64 << 20
    assert 48 << 20 < memory["memory"] <= 64 << 20
    assert "refused 7 " in log("forks")
    assert usage(cli, "forks")["processes"] == 8
    disk = usage(cli, "disk")
    assert (1 << 20) < disk["storage"] <= disk["limits"]["storage"] == 4 << 20
    assert log("disk").count("refused No space left on device") == 2
    files = usage(cli, "files")
    assert files["open_files"] <= files["limits"]["open_files"] == 32
    flood = usage(cli, "log")
    kept = log("log").splitlines()
    assert flood["log_dropped"] > 15000
    assert len(kept) < 5000
    assert any("lines dropped: more than 100 a second" in line for line in whole_log(cli, "log"))
    assert services(cli)["sprinter"]["exit_code"] == 128 + 24
    (ended,) = json.loads(cli("inspect", "sprinter").stdout)
    assert (ended["state"], ended["usage"], ended["processes"]) == ("exited", None, [])
    assert "1 s of processor time" in "\n".join(whole_log(cli, "sprinter"))

    before, began = usage(cli, "spinner")["cpu_seconds"], time.monotonic()
    time.sleep(2)
    share = (usage(cli, "spinner")["cpu_seconds"] - before) / (time.monotonic() - began)
    assert share < 0.5  # of 0.25: on a busy machine it may be less, and the ends are fuzzy
    assert answers(port)
    now = services(cli)["neighbour"]
    assert (now["started_at"], now["restarts"]) == (first["started_at"], 0)

    table = cli("ps").stdout
    assert "/64MiB" in table
    assert "8/8" in table
    assert "of 0.25 cpus" in table


def whole_log(cli: Cli, name: str) -> list[str]:
    done = cli("logs", name)
    return [*done.stdout.splitlines(), *done.stderr.splitlines()]


def test_a_signal_reaches_a_guest_that_is_held(cli: Cli) -> None:
    process = cli.start("run", "--cpus", "0.01", "balenaos/python", "python", "-c", "while 1: pass")
    time.sleep(2)
    began = time.monotonic()
    process.terminate()
    assert process.wait(60) == 128 + 15
    assert time.monotonic() - began < 30


def test_limits_of_run(cli: Cli) -> None:
    grow = "x = []\nwhile True: x.append(bytearray(1 << 20))"
    done = cli("run", "--memory", "64m", "balenaos/python", "python", "-c", grow, status=1)
    assert "MemoryError" in done.stderr
    write = "f = open('/f', 'wb')\nf.write(bytes(3 << 20))"
    done = cli("run", "--storage", "2m", "balenaos/python", "python", "-c", write, status=1)
    assert "No space left" in done.stderr
    spin = "while True: pass"
    done = cli("run", "--cpu-time", "0.5s", "balenaos/python", "python", "-c", spin, status=152)
    assert "0.5 s of processor time" in done.stderr
    done = cli("run", "--storage", "2x", "balenaos/python", "true", status=2)
    assert "is not a size" in done.stderr
