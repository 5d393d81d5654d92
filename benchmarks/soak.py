"""Many containers' processes blocked in every kind of call, killed and replaced at random.

    .venv/bin/python benchmarks/soak.py [--minutes 10] [--containers 500]

Each container is a kernel of its own with network, /proc and /dev; all run in this process, which
is harder than one process each. Printed are the kills by kind of call with the slowest of each, and
memory, fds and threads after a warm-up and at the end. Exit status 1 when a kill took 20 ms or
more, or something grew.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from array import array
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from c.toolchain import CToolchain

from balenawasm.engine.code_cache import CodeCache
from balenawasm.engine.machine import Machine
from balenawasm.kernel.kernel import Kernel
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.network import NetworkStack
from balenawasm.kernel.network_policy import OutboundPolicy
from balenawasm.kernel.network_resolver import OutsideResolver
from balenawasm.kernel.pipe import make_pipe
from balenawasm.kernel.program import Program
from balenawasm.kernel.stream import Stream
from balenawasm.kernel.workers import IDLE_SECONDS
from balenawasm.runtime.hostprocess import prepare_for_guests
from balenawasm.runtime.machine import TABLES
from balenawasm.vfs.filesystems.dev import DevFs
from balenawasm.vfs.filesystems.net import NetFs
from balenawasm.vfs.filesystems.proc import ProcFs
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY, Automount
from balenawasm.vfs.node import Content, OpenFlags
from balenawasm.vfs.path import Namespace

KINDS = (
    "sleep",
    "read",
    "poll",
    "write",
    "accept",
    "recv",
    "send",
    "datagram",
    "lookup",
    "local",
    "fifo",
    "suspend",
    "signal",
    "lock",
    "wait",
)
BUSY = "spin"
KILL_BAR_MS = 20.0
MEMORY_SLACK = 1.03
"""An allocator's own drift; a leak of 1 KiB a kill would be far above it."""
WARM_UP = 0.4
"""By then each host thread has run every kind some times: stacks, and what glibc keeps for each
thread, have reached their size.
"""


class Container:
    """One container with one blocked process."""

    def __init__(self, world: World, number: int, kind: str) -> None:
        self.network = NetworkStack(
            loopback_directory=world.directory / str(number),
            policy=OutboundPolicy.from_texts(["all"]),
            resolver=OutsideResolver(_slow_look_up),
        )
        root = Tmpfs(1 << 20).root
        namespace = Namespace(root)
        description = root.create(b"block").open(NOBODY, OpenFlags(write=True))
        description.write(NOBODY, [world.program.content.data])
        self.kernel = Kernel(
            namespace=namespace,
            executor=world.machine,
            hostname=f"c{number}",
            limits=Limits(),
            log=print,
        )
        namespace.mount(b"/dev", Automount(lambda: DevFs().root))
        namespace.mount(b"/net", Automount(lambda: NetFs(self.network).root))
        namespace.mount(b"/proc", Automount(lambda: ProcFs(self.kernel).root))
        self.world = world
        self.start(kind)

    def start(self, kind: str) -> None:
        """Start a process and wait until it is about to block."""
        self.kind = kind
        standard_input, self._feed = make_pipe()
        self._drain, standard_output = make_pipe()
        for end in (self._feed, self._drain):
            end.retain()
        told, tell = os.pipe2(os.O_CLOEXEC)
        self.process = self.kernel.spawn(
            [b"block", kind.encode()],
            [],
            b"/",
            {0: standard_input, 1: standard_output, 2: Stream(tell)},
            program=self.world.program,
        )
        said = os.read(told, 200)
        os.close(told)
        if said != b"!":
            raise SystemExit(f"{kind}: {said.decode()}")

    def kill(self) -> float:
        """Kill the process; returns the seconds until it has ended."""
        ended = threading.Event()
        self.process.on_exit.append(ended.set)
        begin = time.perf_counter()
        self.process.signal(9)
        if not ended.wait(60):
            raise SystemExit(f"{self.kind}: not killed within a minute")
        seconds = time.perf_counter() - begin
        self.kernel.kill_all()  # a child of the kind "wait"
        self.kernel.wait_all(60)
        for end in (self._feed, self._drain):
            end.release()
        return seconds


