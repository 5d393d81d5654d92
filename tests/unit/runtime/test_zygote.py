from __future__ import annotations

import dataclasses
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from container_parts import guest_layer

import balenawasm
from balenawasm.runtime import control
from balenawasm.runtime.bundle import Bundle, Network, Published, write_bundle
from balenawasm.runtime.control import Channel, Message, Target
from balenawasm.runtime.exitrecord import read_exit_record
from balenawasm.runtime.home import Home
from balenawasm.runtime.logs import LogReader
from balenawasm.runtime.ports import PublishedPort, bind_port
from balenawasm.runtime.zygote import Zygote as ZygoteProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.runtime.bundle import Layer


@dataclasses.dataclass
class Zygote:
    home: Home
    layer: Layer
    channel: Channel
    process: subprocess.Popen[bytes]

    def prepare(self, name: str, *argv: bytes, network: Network | None = None) -> None:
        bundle = Bundle(id=name, layers=(self.layer,), argv=argv, network=network, hostname=name)
        write_bundle(self.home.container(name), bundle)

    def start(self, name: str, *argv: bytes) -> None:
        self.prepare(name, *argv)
        self.channel.send(control.Start(id=name))

    def next(self) -> Message:
        while True:
            received = self.channel.receive()
            assert received is not None
            if not isinstance(received[0], control.Progress):
                return received[0]

    def running(self) -> control.Running:
        message = self.next()
        assert isinstance(message, control.Running)
        return message

    def exited(self) -> control.Exited:
        message = self.next()
        assert isinstance(message, control.Exited)
        return message

    def connect(self, name: str) -> Channel:
        channel = control.connect(self.home.container(name).control_socket)
        channel.socket.settimeout(20)
        return channel

    def log(self, name: str) -> list[tuple[str, str]]:
        reader = LogReader(self.home.container(name).log)
        try:
            return [(record.stream, record.line) for record in reader.records()]
        finally:
            reader.close()

    def wait_for_log(self, name: str, line: str) -> None:
        deadline = time.monotonic() + 20
        while line not in [text for _, text in self.log(name)]:
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Layer:
    return guest_layer(tmp_path_factory.mktemp("layer") / "layer.ext4")


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory, layer: Layer) -> Iterator[Zygote]:
    home = Home(tmp_path_factory.mktemp("home")).create()
    yield from run_zygote(home, layer)


def run_zygote(home: Home, layer: Layer) -> Iterator[Zygote]:
    ours, theirs = control.make_pair()
    fd = theirs.fileno()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "balenawasm.runtime.zygote"),
            *("--home", str(home.root), "--channel", str(fd)),
        ],
        pass_fds=(fd,),
        stdin=subprocess.DEVNULL,
        cwd=Path(balenawasm.__path__[0]).parent,
    )
    theirs.close()
    ours.socket.settimeout(30)
    yield Zygote(home, layer, ours, process)
    ours.close()
    assert process.wait(20) in (0, -signal.SIGKILL)


def ask(channel: Channel, message: Message) -> Message:
    channel.send(message)
    received = channel.receive()
    assert received is not None
    return received[0]


def test_output_becomes_log_lines_and_the_end_is_recorded(zygote: Zygote) -> None:
    for name, code, expected in [
        ("hello", 0, ("stdout", "hello")),
        ("fail", 3, ("stderr", "oops")),
        ("trap", 134, None),
    ]:
        zygote.start(name, name.encode())
        assert zygote.running().id == name
        assert zygote.exited() == control.Exited(id=name, code=code, reason=zygote_reason(name))
        record = read_exit_record(zygote.home.container(name).exit)
        assert record is not None
        assert record.code == code
        assert record.started_at <= record.finished_at
        if expected is not None:
            assert zygote.log(name) == [expected]
    assert zygote.log("trap")[0][0] == "system"


def test_a_runner_may_open_as_many_files_as_the_host_allows(zygote: Zygote) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.prlimit(zygote.process.pid, resource.RLIMIT_NOFILE, (min(soft, 128), hard))
    zygote.start("first", b"sleep")  # a runner that was forked ahead, or not: both have it
    pids = [zygote.running().pid]
    zygote.start("second", b"sleep")
    pids.append(zygote.running().pid)
    assert [resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids] == [(hard, hard)] * 2


