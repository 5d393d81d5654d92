"""Warm start of a container, hello from start to exit, against native processes and crun.

    python benchmarks/container_start.py [--rounds N] [--json]

Each round runs every side in turn, so that the machine's ups and downs hit all; medians count.

- balenawasm: Start to the zygote until Exited comes back: network, overlay root, kernel, module,
  output in the log, exit record, the runner's process gone
- through the API: POST …/start of a one-shot service until the supervisor knows that it ended
- native: fork and exec of a static program that only returns, from this (small) process
- crun: `crun run` of a bundle whose only process is that static program, when crun is installed
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import balenawasm
from balenawasm.digest import sha256_file
from balenawasm.disk.entry import Entry
from balenawasm.engine.wat import wat_to_wasm
from balenawasm.layer.image_writer import write_layer
from balenawasm.runtime import control
from balenawasm.runtime.bundle import Bundle, Layer, write_bundle
from balenawasm.runtime.home import Home
from balenawasm.runtime.scratch import remove_tree
from balenawasm.store.store import Store
from balenawasm.supervisor.client import SupervisorClient, ensure_running
from balenawasm.supervisor.status import ServiceState
from balenawasm.supervisor.target_state import ProjectTarget, ServiceTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HELLO = r"""(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))
"""
QUIET_SECONDS = 0.1
"""Between rounds, so that the zygote has the next runner ready: a *warm* start."""


def write_hello_layer(path: Path) -> None:
    """Write a layer whose only program is /hello."""
    wasm = wat_to_wasm(HELLO)
    with path.open("wb") as out:
        write_layer([Entry(path=b"hello", mode=0o100755, size=len(wasm), source=wasm)], out)


@contextlib.contextmanager
def zygote_side(home: Home, layer: Path) -> Iterator[Callable[[], float]]:
    """Yield a function that starts hello through a zygote and returns the seconds to its exit."""
    ours, theirs = control.make_pair()
    fd = theirs.fileno()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "balenawasm.runtime.zygote"),
            *("--home", str(home.root), "--channel", str(fd)),
        ],
        pass_fds=(fd,),
        cwd=Path(balenawasm.__path__[0]).parent,
    )
    theirs.close()
    paths = home.container("bench")
    described = Layer(path=str(layer), digest=sha256_file(layer))
    write_bundle(paths, Bundle(id="bench", layers=(described,), argv=(b"/hello",)))

    def once() -> float:
        begin = time.perf_counter()
        ours.send(control.Start(id="bench"))
        while True:
            received = ours.receive()
            assert received is not None
            if isinstance(received[0], control.Exited):
                assert received[0].code == 0
                return time.perf_counter() - begin
            assert not isinstance(received[0], control.Failed), received[0]

    yield once
    ours.close()
    process.wait()


@contextlib.contextmanager
def api_side(home: Home, layer: Path) -> Iterator[Callable[[], float]]:
    """Yield a function that starts hello through the supervisor's API."""
    digest = sha256_file(layer)
    blob = Store(home.store).open().blobs.path(digest)
    blob.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(layer, blob)
    client = ensure_running(home)
    hello = ServiceTarget(
        name="hello", image="hello", image_digest=digest, layers=(digest,), argv=(b"/hello",)
    )
    client.apply(ProjectTarget(name="bench", services=(hello,)))
    _await_exit(client)

    def once() -> float:
        begin = time.perf_counter()
        status = client.start("bench", "hello")
        if status.services[0].state is not ServiceState.EXITED:
            _await_exit(client)
        return time.perf_counter() - begin

    yield once
    client.remove("bench")


def _await_exit(client: SupervisorClient) -> None:
    while client.project("bench").services[0].state is not ServiceState.EXITED:
        pass


@contextlib.contextmanager
def native_side(program: Path) -> Iterator[Callable[[], float]]:
    """Yield a function that forks and execs the static program."""

    def once() -> float:
        begin = time.perf_counter()
        pid = os.posix_spawn(program, [program.name], {})
        _, status = os.waitpid(pid, 0)
        assert status == 0
        return time.perf_counter() - begin

    yield once


@contextlib.contextmanager
def crun_side(directory: Path, program: Path) -> Iterator[Callable[[], float]]:
    """Yield a function that runs the static program in a crun container."""
    crun = shutil.which("crun")
    assert crun is not None
    root = directory / "bundle" / "rootfs"
    root.mkdir(parents=True)
    shutil.copy(program, root / "true")
    subprocess.run([crun, "spec"], cwd=root.parent, check=True)
    specification = json.loads((root.parent / "config.json").read_text())
    specification["process"]["args"] = ["/true"]
    specification["process"]["terminal"] = False
    (root.parent / "config.json").write_text(json.dumps(specification))
    command = [crun, "--cgroup-manager=disabled", "run", "--bundle", str(root.parent), "bench"]

    def once() -> float:
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return time.perf_counter() - begin

    yield once


def make_static_true(directory: Path) -> Path | None:
    """Compile `int main(){return 0;}` statically; None without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    source = directory / "true.c"
    source.write_text("int main(void) { return 0; }\n")
    program = directory / "true"
    subprocess.run([compiler, "-static", "-O2", "-o", program, source], check=True)
    return program


def measure(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run the sides in turn; returns the seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, once in sides.items():
            time.sleep(QUIET_SECONDS)
            times[name].append(once())
    return times


def main() -> None:
    """Measure and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="container-start-"))
    try:
        with contextlib.ExitStack() as stack:
            layer = directory / "layer"
            write_hello_layer(layer)
            zygote_home, api_home = (Home(directory / name).create() for name in ("zygote", "api"))
            sides = {
                "balenawasm": stack.enter_context(zygote_side(zygote_home, layer)),
                "through the API": stack.enter_context(api_side(api_home, layer)),
            }
            native = make_static_true(directory)
            if native is not None:
                sides["native"] = stack.enter_context(native_side(native))
                if shutil.which("crun"):
                    sides["crun"] = stack.enter_context(crun_side(directory, native))
            measure(sides, 5)
            times = measure(sides, arguments.rounds)
    finally:
        remove_tree(directory)
    report(times, as_json=arguments.json)


def report(times: dict[str, list[float]], *, as_json: bool) -> None:
    """Print medians, 99th percentiles and the ratio to balenawasm's."""
    rows = {
        name: {
            "median_ms": statistics.median(values) * 1e3,
            "p99_ms": statistics.quantiles(values, n=100)[98] * 1e3,
        }
        for name, values in times.items()
    }
    if as_json:
        print(json.dumps(rows))
        return
    ours = rows["balenawasm"]["median_ms"]
    print(f"{'hello, start to exit':22} {'median':>9} {'p99':>9} {'ratio':>7}")
    for name, row in rows.items():
        ratio = row["median_ms"] / ours
        print(f"{name:22} {row['median_ms']:6.2f} ms {row['p99_ms']:6.2f} ms {ratio:6.2f}x")


if __name__ == "__main__":
    main()
