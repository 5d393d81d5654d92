"""Starting a small tool from inside a guest, against posix_spawn of the same tool, native.

    .venv/bin/python benchmarks/spawn.py [--rounds N] [--count N]

The tool (c/tool.c) writes one short line to /dev/null. Native, it is started by c/spawn.c: compiled
by cc -O2 as it is, thus dynamically linked, and static, too. The guest is stock preview 1
(tests/c/programs/spawn.c) and starts the tool through /proc/spawn, both from an image. Sides take
turns (A B C A B C …). Printed are the medians of the microseconds from start to end, and the median
of the rounds' ratios; the bar is to be faster than native as cc builds it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from native_code import compile_native, compile_wasm

COMMAND = Path(sys.executable).with_name("balenawasm")
GUEST = Path(__file__).parents[1] / "tests" / "c" / "programs" / "spawn.c"
ARGUMENT = "/usr/lib/name"


def build_image(directory: Path, name: str) -> None:
    """An image with the two guests."""
    context = directory / "context"
    context.mkdir()
    shutil.copy(compile_wasm(str(GUEST)), context / "spawn")
    shutil.copy(compile_wasm("tool.c"), context / "tool")
    (context / "Balenafile").write_text("FROM scratch\nCOPY spawn tool /bin/\n")
    words = [str(COMMAND), "build", "-t", name, str(context)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def median_of(command: list[str]) -> float:
    """What a spawning program tells."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
    )
    word, median, *_ = done.stdout.split()
    assert word == "median", done.stdout
    return float(median)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    count = str(options.count)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        os.environ.setdefault("BALENAWASM_HOME", f"{name}/home")
        build_image(directory, "benchmark-spawn")
        spawner = str(compile_native("spawn.c", directory))
        dynamic = str(compile_native("tool.c", directory))
        static = str(compile_native("tool.c", directory, "-static"))
        guest = [str(COMMAND), "run", "--entrypoint", "/bin/spawn", "benchmark-spawn"]
        commands = {
            "native": [spawner, count, dynamic, ARGUMENT],
            "static": [spawner, count, static, ARGUMENT],
            "guest": [*guest, count, "/bin/tool", ARGUMENT],
        }
        median_of([*guest, "10", "/bin/tool", ARGUMENT])  # compiles
        ratios: dict[str, list[float]] = {"native": [], "static": []}
        for _ in range(options.rounds):
            took = {side: median_of(command) for side, command in commands.items()}
            for side, sofar in ratios.items():
                sofar.append(took["guest"] / took[side])
            print(
                "   ".join(f"{side} {microseconds:5.0f} us" for side, microseconds in took.items())
                + f"   ratio {ratios['native'][-1]:.2f}, to static {ratios['static'][-1]:.2f}"
            )
    ratio = statistics.median(ratios["native"])
    print(
        f"median ratio {ratio:.2f} (static {statistics.median(ratios['static']):.2f}),"
        f" the bar is below 1: {'met' if ratio < 1 else 'MISSED'}"
    )
    return 0 if ratio < 1 else 1


if __name__ == "__main__":
    sys.exit(main())