def test_a_runner_that_was_just_killed_as_stale_gets_no_container() -> None:
    sent: list[tuple[str, object]] = []

    def runner(name: str, *, stale: bool) -> SimpleNamespace:
        channel = SimpleNamespace(send=lambda message, _fds: sent.append((name, message)))
        return SimpleNamespace(id="", pid=1, ready=True, stale=stale, channel=channel)

    own = object.__new__(ZygoteProcess)
    own._spare = runner("spare", stale=True)  # type: ignore[assignment]
    own._fork = lambda *, rehearsing: runner("new", stale=rehearsing)  # type: ignore
    own._start(control.Start(id="x"), [])
    assert sent == [("new", control.Start(id="x"))]


def zygote_reason(name: str) -> str:
    return {
        "hello": "exited with code 0",
        "fail": "exited with code 3",
        "trap": "wasm `unreachable` instruction executed",
    }[name]


def test_many_starts_in_a_row_and_at_once(zygote: Zygote) -> None:
    names = [f"many{number}" for number in range(12)]
    for name in names:
        zygote.start(name, b"hello")
    messages = [zygote.next() for _ in range(2 * len(names))]
    exited = [m for m in messages if isinstance(m, control.Exited)]
    assert {m.id for m in exited} == set(names)
    assert {m.code for m in exited} == {0}


def test_what_cannot_start_is_reported_once(zygote: Zygote) -> None:
    zygote.start("absent", b"absent")
    failed = zygote.next()
    assert isinstance(failed, control.Failed)
    assert (failed.id, failed.code) == ("absent", 127)
    assert "no such program" in failed.message
    zygote.channel.send(control.Start(id="nobundle"))
    failed = zygote.next()
    assert isinstance(failed, control.Failed)
    assert "bundle" in failed.message


def test_signals_status_and_wait(zygote: Zygote) -> None:
    zygote.start("sleep", b"sleep")
    running = zygote.running()
    zygote.wait_for_log("sleep", "up")
    with zygote.connect("sleep").socket as sock, zygote.connect("sleep").socket as waiting:
        channel, waiter = Channel(sock), Channel(waiting)
        waiter.send(control.Wait())
        status = ask(channel, control.StatusRequest())
        assert isinstance(status, control.Status)
        assert [(p.pid, p.argv) for p in status.processes] == [(1, (b"sleep",))]
        assert status.processes[0].memory == 4 * 65536
        assert status.resident > 1 << 20
        # A runner leads its own session and has no fds of the zygote's or of other runners.
        assert os.getsid(running.pid) == running.pid
        assert ask(channel, control.Signal(signal=28)) == control.Done()
        assert ask(channel, control.Signal(signal=15)) == control.Done()
        received = waiter.receive()
        assert received is not None
        assert isinstance(received[0], control.Exited)
        assert received[0].code == 143
    exited = zygote.exited()
    assert (exited.code, exited.reason) == (143, "killed by SIGTERM")
    wait_for_end(running.pid)


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline


def test_a_busy_guest_is_killed(zygote: Zygote) -> None:
    zygote.start("spin", b"spin")
    zygote.running()
    zygote.wait_for_log("spin", "up")
    with zygote.connect("spin").socket as sock:
        assert ask(Channel(sock), control.Signal(signal=9, target=Target.ALL)) == control.Done()
    assert zygote.exited().code == 137


def test_exec_runs_beside_process_one_on_the_streams_that_came(zygote: Zygote) -> None:
    zygote.start("host", b"sleep")
    zygote.running()
    zygote.wait_for_log("host", "up")
    read, write = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    with zygote.connect("host").socket as sock, os.fdopen(read) as out:
        channel = Channel(sock)
        request = control.Exec(argv=(b"env",), env=(b"A=1",), cwd=b"/tmp")
        channel.send(request, [null, write, null])
        os.close(write)
        received = channel.receive()
        assert received is not None
        assert isinstance(received[0], control.Running)
        assert received[0].pid > 1
        received = channel.receive()
        assert received is not None
        assert received[0] == control.Exited(code=0)
        variables = out.read().split("\0")
        assert {"A=1", "PWD=/tmp", "HOSTNAME=host"} <= set(variables)
        # The same connection may run another one; what fails says so.
        channel.send(control.Exec(argv=(b"absent",)), [null, null, null])
        received = channel.receive()
        assert received is not None
        assert isinstance(received[0], control.Failed)
        assert received[0].code == 127
        channel.send(control.Exec(argv=(b"hello",)), [null])
        received = channel.receive()
        assert received is not None
        assert isinstance(received[0], control.Failed)
    os.close(null)
    with zygote.connect("host").socket as sock:
        ask(Channel(sock), control.Signal(signal=9))
    assert zygote.exited().code == 137


