"""A supervisor of one's own for a test, and short ways to ask it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

from balenawasm.supervisor.client import SupervisorClient, SupervisorError, connect
from balenawasm.supervisor.target_state import ProjectTarget, ServiceTarget, TargetVolume

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.digest import Digest
    from balenawasm.runtime.home import Home
    from balenawasm.supervisor.status import ServiceStatus


def end(home: Home) -> None:
    """Stop the supervisor, if one runs, and check that nothing of it is left."""
    with contextlib.suppress(SupervisorError):
        client = connect(home)
        if client is not None:
            os.kill(client.ping().pid, signal.SIGTERM)
    with home.supervisor_lock.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    assert processes_of(home) == []
    assert not home.supervisor_socket.exists()


def processes_of(home: Home) -> list[str]:
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            if str(home.root).encode() in words:
                found.append(entry)
    return found


def service(name: str, layer: Digest, *argv: bytes, **more: object) -> ServiceTarget:
    return ServiceTarget(
        name=name,
        image=f"{name}:latest",
        image_digest=layer,
        layers=(layer,),
        argv=argv or (name.encode(),),
        **more,  # type: ignore[arg-type]
    )


def project(*services: ServiceTarget, volumes: tuple[TargetVolume, ...] = ()) -> ProjectTarget:
    return ProjectTarget(name="shop", services=services, volumes=volumes)


def status_of(client: SupervisorClient, name: str) -> ServiceStatus:
    return next(s for s in client.project("shop").services if s.name == name)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def ask_port(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        return sock.recv(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    assert isinstance(number, int)
    return number
