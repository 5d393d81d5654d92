"""`balenawasm run`: exit status, streams, variables, mounts, ports, limits, wasm files."""

from __future__ import annotations

import os
import pty
import signal
import socket
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from balenawasm.engine.wat import wat_to_wasm
from tests.conftest import Cli, wait_for_no_process

if TYPE_CHECKING:
    from pathlib import Path

HELLO = """
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "hello from wasm\\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 8))
    (i32.store (i32.const 4) (i32.const 16))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100)))
    (call $proc_exit (i32.const 42))))
"""


def python(cli: Cli, code: str, *options: str, **more: object):
    return cli("run", *options, "balenaos/python", "python", "-c", code, **more)


def test_a_wasm_file_runs_and_its_exit_status_is_ours(cli: Cli) -> None:
    (cli.directory / "hello.wasm").write_bytes(wat_to_wasm(HELLO))
    done = cli("run", "hello.wasm", status=42)
    assert done.stdout == "hello from wasm\n"
    assert done.stderr == "" or "compiling" in done.stderr


def test_a_wasm_file_sees_only_what_is_mounted(cli: Cli, python_wasm: Path) -> None:
    (cli.directory / "data").mkdir()
    (cli.directory / "data" / "file").write_text("content")
    code = "import os; print(sorted(os.listdir('/'))); print(open('/file').read())"
    done = cli("run", "-v", "./data:/", str(python_wasm), "-c", code)
    names, content = done.stdout.splitlines()
    assert "'file'" in names
    assert content == "content"
    alone = cli("run", str(python_wasm), "-c", "import os; print(os.path.exists('/file'))")
    assert alone.stdout == "False\n"


def test_streams_variables_arguments_and_directory(cli: Cli) -> None:
    code = (
        "import os, sys; print(os.environ['A'], os.getcwd(), sys.argv[1:]);"
        "print(sys.stdin.read().upper(), file=sys.stderr)"
    )
    done = cli(
        *("run", "-i", "-e", "A=b c", "-w", "/tmp"),
        *("balenaos/python", "python", "-c", code, "-x", "y"),
        stdin="text",
    )
    assert done.stdout == "b c /tmp ['-x', 'y']\n"
    assert done.stderr == "TEXT\n"
    silent = python(cli, "import sys; print(repr(sys.stdin.read()))")
    assert silent.stdout == "''\n"


def test_volumes_and_binds(cli: Cli) -> None:
    (cli.directory / "here").mkdir()
    (cli.directory / "here" / "a").write_text("1")
    python(cli, "open('/v/b', 'w').write('2')", "-v", "./here:/v")
    assert (cli.directory / "here" / "b").read_text() == "2"
    refused = python(cli, "open('/v/c', 'w')", "-v", "./here:/v:ro", status=1)
    assert "Read-only file system" in refused.stderr
    python(cli, "open('/data/x', 'w').write('kept')", "-v", "things:/data")
    kept = python(cli, "print(open('/data/x').read())", "-v", "things:/data")
    assert kept.stdout == "kept\n"


def test_a_container_leaves_nothing_behind(cli: Cli) -> None:
    python(cli, "open('/tmp/x', 'w').write('y'); open('/root/z', 'w')")
    again = python(cli, "import os; print(os.path.exists('/tmp/x'))")
    assert again.stdout == "False\n"
    assert list((cli.home / "containers").iterdir()) == []
    assert [path for path in (cli.home / "run").rglob("*") if "run-" in path.name] == []


def test_a_published_port(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = cli.start(
        "run", "-p", f"127.0.0.1:{port}:8000", "balenaos/python", "python", "-m", "http.server",
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/etc/", timeout=20) as answer:
                    assert "passwd" in answer.read().decode()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    assert wait_for_no_process(cli.home) == {}


def test_the_outside_is_denied_and_the_log_says_how_to_grant_it(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code = f"import socket; socket.create_connection(('192.0.2.1', {port}), 5)"
        done = python(cli, code, status=1)
        assert "PermissionError" in done.stderr
        assert f'x-balenawasm: allow: ["tcp://192.0.2.1:{port}"]' in done.stderr
        assert f'--allow "tcp://192.0.2.1:{port}"' in done.stderr
        done = python(cli, code, "--network", "none", status=1)
        assert "denied: this container has no network" in done.stderr
        # The container's loopback is its own, not the host's.
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        assert "ConnectionRefusedError" in python(cli, code, status=1).stderr


def test_memory_has_a_limit(cli: Cli) -> None:
    done = python(cli, "x = bytearray(500 << 20)", "--memory", "128m", status=1)
    assert "MemoryError" in done.stderr
    assert python(cli, "print(len(bytearray(50 << 20)))", "--memory", "256m").stdout == "52428800\n"


def test_entrypoint_and_words_that_look_like_options(cli: Cli) -> None:
    done = cli("run", "--entrypoint", "python", "balenaos/python", "-V")
    assert done.stdout.startswith("Python 3.12")
    assert cli("run", "--entrypoint", "", "balenaos/python", "python", "-V").stdout == done.stdout
    refused = cli("run", "--entrypoint", "", "balenaos/python", status=1)
    assert "does not say what to run" in refused.stderr


def test_memory_that_a_program_needs_at_its_start(cli: Cli) -> None:
    done = python(cli, "", "--memory", "6m", status=134)
    assert "out of memory: it starts with 10 MiB" in done.stderr


def test_an_image_of_docker(cli: Cli) -> None:
    refused = cli("run", "python:3.12", status=1).stderr
    assert "no image 'python:3.12' in the store" in refused
    assert "did you mean balenaos/python:latest? Docker's images do not run here" in refused


def test_options_of_docker(cli: Cli) -> None:
    assert cli("run", "--rm", "balenaos/python", "python", "-V").stdout.startswith("Python 3.12")
    for words in (("run", "--name", "x", "balenaos/python"), ("exec", "-u", "root", "web", "ls")):
        assert f"No such option '{words[1]}'" in cli(*words, status=2).stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_busy_guest(cli: Cli, number: signal.Signals) -> None:
    process = cli.start("run", "balenaos/python", "python", "-c", "while True: pass")
    time.sleep(1.5)
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    assert wait_for_no_process(cli.home) == {}


def test_a_killed_command_takes_its_container_along(cli: Cli) -> None:
    process = cli.start("run", "balenaos/python", "python", "-c", "input()")
    time.sleep(1)
    process.kill()
    process.wait()
    assert wait_for_no_process(cli.home) == {}


def test_a_terminal_is_one_inside_too(cli: Cli) -> None:
    main, other = pty.openpty()
    process = cli.start(
        "run", "-it", "balenaos/python", "python", stdin=other, stdout=other, stderr=other
    )
    os.close(other)
    os.write(main, b"import sys; print('tty', sys.stdin.isatty(), 6 * 7)\nexit()\n")
    seen = b""
    try:
        while chunk := os.read(main, 4096):
            seen += chunk
    except OSError:
        pass
    os.close(main)
    assert process.wait(30) == 0
    assert b"tty True 42" in seen


def test_dockers_usual_place_for_an_application(cli: Cli) -> None:
    (cli.directory / "Balenafile").write_text(
        "FROM balenaos/python\nWORKDIR /usr/src/app\nCOPY . .\nCMD python main.py\n"
    )
    (cli.directory / "main.py").write_text("import os, part; print(os.getcwd(), part.NAME)")
    (cli.directory / "part.py").write_text("NAME = __file__")
    cli("build", "-t", "usual", ".")
    assert cli("run", "usual").stdout == "/usr/src/app /usr/src/app/part.py\n"
