from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from daemon_parts import (
    ask_port,
    free_port,
    processes_of,
    project,
    service,
    status_of,
    until,
)

from balenawasm.runtime.bundle import MountKind
from balenawasm.runtime.home import Home
from balenawasm.runtime.ports import PublishedPort, bind_port
from balenawasm.supervisor.client import (
    SupervisorClient,
    SupervisorError,
    connect,
    ensure_running,
)
from balenawasm.supervisor.status import ProgressEvent, ServiceState
from balenawasm.supervisor.target_state import (
    Condition,
    Dependency,
    RestartPolicy,
    TargetMount,
    TargetVolume,
)

if TYPE_CHECKING:
    from pathlib import Path

    from balenawasm.digest import Digest


def test_up_and_down(home: Home, client: SupervisorClient, layer: Digest) -> None:
    ping = client.ping()
    assert ping.home == str(home.root)
    assert client.projects() == ()
    port = PublishedPort(container_port=80, host_ip="127.0.0.1")
    data = TargetMount(kind=MountKind.VOLUME, source="shop_data", target=b"/data")
    target = project(
        service("serve", layer, ports=(port,), depends_on=(Dependency(service="sleep"),)),
        service("sleep", layer, mounts=(data,)),
        volumes=(TargetVolume(name="shop_data"),),
    )
    events: list[ProgressEvent] = []
    status = client.apply(target, events.append)
    assert [s.state for s in status.services] == [ServiceState.RUNNING] * 2
    starts = [e.service for e in events if e.step == "Start"]
    assert starts == ["sleep", "serve"]
    serve = status_of(client, "serve")
    assert ask_port(serve.ports[0].host_port) == b"hi\n"
    assert serve.address == "10.0.1.2"
    assert serve.container is not None
    container = client.container(serve.container)
    assert (container.project, container.service) == ("shop", "serve")
    assert home.volume("shop_data").is_dir()
    assert client.projects() == (client.project("shop"),)

    # The same target again changes nothing.
    events.clear()
    assert client.apply(target, events.append) == status
    assert events == []

    client.remove("shop", progress=events.append)
    assert [e.service for e in events if e.step == "Stop"] == ["serve", "sleep"]
    assert processes_of(home) == []
    assert connect(home) is None
    assert list(home.containers.iterdir()) == []
    assert list(home.projects.iterdir()) == []
    assert list((home.run / "containers").iterdir()) == []
    assert list((home.run / "networks").iterdir()) == []
    assert home.volume("shop_data").is_dir()


def test_down_with_volumes_removes_only_what_is_the_projects(
    home: Home, client: SupervisorClient, layer: Digest
) -> None:
    home.volume("outside").mkdir()
    volumes = (TargetVolume(name="shop_v"), TargetVolume(name="outside", external=True))
    client.apply(project(service("hello", layer), volumes=volumes))
    (home.volume("shop_v") / "file").write_text("data")
    client.remove("shop", volumes=True)
    assert not home.volume("shop_v").exists()
    assert home.volume("outside").is_dir()


def test_an_update_replaces_only_what_changed(client: SupervisorClient, layer: Digest) -> None:
    port = PublishedPort(container_port=80, host_ip="127.0.0.1")
    before = project(service("serve", layer, ports=(port,)), service("sleep", layer))
    first = client.apply(before)
    changed = before.services[0]._replace(env=(b"V=2",))
    second = client.apply(project(changed, service("hello", layer)))
    assert [s.name for s in second.services] == ["hello", "serve"]
    assert second.services[1].container != first.services[0].container
    # The published socket was kept open, so a port chosen by the system stays the same.
    assert second.services[1].ports == first.services[0].ports
    assert ask_port(second.services[1].ports[0].host_port) == b"hi\n"


def test_a_failed_update_is_undone(home: Home, client: SupervisorClient, layer: Digest) -> None:
    good = project(service("sleep", layer))
    before = client.apply(good)
    with pytest.raises(SupervisorError, match="no such program") as caught:
        client.apply(project(service("sleep", layer, b"absent")))
    assert caught.value.hint is not None
    after = client.project("shop")
    assert after.services[0].state is ServiceState.RUNNING
    assert after.services[0].command == before.services[0].command
    missing = good.services[0]._replace(layers=("sha256:" + "0" * 64,))
    with pytest.raises(SupervisorError, match="not in the store"):
        client.apply(project(missing))
    assert client.project("shop").services[0].state is ServiceState.RUNNING


