"""Bad input: one message that says what and where, a non-zero exit status, nothing half-written."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Cli, wait_for_no_process


def refused(
    cli: Cli, *words: str, status: int = 1, environment: dict[str, str] | None = None
) -> str:
    """Run a verb that has to fail; returns its message, which has no traceback."""
    done = cli(*words, status=status, environment=environment)
    assert "error:" in done.stderr
    assert "internal error" not in done.stderr
    return done.stderr


def everything(home: Path) -> dict[str, int]:
    """What the store and the caches hold: path → size, but for locks."""
    return {
        str(path.relative_to(home)): path.stat().st_size
        for root in ("store", "cache/build", "containers")
        for path in (home / root).rglob("*")
        if path.is_file() and "lock" not in path.name
    }


def project(cli: Cli, balenafile: str, **files: str) -> None:
    (cli.directory / "Balenafile").write_text(balenafile)
    for name, text in files.items():
        (cli.directory / name).write_text(text)


def test_a_missing_copy_source(cli: Cli) -> None:
    project(cli, "FROM scratch\n\nCOPY servr.py /\n", **{"server.py": ""})
    before = everything(cli.home)
    message = refused(cli, "build", "-t", "broken", ".")
    assert "Balenafile:3" in message
    assert "COPY servr.py /" in message
    assert "server.py" in message
    assert everything(cli.home) == before


def test_an_unknown_instruction(cli: Cli) -> None:
    project(cli, "FROM scratch\nCOPPY a /\n")
    message = refused(cli, "build", ".")
    assert "Balenafile:2" in message
    assert "COPPY a /" in message
    assert "COPY" in message.replace("COPPY", "")


@pytest.mark.parametrize(
    "line", ["USER nobody", "ONBUILD COPY a b", "RUN --mount=type=cache,target=/c true"]
)
def test_what_is_not_yet_there(cli: Cli, line: str) -> None:
    project(cli, f"FROM scratch\n{line}\n")
    message = refused(cli, "build", ".")
    assert "Balenafile:2" in message
    assert line in message
    assert "not supported yet" in message


def test_a_shell_command_without_a_shell(cli: Cli) -> None:
    project(cli, "FROM scratch\nCMD python a.py | grep x\n")
    message = refused(cli, "build", ".")
    assert "Balenafile:2" in message
    assert "shell" in message
    assert "hint:" in message


def test_an_unknown_base_image(cli: Cli) -> None:
    project(cli, "FROM balenaos/pyton\n")
    assert "balenaos/python" in refused(cli, "build", ".")


def test_no_balenafile(cli: Cli) -> None:
    assert "Balenafile" in refused(cli, "build", ".")
    refused(cli, "build", "nowhere")


def test_a_corrupt_layer(cli: Cli) -> None:
    project(cli, "FROM scratch\nCOPY file /\n", file="something in it\n" * 1000)
    cli("build", "-t", "victim", ".")
    (image,) = json.loads(cli("image", "inspect", "victim").stdout)
    layer = Path(image["layers"][-1]["path"])
    whole = layer.read_bytes()
    assert cli("image", "verify", "victim").stdout == "victim:latest: ok\n"
    os.chmod(layer, 0o644)
    layer.write_bytes(b"\xff" * 4096 + whole[4096:])
    try:
        done = cli("image", "verify", status=1)
        assert "victim" in done.stdout
        assert "error:" in done.stderr
        message = refused(cli, "run", "victim", "/file", status=125)
        assert image["layers"][-1]["digest"][7:19] in message
    finally:
        layer.write_bytes(whole)
    cli("image", "rm", "victim")


def test_a_file_that_is_not_wasm(cli: Cli) -> None:
    (cli.directory / "text.wasm").write_text("int main() {}")
    message = refused(cli, "run", "./text.wasm", status=126)
    assert "text.wasm" in message
    assert "hint:" in message
    (cli.directory / "cut.wasm").write_bytes(b"\0asm\1\0\0\0\7\7\7")
    assert "cut.wasm" in refused(cli, "run", "./cut.wasm", status=126)
    assert "does not exist" in refused(cli, "run", "./none.wasm", status=2)


def test_a_program_that_is_not_there(cli: Cli) -> None:
    assert "nosuch" in refused(cli, "run", "balenaos/python", "nosuch", status=127)
    assert "passwd" in refused(cli, "run", "balenaos/python", "/etc/passwd", status=126)


def test_a_port_in_use(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        words = ("run", "-p", f"127.0.0.1:{port}:80", "balenaos/python", "python", "-c", "pass")
        assert f"{port} is already in use" in refused(cli, *words)
        project(cli, "FROM balenaos/python\nCMD python -m http.server 80\n")
        (cli.directory / "compose.yaml").write_text(
            f'services: {{web: {{build: ., ports: ["127.0.0.1:{port}:80"]}}}}\n'
        )
        assert f"{port} is already in use" in refused(cli, "up", "-d")
    assert json.loads(cli("ps", "--json").stdout) == []
    assert wait_for_no_process(cli.home) == {}
    assert list((cli.home / "containers").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("services: {web: {build: nowhere}}", ["services.web.build", "nowhere"]),
        ("services: {web: {image: 7up, ports: {}}}", ["services.web.ports"]),
        ("services: {web: {image: a, ports: [x]}}", ["services.web.ports[0]"]),
        ("services: [", ["compose.yaml:"]),
        ("services: {web: {image: a, volumes: ['v:/v']}}", ["v", "volumes"]),
        ("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}", ["a", "b"]),
        ("services: {a: {image: 'x:${UNSET_ONE:?say it}'}}", ["say it"]),
    ],
)
def test_a_bad_compose_file(cli: Cli, text: str, parts: list[str]) -> None:
    (cli.directory / "compose.yaml").write_text(text)
    message = refused(cli, "up", "-d")
    for part in parts:
        assert part in message


def test_unknown_keys_are_named(cli: Cli) -> None:
    (cli.directory / "compose.yaml").write_text("services: {a: {image: nosuch, frobnicate: 1}}")
    message = refused(cli, "up", "-d")
    assert "services.a.frobnicate" in message
    assert "nosuch" in message


def test_a_dockerfile_service_is_left_to_docker(cli: Cli) -> None:
    (cli.directory / "Dockerfile").write_text("FROM debian\n")
    (cli.directory / "compose.yaml").write_text("services: {old: {build: .}}")
    message = refused(cli, "up", "-d")
    assert "old" in message
    assert "Docker" in message


def test_verbs_without_a_project(cli: Cli) -> None:
    for words in (["down"], ["logs"], ["stop"], ["exec", "web", "true"], ["restart", "web"]):
        assert "no project runs" in refused(cli, *words, status=2)
    assert json.loads(cli("ps", "--json").stdout) == []
    assert wait_for_no_process(cli.home) == {}


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["run"],
        ["run", "-p", "x", "balenaos/python"],
        ["run", "-v", "nowhere", "balenaos/python"],
        ["run", "--memory", "much", "balenaos/python"],
        ["image", "inspect", "UPPER CASE"],
        ["build", "--progress", "loud"],
    ],
)
def test_wrong_usage(cli: Cli, words: list[str]) -> None:
    done = cli(*words, status=2)
    assert done.stderr


def test_a_full_disk_during_build(cli: Cli, tmp_path: Path) -> None:
    """A state directory on a file system of 1 MiB: the build says so and leaves the old state."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    try:
        small = Cli(disk / "home", cli.directory)
        project(small, "FROM scratch\nCOPY small /\n", small="x")
        small("build", "-t", "kept", ".")
        before = everything(small.home)
        (cli.directory / "big").write_bytes(os.urandom(2 << 20))
        project(small, "FROM scratch\nCOPY small /\nCOPY big /\n")
        message = refused(small, "build", "-t", "kept", ".")
        assert "no space left" in message
        assert "hint:" in message
        after = everything(small.home)
        assert [path for path in after if ".tmp" in path] == []
        assert {path: after.get(path) for path in before} == before
        assert small("image", "verify").stdout == "kept:latest: ok\n"
    finally:
        subprocess.run(["umount", str(disk)], check=True)