def test_an_exec_ends_with_its_connection(zygote: Zygote) -> None:
    zygote.start("left", b"sleep")
    zygote.running()
    null = os.open(os.devnull, os.O_RDWR)
    sock = zygote.connect("left").socket
    channel = Channel(sock)
    channel.send(control.Exec(argv=(b"spin",)), [null, null, null])
    received = channel.receive()
    assert received is not None
    sock.close()
    with zygote.connect("left").socket as other:
        deadline = time.monotonic() + 20
        while True:
            status = ask(Channel(other), control.StatusRequest())
            assert isinstance(status, control.Status)
            if len(status.processes) == 1:
                break
            assert time.monotonic() < deadline
        ask(Channel(other), control.Signal(signal=15))
    os.close(null)
    assert zygote.exited().code == 143


def test_nonsense_closes_only_its_own_connection(zygote: Zygote) -> None:
    zygote.start("calm", b"sleep")
    zygote.running()
    with zygote.connect("calm").socket as bad, zygote.connect("calm").socket as good:
        bad.send(b"nonsense")
        assert bad.recv(10) == b""
        assert isinstance(ask(Channel(good), control.StatusRequest()), control.Status)
        answer = ask(Channel(good), control.Start(id="x"))
        assert isinstance(answer, control.Failed)
        answer = ask(Channel(good), control.Signal(signal=1000))
        assert isinstance(answer, control.Failed)
        ask(Channel(good), control.Signal(signal=15))
    zygote.exited()


def test_a_published_port_is_handed_over(zygote: Zygote, tmp_path: Path) -> None:
    bound = bind_port(PublishedPort(container_port=80, host_ip="127.0.0.1"))
    network = Network(
        address="10.0.1.2",
        directory=str(tmp_path / "net"),
        hosts_file=str(tmp_path / "hosts"),
        published=(Published(container_port=80, listener=0),),
    )
    (tmp_path / "hosts").write_text("10.0.1.2\tweb\n10.0.1.3\tapi\n")
    zygote.prepare("web", b"serve", network=network)
    zygote.channel.send(control.Start(id="web"), [bound.socket.fileno()])
    zygote.running()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", bound.host_port), timeout=20) as client:
            assert client.recv(10) == b"hi\n"
    assert (tmp_path / "net" / "10.0.1.2" / "tcp-80").exists()
    # The runner is killed outright: the port stays open, and the next one goes on.
    zygote.channel.send(control.Kill(id="web"))
    exited = zygote.exited()
    assert (exited.code, exited.reason) == (137, "the runner was killed by SIGKILL")
    with socket.create_connection(("127.0.0.1", bound.host_port), timeout=20) as client:
        zygote.channel.send(control.Start(id="web"), [bound.socket.fileno()])
        assert client.recv(10) == b"hi\n"
    zygote.running()
    zygote.channel.send(control.Kill(id="web"))
    zygote.exited()
    bound.close()


def test_runners_have_only_their_own_fds(zygote: Zygote) -> None:
    zygote.start("one", b"sleep")
    zygote.start("two", b"sleep")
    pids = {m.id: m.pid for m in (zygote.running(), zygote.running())}
    for pid in pids.values():
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert not [link for link in links if "pidfd" in link]
        # Its channel to the zygote and its control socket.
        assert sum(link.startswith("socket:") for link in links) == 2
    for name in ("one", "two"):
        zygote.channel.send(control.Kill(id=name))
        zygote.exited()


def test_the_end_of_the_supervisor_is_the_end_of_everything(tmp_path: Path, layer: Layer) -> None:
    runs = run_zygote(Home(tmp_path).create(), layer)
    zygote = next(runs)
    zygote.start("a", b"sleep")
    zygote.start("b", b"spin")
    pids = [zygote.running().pid, zygote.running().pid]
    zygote.channel.close()
    assert zygote.process.wait(20) == 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert list(runs) == []


def test_a_killed_zygote_takes_its_runners_along(tmp_path: Path, layer: Layer) -> None:
    runs = run_zygote(Home(tmp_path).create(), layer)
    zygote = next(runs)
    zygote.start("a", b"sleep")
    pid = zygote.running().pid
    zygote.process.kill()
    assert zygote.channel.receive() is None
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        # The orphan's zombie is init's to collect; in a container there may be no init that does.
        if b"State:\tZ" in Path(f"/proc/{pid}/status").read_bytes():
            break
        assert time.monotonic() < deadline
    assert list(runs) == []
