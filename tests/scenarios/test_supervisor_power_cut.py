"""Power cuts in the middle of updates: everything is killed at a random moment, and afterwards the
next supervisor runs the old release or the new one, whole, with the volume's data intact.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import balenawasm
from balenawasm.digest import sha256_file
from balenawasm.runtime.home import Home
from balenawasm.store.store import Store
from balenawasm.supervisor.client import SupervisorClient, SupervisorError, connect
from balenawasm.supervisor.status import ServiceState
from balenawasm.supervisor.target_state import (
    Dependency,
    ProjectTarget,
    RestartPolicy,
    ServiceTarget,
    TargetVolume,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "runtime"))

from container_parts import write_guest_layer

CUTS = 12


def release(version: int, layer: str) -> ProjectTarget:
    def service(name: str, *needs: str) -> ServiceTarget:
        return ServiceTarget(
            name=name,
            image="guests",
            image_digest=layer,
            layers=(layer,),
            argv=(b"sleep",),
            env=(b"VERSION=%d" % version,),
            restart=RestartPolicy.ALWAYS,
            depends_on=tuple(Dependency(service=need) for need in needs),
        )

    return ProjectTarget(
        name="shop",
        services=(service("db"), service("api", "db"), service(f"web{version % 2}", "api")),
        volumes=(TargetVolume(name="shop_data"),),
    )


def names(target: ProjectTarget) -> list[str]:
    return sorted(service.name for service in target.services)


def start_supervisor(home: Home) -> SupervisorClient:
    """Start one as a service manager would: in its own session, not on demand."""
    ready, ready_daemon = os.pipe()
    with home.supervisor_log.open("ab") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "balenawasm.supervisor.daemon"),
                *("--home", str(home.root), "--ready-fd", str(ready_daemon)),
            ],
            pass_fds=(ready_daemon,),
            stderr=log,
            cwd=Path(balenawasm.__path__[0]).parent,
            start_new_session=True,
        )
    os.close(ready_daemon)
    assert os.read(ready, 1) == b"R", home.supervisor_log.read_text()
    os.close(ready)
    client = connect(home)
    assert client is not None
    # Reap it when it is killed, so that its process is really gone.
    threading.Thread(target=process.wait, daemon=True).start()
    return client


def processes_of(home: Home) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                if str(home.root).encode() in words:
                    found.append(int(entry))
    return found


def cut_power(home: Home) -> None:
    """Kill supervisor, zygote and runners outright, until nothing is left."""
    deadline = time.monotonic() + 20
    while processes := processes_of(home):
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_old_or_new_after_a_power_cut(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    moments = random.Random(seed)
    home = Home(tmp_path / "home").create()
    blobs = Store(home.store).open().blobs
    write_guest_layer(tmp_path / "layer")
    layer = sha256_file(tmp_path / "layer")
    blobs.path(layer).parent.mkdir(parents=True, exist_ok=True)
    blobs.path(layer).hardlink_to(tmp_path / "layer")
    try:
        client = start_supervisor(home)
        client.apply(release(0, layer))
        data = home.volume("shop_data") / "file"
        data.write_text("kept")
        current = 0
        for _ in range(CUTS):
            update = threading.Thread(target=apply, args=(client, release(current + 1, layer)))
            update.start()
            time.sleep(moments.uniform(0, 0.15))
            cut_power(home)
            update.join(20)
            assert not update.is_alive()
            client = start_supervisor(home)
            current = await_release(client, (current, current + 1), layer)
            assert data.read_text() == "kept"
        client.remove("shop")
        # Rehearsals that were cut are swept by the next supervisor.
        assert [p for p in home.containers.iterdir() if not p.name.startswith("run-")] == []
        assert list(home.projects.iterdir()) == []
    finally:
        cut_power(home)


def apply(client: SupervisorClient, target: ProjectTarget) -> None:
    with contextlib.suppress(SupervisorError):
        client.apply(target)


def await_release(client: SupervisorClient, versions: tuple[int, int], layer: str) -> int:
    """Wait until one of two releases runs, and nothing else; returns which."""
    deadline = time.monotonic() + 30
    while True:
        services = client.project("shop").services
        running = sorted(s.name for s in services if s.state is ServiceState.RUNNING)
        for version in versions:
            if running == names(release(version, layer)) and len(services) == len(running):
                return version
        assert time.monotonic() < deadline, services
        time.sleep(0.01)