def test_a_link_made_in_another_service_s_bind_is_not_followed(
    home: Home, client: SupervisorClient, layer: Digest, tmp_path: Path
) -> None:
    data, outside = tmp_path / "data", tmp_path / "outside"
    data.mkdir()
    outside.mkdir()
    shared = TargetMount(kind=MountKind.BIND, source=str(data), target=b"/data")
    inner = TargetMount(kind=MountKind.BIND, source=str(data / "link" / "new"), target=b"/cfg")
    target = project(
        service("serve", layer, mounts=(shared,)), service("sleep", layer, mounts=(inner,))
    )
    (data / "link").symlink_to(outside)
    with pytest.raises(SupervisorError, match="symbolic link"):
        client.apply(target)
    assert list(outside.iterdir()) == []
    (data / "link").unlink()
    until(lambda: connect(home) is None)  # it had nothing else to do
    client = ensure_running(home)
    client.apply(target)
    assert (data / "link" / "new").is_dir()

    client.stop("shop", "sleep")
    (data / "link" / "new").rmdir()
    (data / "link").rmdir()
    (outside / "new").mkdir()
    (data / "link").symlink_to(outside)
    with pytest.raises(SupervisorError, match="symbolic link"):
        client.start("shop", "sleep")
    client.remove("shop")


def test_a_port_in_use_fails_and_leaves_nothing(
    home: Home, client: SupervisorClient, layer: Digest
) -> None:
    holder = bind_port(PublishedPort(container_port=1, host_ip="127.0.0.1"))
    port = PublishedPort(container_port=80, host_port=holder.host_port, host_ip="127.0.0.1")
    with pytest.raises(SupervisorError, match=f"{holder.host_port} is already in use"):
        client.apply(project(service("serve", layer, ports=(port,)), service("sleep", layer)))
    holder.close()
    until(lambda: connect(home) is None)
    assert list(home.containers.iterdir()) == []
    assert list(home.projects.iterdir()) == []


def test_stop_start_restart(client: SupervisorClient, layer: Digest) -> None:
    number = free_port()
    port = PublishedPort(container_port=80, host_port=number, host_ip="127.0.0.1")
    client.apply(project(service("serve", layer, ports=(port,), restart=RestartPolicy.ALWAYS)))
    container = status_of(client, "serve").container
    assert client.stop("shop", "serve").services[0].state is ServiceState.STOPPED
    assert status_of(client, "serve").exit_code == 143
    with pytest.raises(ConnectionRefusedError):
        ask_port(number)
    assert client.start("shop", "serve").services[0].state is ServiceState.RUNNING
    assert ask_port(number) == b"hi\n"
    started = status_of(client, "serve").started_at
    assert client.restart("shop", "serve").services[0].state is ServiceState.RUNNING
    again = status_of(client, "serve")
    assert again.started_at is not None
    assert started is not None
    assert again.started_at > started
    assert again.container == container
    assert ask_port(number) == b"hi\n"
    with pytest.raises(SupervisorError, match="no service") as caught:
        client.stop("shop", "other")
    assert caught.value.hint == "its services: serve"
    with pytest.raises(SupervisorError, match="no project"):
        client.stop("other", "serve")


def test_services_reach_each_other_by_name(
    home: Home, client: SupervisorClient, layer: Digest
) -> None:
    client.apply(
        project(
            # Both listen on port 80, and neither is published.
            service("serve", layer),
            service("other", layer, b"serve"),
            service(
                "fetch",
                layer,
                depends_on=(Dependency(service="serve"), Dependency(service="other")),
                restart=RestartPolicy.ON_FAILURE,
            ),
        )
    )
    until(lambda: "hi" in [line.line for line in client.logs("shop", services=["fetch"])])
    hosts = (home.network("shop") / "hosts").read_text()
    assert hosts == "10.0.1.4\tfetch\n10.0.1.3\tother\n10.0.1.2\tserve\n"
    # A second project has a network of its own, where the name means nothing.
    client.apply(project(service("fetch", layer))._replace(name="mall"))
    until(lambda: client.project("mall").services[0].state is ServiceState.EXITED)
    assert client.project("mall").services[0].exit_code == 99
    client.remove("mall")


