from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from container_parts import guest_layer, guests

from balenawasm.kernel.network import NetworkStack
from balenawasm.runtime import bundle_mounts
from balenawasm.runtime.bundle import Bundle, Mount, MountKind
from balenawasm.runtime.exitrecord import StartError
from balenawasm.runtime.foreground import RunSpec, run_foreground
from balenawasm.runtime.home import Home
from balenawasm.runtime.ports import PortInUseError, PublishedPort, bind_port
from balenawasm.runtime.rootfs import build_namespace
from balenawasm.vfs.filesystems.hostdir import HostDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from balenawasm.runtime.bundle import Layer


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home")).create()


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Layer:
    return guest_layer(tmp_path_factory.mktemp("layer") / "layer.ext4")


@pytest.fixture
def wasm(tmp_path: Path) -> Callable[[str], Path]:
    def write(name: str) -> Path:
        path = tmp_path / f"{name}.wasm"
        path.write_bytes(guests()[name])
        return path

    return write


def run(home: Home, spec: RunSpec, notices: list[str] | None = None) -> int:
    told = notices if notices is not None else []
    return run_foreground(home, spec, progress=lambda _: None, notice=told.append)


@pytest.fixture(autouse=True)
def nothing_left(home: Home) -> Iterator[None]:
    yield
    for directory in (home.containers, home.run / "containers", home.run / "networks"):
        assert list(directory.iterdir()) == []


