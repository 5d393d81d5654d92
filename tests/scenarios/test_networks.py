"""UDP ports, `network_mode`, grants and Unix sockets, end to end through the command."""

from __future__ import annotations

import json
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Cli, wait_for_no_process
from tests.outside import outside_network

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", int(sys.argv[1])))
print("ready", s.getsockname()[1])
while True:
    data, address = s.recvfrom(100)
    s.sendto(data.upper(), address)
"""


def python(cli: Cli, code: str, *options: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    return cli("run", *options, "balenaos/python", "python", "-c", code, status=status)


def free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


def ask(port: int, data: bytes) -> bytes:
    """Ask until there is an answer, as one does with datagrams."""
    deadline = time.monotonic() + 60
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        client.connect(("127.0.0.1", port))
        while True:
            try:
                client.send(data)
                return client.recv(100)
            except OSError:
                assert time.monotonic() < deadline


def test_a_published_udp_port(cli: Cli) -> None:
    port = free_port(socket.SOCK_DGRAM)
    process = cli.start(
        "run", "-p", f"127.0.0.1:{port}:53/udp", "balenaos/python", "python", "-c", ECHO, "53"
    )
    try:
        assert ask(port, b"hello") == b"HELLO"
        taken = cli("run", "-p", f"127.0.0.1:{port}:53/udp", "balenaos/python", "true", status=1)
        assert f"port 127.0.0.1:{port} is already in use" in taken.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert wait_for_no_process(cli.home) == {}


def test_the_hosts_network(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code = f"""
import socket
s = socket.create_connection(("127.0.0.1", {port}), 20)
server = socket.create_server(("127.0.0.1", 0))
s.sendall(b"%d" % server.getsockname()[1])
peer, address = server.accept()
print(peer.recv(100), open("/net/address").read())
"""
        process = cli.start(
            "run", "--network", "host", "-p", "1:1", "balenaos/python", "python", "-c", code
        )
        try:
            listener.settimeout(60)
            first, _ = listener.accept()
            with first, socket.create_connection(("127.0.0.1", int(first.recv(10))), 20) as second:
                second.sendall(b"hello")
                assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait(20)
    assert wait_for_no_process(cli.home) == {}


def test_no_network(cli: Cli) -> None:
    code = """
import socket
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname(), 5)
print(repr(open("/net/address").read()))
try: socket.create_connection(("192.0.2.1", 80), 5)
except PermissionError: print("denied")
"""
    assert python(cli, code, "--network", "none").stdout == "'\\n'\ndenied\n"
    wrong = cli("run", "--network", "mine", "balenaos/python", "true", status=2)
    assert "bridge, host and none are" in wrong.stderr


def test_grants_on_the_command_line(cli: Cli) -> None:
    code = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20)
s.sendto(b"hello", (sys.argv[1], int(sys.argv[2])))
print(s.recv(100))
"""
    with outside_network() as address:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind((address, 0))
            server.settimeout(60)
            port = server.getsockname()[1]
            words = ("balenaos/python", "python", "-c", code, address, str(port))
            denied = cli("run", "--allow", f"tcp://{address}:{port}", *words, status=1)
            assert f'allow: ["udp://{address}:{port}"]' in denied.stderr
            process = cli.start("run", "--allow", f"udp://{address}:{port}", *words)
            data, peer = server.recvfrom(100)
            assert data == b"hello"
            server.sendto(b"back", peer)
            assert process.wait(60) == 0
        wrong = cli("run", "--allow", "nonsense", "balenaos/python", "true", status=125)
        assert "is no grant" in wrong.stderr


@pytest.fixture
def project(cli: Cli) -> Iterator[Cli]:
    """An empty directory for a project called `nets`; taken down afterwards."""
    directory = cli.directory / "nets"
    directory.mkdir()
    inside = cli.in_directory(directory)
    yield inside
    inside("down", "-v", "-p", "nets", status=None)
    assert wait_for_no_process(cli.home) == {}


def log_of(cli: Cli, service: str, text: str) -> str:
    deadline = time.monotonic() + 60
    while True:
        log = cli("logs", "--no-prefix", service).stdout
        if text in log:
            return log
        assert time.monotonic() < deadline, log
        time.sleep(0.1)


def test_services(project: Cli) -> None:
    udp, tcp = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    (project.directory / "echo.py").write_text(ECHO)
    (project.directory / "asker.py").write_text(
        "import socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)\n"
        "for _ in range(50):\n"
        "    try:\n"
        "        s.sendto(b'between', ('echo', 53)); print(s.recvfrom(100)[0]); break\n"
        "    except OSError: pass\n"
    )
    (project.directory / "own.py").write_text(
        f"import socket; l = socket.create_server(('127.0.0.1', {tcp})); print('ready')\n"
        "c, _ = l.accept(); print(c.recv(100))\n"
    )
    (project.directory / "meet.py").write_text(
        "import socket, os\n"
        "l = socket.socket(socket.AF_UNIX); l.bind('/meet/s'); l.listen(); print('ready')\n"
        "c, _ = l.accept(); print(c.recv(100))\n"
    )
    (project.directory / "come.py").write_text(
        "import socket, time\n"
        "for _ in range(500):\n"
        "    s = socket.socket(socket.AF_UNIX)\n"
        "    try: s.connect('/meet/s'); s.sendall(b'through the volume'); break\n"
        "    except OSError: time.sleep(0.1)\n"
    )
    service = {"image": "balenaos/python", "volumes": ["./:/app", "meet:/meet"]}
    run = ["python", "-u"]
    compose = {
        "name": "nets",
        "services": {
            "echo": {
                **service,
                "command": [*run, "/app/echo.py", "53"],
                "ports": [f"127.0.0.1:{udp}:53/udp"],
            },
            "asker": {**service, "command": [*run, "/app/asker.py"]},
            "own": {**service, "command": [*run, "/app/own.py"], "network_mode": "host"},
            "meet": {**service, "command": [*run, "/app/meet.py"]},
            "come": {**service, "command": [*run, "/app/come.py"]},
        },
        "volumes": {"meet": {}},
    }
    (project.directory / "compose.yaml").write_text(json.dumps(compose))
    project("up", "-d")
    assert ask(udp, b"from outside") == b"FROM OUTSIDE"
    log_of(project, "asker", "b'BETWEEN'")
    log_of(project, "own", "ready")
    with socket.create_connection(("127.0.0.1", tcp), 20) as client:
        client.sendall(b"on the host")
    log_of(project, "own", "b'on the host'")
    log_of(project, "meet", "b'through the volume'")
    assert f"127.0.0.1:{udp}->53/udp" in project("ps").stdout