def test_a_guest_that_ignores_its_signal_is_killed(client: SupervisorClient, layer: Digest) -> None:
    client.apply(project(service("sleep", layer, stop_signal=28, stop_grace=0.1)))
    assert client.stop("shop", "sleep").services[0].exit_code == 137


def test_a_container_is_stopped_as_it_was_started_to_be(
    client: SupervisorClient, layer: Digest
) -> None:
    events: list[ProgressEvent] = []
    client.apply(project(service("sleep", layer, stop_signal=signal.SIGINT)))
    # Its service is another one by then, and afterwards none at all.
    client.apply(project(service("sleep", layer, stop_signal=signal.SIGUSR1)), events.append)
    client.remove("shop", progress=events.append)
    ends = [event.text for event in events if "killed by" in event.text]
    assert ends == ["killed by SIGINT", "killed by SIGUSR1"]


def test_restart_policies(client: SupervisorClient, layer: Digest) -> None:
    client.apply(
        project(
            service("once", layer, b"fail"),
            service("ok", layer, b"hello", restart=RestartPolicy.ON_FAILURE),
            service("twice", layer, b"fail", restart=RestartPolicy.ON_FAILURE, restart_retries=2),
            service("always", layer, b"hello", restart=RestartPolicy.ALWAYS),
        )
    )
    until(lambda: status_of(client, "always").restarts >= 2)
    until(lambda: status_of(client, "twice").state is ServiceState.EXITED)
    assert status_of(client, "twice").restarts == 2
    assert status_of(client, "twice").exit_code == 3
    once, ok = status_of(client, "once"), status_of(client, "ok")
    assert (once.state, once.exit_code, once.restarts) == (ServiceState.EXITED, 3, 0)
    assert (ok.state, ok.exit_code, ok.restarts) == (ServiceState.EXITED, 0, 0)
    lines = [line.line for line in client.logs("shop", services=["twice"])]
    assert lines == ["oops"] * 3


def test_waiting_for_completion(client: SupervisorClient, layer: Digest) -> None:
    job = Dependency(service="hello", condition=Condition.COMPLETED)
    status = client.apply(
        project(service("sleep", layer, depends_on=(job,)), service("hello", layer))
    )
    assert [s.state for s in status.services] == [ServiceState.EXITED, ServiceState.RUNNING]
    hopeless = Dependency(service="fail", condition=Condition.COMPLETED)
    with pytest.raises(SupervisorError, match="waits for fail to complete") as caught:
        client.apply(
            project(service("sleep", layer, depends_on=(hopeless,)), service("fail", layer))
        )
    assert caught.value.hint == "the last lines of fail: oops"


def test_a_lost_runner_is_restarted(client: SupervisorClient, layer: Digest) -> None:
    port = PublishedPort(container_port=80, host_ip="127.0.0.1")
    always = service("serve", layer, ports=(port,), restart=RestartPolicy.ALWAYS)
    status = client.apply(project(always)).services[0]
    runner = runner_of(client, status.container)
    os.kill(runner, signal.SIGKILL)
    until(lambda: status_of(client, "serve").restarts == 1)
    assert ask_port(status.ports[0].host_port) == b"hi\n"


def test_a_lost_zygote_is_replaced(home: Home, client: SupervisorClient, layer: Digest) -> None:
    always = service("sleep", layer, restart=RestartPolicy.ALWAYS)
    client.apply(project(always, service("spin", layer)))
    # Runners are the zygote's children.
    (zygote,) = (pid for pid in processes_of(home) if parent_of(pid) == client.ping().pid)
    os.kill(int(zygote), signal.SIGKILL)
    until(lambda: status_of(client, "sleep").restarts == 1)
    until(lambda: status_of(client, "sleep").state is ServiceState.RUNNING)
    assert status_of(client, "spin").exit_code == 137


def parent_of(pid: str) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])
    return 0


def runner_of(client: SupervisorClient, container: str | None) -> int:
    """The host process that listens on a container's control socket."""
    from balenawasm.runtime import control

    assert container is not None
    path = client.container(container).control_socket
    from pathlib import Path

    channel = control.connect(Path(path))
    credentials = channel.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    channel.close()
    return int.from_bytes(credentials[:4], "little")