def test_a_wasm_file_runs_with_our_streams(
    home: Home, wasm: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(home, RunSpec(program=wasm("hello"), argv=(b"hello",))) == 0
    assert run(home, RunSpec(program=wasm("fail"), argv=(b"fail",))) == 3
    captured = capfd.readouterr()
    assert captured.out == "hello\n"
    assert captured.err == "oops"


def test_an_image_runs(home: Home, layer: Layer, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(home, RunSpec(layers=(layer,), argv=(b"hello",))) == 0
    assert run(home, RunSpec(layers=(layer,), argv=(b"/bin/fail",))) == 3
    assert run(home, RunSpec(layers=(layer,), argv=(b"hosts",), hostname="box")) == 0
    out = capfd.readouterr().out
    assert "hello" in out
    assert "127.0.0.1\tlocalhost\n10.0.0.2\tbox\n" in out


def test_the_environment(
    home: Home, wasm: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    spec = RunSpec(program=wasm("env"), argv=(b"env",), env=(b"A=1", b"HOME=/h", b"A=2"), cwd=b"/x")
    assert run(home, spec._replace(hostname="box")) == 0
    variables = capfd.readouterr().out.split("\0")
    assert variables[1:-1] == ["HOSTNAME=box", "HOME=/h", "A=2", "PWD=/x"]
    assert variables[0].startswith("PATH=/usr/local/sbin:")


def test_a_trap_is_told_and_counts_as_an_abort(home: Home, wasm: Callable[[str], Path]) -> None:
    read, write = os.pipe()
    spec = RunSpec(program=wasm("trap"), argv=(b"trap",))

    def notice(line: str) -> None:
        os.write(write, line.encode())

    code = run_foreground(home, spec, progress=lambda _: None, notice=notice)
    os.close(write)
    with os.fdopen(read) as file:
        assert "unreachable" in file.read()
    assert code == 134


@pytest.mark.parametrize(
    ("spec", "code", "text"),
    [
        (RunSpec(argv=(b"nothing",)), 127, "no such program"),
        (RunSpec(argv=(b"x",), program=Path("/nonexistent.wasm")), 127, "no file"),
        (RunSpec(argv=(b"x",), program=Path("/etc/passwd")), 126, "not a WebAssembly module"),
        (
            RunSpec(
                argv=(b"x",),
                mounts=(Mount(kind=MountKind.BIND, source="/nonexistent", target=b"/m"),),
            ),
            125,
            "cannot mount /nonexistent at /m",
        ),
    ],
)
def test_what_cannot_start(home: Home, spec: RunSpec, code: int, text: str) -> None:
    with pytest.raises(StartError, match=text) as caught:
        run(home, spec)
    assert caught.value.exit_code == code


def test_a_bind_of_the_state_directory_is_refused(home: Home) -> None:
    for source in (home.root, home.native_code, home.root.parent):
        mount = Mount(kind=MountKind.BIND, source=str(source), target=b"/m", read_only=True)
        with pytest.raises(StartError, match="state directory") as caught:
            run(home, RunSpec(argv=(b"x",), mounts=(mount,)))
        assert caught.value.hint


def test_mounts_name_no_paths_of_the_host(home: Home, tmp_path: Path) -> None:
    mount = Mount(kind=MountKind.BIND, source=str(tmp_path), target=b"/m")
    bundle = Bundle(id="x", argv=(b"x",), mounts=(mount,))
    network = NetworkStack(loopback_directory=tmp_path / "lo", log=lambda _: None)
    namespace = build_namespace(bundle, home.container("x"), lambda: network).namespace
    assert {it.source for it in namespace.mounts() if it.path == b"/m"} == {b"bind"}
    network.close()


def test_links_in_what_other_containers_write_are_refused(home: Home, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "shared" / "link").symlink_to(tmp_path / "other")
    mount = Mount(kind=MountKind.BIND, source=str(tmp_path / "shared" / "link"), target=b"/m")
    bundle = Bundle(id="x", argv=(b"x",), mounts=(mount,))
    network = NetworkStack(loopback_directory=tmp_path / "lo", log=lambda _: None)
    build_namespace(bundle, home.container("x"), lambda: network)
    shared = bundle._replace(shared=(str(tmp_path / "shared"),))
    with pytest.raises(StartError, match="symbolic link"):
        build_namespace(shared, home.container("x"), lambda: network)
    network.close()


def test_a_way_that_changes_while_it_is_taken_is_noticed(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    (shared / "inner").mkdir(parents=True)

    def too_late(path: Path, *, read_only: bool) -> HostDirectory:
        (shared / "inner").rename(shared / "moved")
        (shared / "inner").symlink_to(tmp_path)
        return HostDirectory(path, read_only=read_only)

    monkeypatch.setattr(bundle_mounts, "HostDirectory", too_late)
    mount = Mount(kind=MountKind.BIND, source=str(shared / "inner"), target=b"/m")
    bundle = Bundle(id="x", argv=(b"x",), mounts=(mount,), shared=(str(shared),))
    network = NetworkStack(loopback_directory=tmp_path / "lo", log=lambda _: None)
    with pytest.raises(StartError, match="changed at this moment"):
        build_namespace(bundle, home.container("x"), lambda: network)
    network.close()


def test_a_damaged_layer_is_an_error(home: Home, layer: Layer, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(b"\0" * 8192)
    with pytest.raises(StartError):
        run(home, RunSpec(layers=(layer._replace(path=str(bad)),), argv=(b"hello",)))


def test_a_host_directory_as_root(
    home: Home, wasm: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "hosts").write_text("from the host\n")
    mount = Mount(kind=MountKind.BIND, source=str(root), target=b"/")
    assert run(home, RunSpec(program=wasm("hosts"), argv=(b"hosts",), mounts=(mount,))) == 0
    assert capfd.readouterr().out == "from the host\n"


def test_a_published_port_reaches_the_guest(home: Home, wasm: Callable[[str], Path]) -> None:
    probe = bind_port(PublishedPort(container_port=80, host_ip="127.0.0.1"))
    port = probe.host_port
    probe.close()
    published = PublishedPort(container_port=80, host_port=port, host_ip="127.0.0.1")
    spec = RunSpec(program=wasm("serve"), argv=(b"serve",), ports=(published,))
    answers: list[bytes] = []

    def talk() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with (
                contextlib.suppress(ConnectionError),
                socket.create_connection(("127.0.0.1", port), timeout=20) as client,
            ):
                answers.append(client.recv(10))
                break
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=talk)
    thread.start()
    assert run(home, spec) == 128 + signal.SIGTERM
    thread.join()
    assert answers == [b"hi\n"]
    holder = bind_port(published)
    with pytest.raises(PortInUseError):
        run(home, spec)
    holder.close()


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from balenawasm.runtime.foreground import RunSpec, run_foreground
from balenawasm.runtime.home import Home
spec = RunSpec(program=Path({program!r}), argv=(b"guest",), stdin={stdin!r})
sys.exit(run_foreground(Home(Path({home!r})), spec, progress=print, notice=print))
"""


def start(home: Home, program: Path, *, stdin: bool = False) -> subprocess.Popen[bytes]:
    script = SCRIPT.format(path=sys.path, program=str(program), stdin=stdin, home=str(home.root))
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("name", "signals", "code"),
    [
        ("sleep", [signal.SIGINT], 130),
        ("spin", [signal.SIGTERM], 143),
        ("sleep", [signal.SIGHUP], 129),
    ],
)
def test_signals_reach_the_guest(
    home: Home, wasm: Callable[[str], Path], name: str, signals: list[int], code: int
) -> None:
    with start(home, wasm(name)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        for signo in signals:
            process.send_signal(signo)
        assert process.wait(20) == code


def test_a_terminal_interrupt_goes_to_the_whole_group(
    home: Home, wasm: Callable[[str], Path]
) -> None:
    with start(home, wasm("sleep")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) == 130


def test_standard_input_is_passed_only_when_asked(home: Home, wasm: Callable[[str], Path]) -> None:
    with start(home, wasm("echo"), stdin=True) as process:
        assert process.communicate(b"some\ninput", timeout=20)[0] == b"some\ninput"
    with start(home, wasm("echo")) as process:
        assert process.communicate(timeout=20)[0] == b""


def test_killing_the_command_kills_the_guest(home: Home, wasm: Callable[[str], Path]) -> None:
    with start(home, wasm("sleep")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.kill()
        # The pipe's end: the runner, which holds the other end of it, is gone as well.
        assert process.stdout.read() == b""
    from balenawasm.runtime.sweep import sweep_runs

    deadline = time.monotonic() + 10
    while list((home.run / "containers").iterdir()) and time.monotonic() < deadline:
        sweep_runs(home)