class World:
    """What all containers share."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.machine = Machine(CodeCache(directory / "code"), TABLES)
        wasm = CToolchain.ready().compile("block.c").read_bytes()
        self.program = Program(b"/block", Content("block", memoryview(wasm)))
        self._number = 0

    def start(self, kind: str) -> Container:
        """One more container."""
        self._number += 1
        return Container(self, self._number, kind)


def _slow_look_up(_name: str, _family: str) -> list[str]:
    time.sleep(1.0)
    return []


class Usage:
    """Memory, fds and threads of this process, once idle threads have gone."""

    def __init__(self) -> None:
        time.sleep(IDLE_SECONDS + 2)
        self.untrimmed = _private_kib()
        # What is free in glibc's arenas (16 of them for 570 threads) is no growth: the rest counts.
        ctypes.CDLL(None).malloc_trim(0)
        self.kib = _private_kib()
        self.fds = len(os.listdir("/proc/self/fd"))
        # A look-up that nobody waits for any more ends by itself.
        self.threads = sum(t.name != "name lookup" for t in threading.enumerate())

    def __str__(self) -> str:
        return (
            f"{self.kib / 1024:8.1f} MiB private ({self.untrimmed / 1024:.1f} with free memory of"
            f" the allocator), {self.fds} fds, {self.threads} threads"
        )


def _private_kib() -> int:
    status = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    private = [line.split() for line in status.splitlines() if line.startswith("Private_")]
    return sum(int(fields[1]) for fields in private)


def _no_times() -> array[float]:
    return array("f")  # 4 bytes a kill, lest the measuring itself be the growth


def churn(containers: list[Container], until: float) -> dict[str, array[float]]:
    """Kill and replace at random; returns the milliseconds of the kills by kind."""
    times: dict[str, array[float]] = defaultdict(_no_times)
    while time.monotonic() < until:
        one, other = random.sample(containers, 2)
        for container in (one, other):
            if container.process.outcome is not None:
                raise SystemExit(f"{container.kind} ended: {container.process.outcome}")
            times[container.kind].append(container.kill() * 1000)
        # They change places, so that each kernel gets every kind.
        kinds = other.kind, one.kind
        one.start(kinds[0])
        other.start(kinds[1])
        time.sleep(0.002)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--containers", type=int, default=500)
    parser.add_argument("--busy", type=int, default=1, help="containers that compute")
    options = parser.parse_args()
    prepare_for_guests()
    # What a runner allows for its one container; here 500 share one collector, which would walk
    # through the objects of all of them.
    gc.set_threshold(gc.get_threshold()[0] * options.containers)
    with tempfile.TemporaryDirectory() as text:
        world = World(Path(text))
        kinds = [KINDS[number % len(KINDS)] for number in range(options.containers)]
        containers = [world.start(kind) for kind in kinds]
        containers += [world.start(BUSY) for _ in range(options.busy)]
        print(f"{len(containers)} containers, {os.cpu_count()} processors")
        begin = time.monotonic()
        seconds = options.minutes * 60
        times = churn(containers, begin + seconds * WARM_UP)
        before = Usage()
        print(f"after the warm-up {before}")
        for kind, more in churn(containers, begin + seconds).items():
            times[kind] += more
        after = Usage()
        print(f"at the end        {after}")
        for kind, each in sorted(times.items()):
            print(
                f"{kind:9} {len(each):6} kills, median {statistics.median(each):6.2f} ms,"
                f" slowest {max(each):7.2f} ms"
            )
        everything = [value for each in times.values() for value in each]
        slow = sum(value >= KILL_BAR_MS for value in everything)
        print(f"all       {len(everything):6} kills, {slow} took {KILL_BAR_MS:.0f} ms or more")
        for container in containers:
            container.kill()
            container.network.close()
        grown = (
            after.kib > before.kib * MEMORY_SLACK
            or after.fds > before.fds
            or after.threads > before.threads
        )
        print("something grew" if grown else "nothing grew")
        return 1 if grown or slow else 0


if __name__ == "__main__":
    sys.exit(main())