def test_logs_are_merged_followed_and_cut(client: SupervisorClient, layer: Digest) -> None:
    client.apply(project(service("hello", layer), service("sleep", layer)))
    until(lambda: len(list(client.logs("shop"))) == 2)
    lines = list(client.logs("shop"))
    assert {(line.service, line.stream, line.line) for line in lines} == {
        ("hello", "stdout", "hello"),
        ("sleep", "stdout", "up"),
    }
    assert [line.time for line in lines] == sorted(line.time for line in lines)
    assert list(client.logs("shop", tail=0)) == []
    assert list(client.logs("shop", since="2999-01-01T00:00:00+01:00")) == []
    with pytest.raises(SupervisorError, match="not a time"):
        list(client.logs("shop", since="yesterday"))
    with pytest.raises(SupervisorError, match="not a number"):
        list(client.logs("shop", tail=-1))

    seen: list[str] = []
    reader = threading.Thread(
        target=lambda: seen.extend(x.line for x in client.logs("shop", follow=True, tail=0))
    )
    reader.start()
    time.sleep(0.05)
    client.restart("shop", "hello")
    until(lambda: len(list(client.logs("shop", services=["hello"]))) == 2)
    client.remove("shop")
    reader.join(20)
    assert not reader.is_alive()
    assert "up" not in seen


def test_the_next_supervisor_goes_on(home: Home, layer: Digest) -> None:
    client = ensure_running(home)
    always = service("sleep", layer, restart=RestartPolicy.ALWAYS)
    unless = service("spin", layer, restart=RestartPolicy.UNLESS_STOPPED)
    stopped = service("serve", layer, restart=RestartPolicy.UNLESS_STOPPED)
    client.apply(project(always, unless, stopped, service("hello", layer)))
    client.stop("shop", "serve")
    before = {s.name: (s.container, s.address) for s in client.project("shop").services}
    os.kill(client.ping().pid, signal.SIGKILL)
    until(lambda: processes_of(home) == [])
    client = ensure_running(home)
    until(lambda: status_of(client, "sleep").state is ServiceState.RUNNING)
    until(lambda: status_of(client, "spin").state is ServiceState.RUNNING)
    after = {s.name: (s.container, s.address) for s in client.project("shop").services}
    assert after == before
    assert status_of(client, "serve").state is ServiceState.STOPPED
    assert status_of(client, "hello").state is ServiceState.EXITED
    client.remove("shop")


def test_a_damaged_project_does_not_keep_others_down(home: Home, layer: Digest) -> None:
    client = ensure_running(home)
    client.apply(project(service("sleep", layer, restart=RestartPolicy.ALWAYS)))
    os.kill(client.ping().pid, signal.SIGTERM)
    until(lambda: processes_of(home) == [])
    bad = home.project("bad")
    bad.mkdir()
    (bad / "target.json").write_text("{}")
    client = ensure_running(home)
    until(lambda: status_of(client, "sleep").state is ServiceState.RUNNING)
    assert [p.name for p in client.projects()] == ["shop"]


def test_only_one_supervisor_and_many_callers(home: Home) -> None:
    pids: list[int] = []
    threads = [
        threading.Thread(target=lambda: pids.append(ensure_running(home).ping().pid))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(pids)) == 1
    assert len(pids) == 4


def test_a_supervisor_that_cannot_start_says_why(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    home.version_file.write_bytes(b"99\n")
    with pytest.raises(SupervisorError, match="status 1") as caught:
        ensure_running(home)
    assert "layout version" in (caught.value.hint or "")


def test_bad_requests_are_refused(client: SupervisorClient, layer: Digest) -> None:
    twice = project(service("a", layer), service("a", layer))
    with pytest.raises(SupervisorError, match="same name"):
        client.apply(twice)
    with pytest.raises(SupervisorError, match="no project"):
        client.remove("absent")
    with pytest.raises(SupervisorError, match="no container"):
        client.container("absent")
    evil = project()._replace(name="../evil")
    with pytest.raises(SupervisorError, match="not a usable project name"):
        client.apply(evil)
    with pytest.raises(SupervisorError, match="external and does not exist"):
        client.apply(project(volumes=(TargetVolume(name="gone", external=True),)))
