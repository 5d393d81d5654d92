"""Start of a stock program, ours against wasmtime's own WASI: `wasi_start.py MODULE [ARG…]`.

Two comparisons, each side in turn so that a busy machine slows both alike, medians and their ratio:
in-process (module loaded, a new instance per run), and whole process (a new Python for each run,
native code cached). Without arguments the program gets `-c pass`. The bar: at most 1.3 times
wasmtime's own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from wasi_sides import SIDES


def in_process(module: Path, arguments: list[str], cache: Path, runs: int) -> dict[str, float]:
    """Median seconds of instantiating and running a loaded program."""
    once = {name: side(module, arguments, cache, {}) for name, side in SIDES.items()}
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    for run in once.values():
        run()  # the first loads the program
    for _ in range(runs):
        for name, run in once.items():
            times[name].append(run())
    return {name: statistics.median(values) for name, values in times.items()}


def whole_process(module: Path, arguments: list[str], cache: Path, runs: int) -> dict[str, float]:
    """Median seconds of a new Python that imports its side and runs the program once."""
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    # As installed: byte code cached. The first turn fills that cache and does not count.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(cache / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for turn in range(runs + 1):
        for name in SIDES:
            command = [sys.executable, __file__, "--side", name, "--cache", str(cache), str(module)]
            started = time.perf_counter()
            subprocess.run([*command, *arguments], check=True, env=environment)
            if turn > 0:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def show(title: str, medians: dict[str, float]) -> None:
    ratio = medians["ours"] / medians["wasmtime"]
    print(
        f"{title:14} ours {medians['ours'] * 1e3:7.1f} ms"
        f"   wasmtime {medians['wasmtime'] * 1e3:7.1f} ms   ratio {ratio:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", type=Path)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--side", choices=SIDES, help="run once on one side and end")
    options = parser.parse_args()
    module = options.module.resolve()
    arguments = options.arguments or ["-c", "pass"]
    sys.setswitchinterval(0.0002)
    with tempfile.TemporaryDirectory() as directory:
        cache = options.cache or Path(directory)
        if options.side:
            SIDES[options.side](module, arguments, cache, {})()
            return
        show("in process", in_process(module, arguments, cache, options.runs))
        show("whole process", whole_process(module, arguments, cache, options.runs))


if __name__ == "__main__":
    main()
