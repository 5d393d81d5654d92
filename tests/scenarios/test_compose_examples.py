"""The projects in compose-examples, end to end through the command, as a user would try them."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Cli, wait_for_no_process

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "compose-examples"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def get(port: int, path: str = "/", timeout: float = 20) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout) as answer:
        return str(answer.read().decode())


@pytest.fixture
def project(cli: Cli, request: pytest.FixtureRequest) -> Iterator[tuple[Cli, int]]:
    """A private copy of the example that the test names, on a free port; taken down afterwards."""
    yield from started(cli, request.param)


@pytest.fixture
def c_project(c_cli: Cli, request: pytest.FixtureRequest) -> Iterator[tuple[Cli, int]]:
    """The same for an example that is compiled."""
    yield from started(c_cli, request.param)


def started(cli: Cli, name: str) -> Iterator[tuple[Cli, int]]:
    directory = cli.directory / name
    shutil.copytree(EXAMPLES / name, directory)
    port = free_port()
    for file in directory.glob("*.y*ml"):
        text = file.read_text().replace('"3000:3000"', f'"127.0.0.1:{port}:3000"')
        file.write_text(text.replace('"${PORT:-8080}:80"', f'"127.0.0.1:{port}:80"'))
    inside = cli.in_directory(directory)
    yield inside, port
    inside("down", "-v", status=None)
    assert wait_for_no_process(cli.home) == {}


@pytest.mark.parametrize("project", ["hello-python"], indirect=True)
def test_hello_python(project: tuple[Cli, int]) -> None:
    cli, port = project
    cli("up", "-d", "--build")
    assert "Hello from Python" in get(port)
    (status,) = json.loads(cli("ps", "--json").stdout)
    assert status["name"] == "hello-python"
    (service,) = status["services"]
    assert (service["name"], service["state"]) == ("web", "running")
    assert service["ports"][0]["host_port"] == port
    logs = cli("logs", "-t", "web")
    assert "Serving on port 3000" in logs.stdout
    assert '"GET / HTTP/1.1" 200' in logs.stdout

    cli("restart", "web")
    assert "Hello from Python" in get(port)
    cli("stop", "web")
    assert json.loads(cli("ps", "--json").stdout)[0]["services"][0]["state"] == "stopped"
    cli("start")
    assert "Hello from Python" in get(port)


@pytest.mark.parametrize("project", ["hello-python"], indirect=True)
def test_a_changed_source_is_built_and_replaces_the_service(project: tuple[Cli, int]) -> None:
    cli, port = project
    cli("up", "-d", "--build")
    before = json.loads(cli("image", "inspect", "hello-python-web").stdout)[0]
    source = cli.directory / "web" / "src" / "server.py"
    source.write_text(source.read_text().replace("Hello from Python", "Hello again"))
    cli("up", "-d", "--build")
    assert "Hello again" in get(port)
    after = json.loads(cli("image", "inspect", "hello-python-web").stdout)[0]
    # Only the layer with the source is another one.
    assert before["layers"][:-1] == after["layers"][:-1]
    assert before["layers"][-1] != after["layers"][-1]


@pytest.mark.parametrize("project", ["two-services"], indirect=True)
def test_two_services(project: tuple[Cli, int]) -> None:
    cli, port = project
    cli("up", "-d", "--build")
    assert "Hello from api" in get(port)
    assert "visit 2" in get(port)
    # The volume is one and the same in both services.
    shown = cli("exec", "web", "python", "-c", "print(open('/data/x').read())")
    assert shown.stdout.strip() == "2"
    status = cli("exec", "api", "python", "-c", "import sys; sys.exit(7)", status=7)
    assert status.stdout == ""
    # WORKDIR is in effect.
    assert cli("exec", "api", "python", "-c", "import os; print(os.getcwd())").stdout == "/app\n"

    # api listens at its own address only: on the host there is one listening socket, web's.
    inode_ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                inode_ports.add(int(fields[1].rpartition(":")[2], 16))
    assert port in inode_ports
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", 80), timeout=2)
    # Names and addresses of the network mean nothing outside of it.
    with pytest.raises(OSError, match=r".*"):
        socket.create_connection(("api", 80), timeout=2)


@pytest.mark.parametrize("project", ["two-services"], indirect=True)
def test_volumes_outlive_down_and_go_with_v(project: tuple[Cli, int]) -> None:
    cli, port = project
    cli("up", "-d", "--build")
    assert "visit 1" in get(port)
    cli("down")
    assert wait_for_no_process(cli.home) == {}
    cli("up", "-d", "--build")
    assert "visit 2" in get(port)
    cli("down", "-v")
    cli("up", "-d", "--build")
    assert "visit 1" in get(port)


@pytest.mark.parametrize("project", ["hello-python"], indirect=True)
def test_up_in_the_foreground_ends_with_its_services(project: tuple[Cli, int]) -> None:
    cli, _ = project
    (cli.directory / "web" / "src" / "server.py").write_text("print('done at once')\n")
    done = cli("up", "--build")
    assert "web | done at once" in done.stdout


@pytest.mark.parametrize("project", ["hello-python"], indirect=True)
def test_a_crashing_service_is_restarted(project: tuple[Cli, int]) -> None:
    cli, port = project
    source = cli.directory / "web" / "src" / "server.py"
    text = source.read_text().replace(
        "        self.send_response(200)",
        "        import os\n"
        "        if self.path == '/die': os._exit(3)\n"
        "        self.send_response(200)",
    )
    source.write_text(text)
    file = cli.directory / "balena-compose.yml"
    file.write_text(file.read_text() + "    restart: always\n")
    cli("up", "-d", "--build")
    with pytest.raises((urllib.error.URLError, ConnectionError, OSError)):
        get(port, "/die")
    # The published socket stays open: the next request waits in its backlog for the new process.
    assert "Hello from Python" in get(port)
    (status,) = json.loads(cli("ps", "--json").stdout)
    assert status["services"][0]["restarts"] >= 1


@pytest.mark.parametrize("project", ["hello-python"], indirect=True)
def test_exec_takes_input_and_is_interrupted(project: tuple[Cli, int]) -> None:
    cli, _ = project
    cli("up", "-d", "--build")
    upper = cli("exec", "-i", "web", "python", "-c", "print(input().upper())", stdin="shout\n")
    assert upper.stdout == "SHOUT\n"
    process = cli.start("exec", "web", "python", "-c", "while True: pass")
    threading.Timer(1.0, process.terminate).start()
    assert process.wait(timeout=20) == 128 + 15
    began = time.monotonic()
    assert "Hello from Python" in cli(
        "exec", "web", "python", "-c",
        "import urllib.request as r; print(r.urlopen('http://localhost:3000/').read().decode())",
    ).stdout  # fmt: skip
    assert time.monotonic() - began < 60


@pytest.mark.timeout(900)
@pytest.mark.parametrize("c_project", ["hello-c", "hello-cpp"], indirect=True)
def test_a_compiled_server(c_project: tuple[Cli, int]) -> None:
    cli, port = c_project
    cli("up", "-d", "--build")
    language = "C++" if "cpp" in cli.directory.name else "C"
    assert get(port) == f"Hello from {language}, visit 1\n"
    assert get(port) == f"Hello from {language}, visit 2\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(port, "/nothing")
    if language == "C++":
        assert get(port, "/double?of=21") == "42\n"
        with pytest.raises(urllib.error.HTTPError, match="400"):
            get(port, "/double?of=99999999999")
    (image,) = json.loads(cli("image", "inspect", f"{cli.directory.name}-web").stdout)
    assert image["size"] < (200_000 if language == "C++" else 100_000)
    assert len(image["layers"]) == 1
    # SIGTERM is caught by the program itself.
    cli("stop", "web")
    assert "Ended by " in cli("logs", "web").stdout
