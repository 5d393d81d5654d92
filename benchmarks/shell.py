"""Starting programs from a shell script: our shell against native BusyBox, hush and ash.

    .venv/bin/python benchmarks/shell.py [--rounds N] [--count N] [--image NAME]

In one shell, `sh -c true` and `x=$(echo a|cat)`, --count times each. Native hush is BusyBox of our
configuration, which re-executes itself as ours does; ash is BusyBox's default and forks. The shell
writes a line before and after its loop, and the time between the lines' arrivals counts, so starts
do not. Sides take turns (A B C A B C …). Printed are milliseconds for each round, and the medians
of the rounds' ratios to native hush and to ash; the bar is to be no slower than native hush.
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

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from tests.busybox_native import native_ash, native_busybox  # noqa: E402 - found by the path above

COMMAND = Path(sys.executable).with_name("balenawasm")
LOOP = "echo begin; i=0; while [ $i -lt {count} ]; do {what}; i=$((i + 1)); done; echo end"
CASES = {"sh -c true": "sh -c true", "x=$(echo a|cat)": "x=$(echo a|cat)"}


def seconds_of(command: list[str], what: str, count: int, path: str) -> float:
    """How long a shell takes for its loop."""
    script = LOOP.format(count=count, what=what)
    with subprocess.Popen(
        [*command, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": path},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        began = time.monotonic()
        assert process.stdout.readline() == "end\n"
        took = time.monotonic() - began
    assert process.returncode == 0
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--image", default="balenaos/busybox")
    options = parser.parse_args()
    path = os.environ["PATH"]
    with tempfile.TemporaryDirectory() as name:
        folders = {}
        for side, program in (("hush", native_busybox().program), ("ash", native_ash())):
            folder = Path(name, side)
            folder.mkdir()
            for applet in ("sh", "cat", "true", "echo"):
                (folder / applet).symlink_to(program)
            folders[side] = str(folder)
        sides = {
            "wasm": ([str(COMMAND), "run", options.image, "sh"], path),
            "hush": ([f"{folders['hush']}/sh"], folders["hush"]),
            "ash": ([f"{folders['ash']}/sh"], folders["ash"]),
        }
        worst = 0.0
        for case, what in CASES.items():
            seconds_of(*_words(sides["wasm"], what, 2))  # compiles
            ratios: dict[str, list[float]] = {"hush": [], "ash": []}
            for _ in range(options.rounds):
                took = {
                    side: seconds_of(*_words(how, what, options.count))
                    for side, how in sides.items()
                }
                for side, sofar in ratios.items():
                    sofar.append(took["wasm"] / took[side])
                shown = "   ".join(f"{side} {1000 * it:6.1f} ms" for side, it in took.items())
                print(f"{case:16} {shown}")
            medians = {side: statistics.median(sofar) for side, sofar in ratios.items()}
            print(f"{case:16} to hush {medians['hush']:.2f}, to ash {medians['ash']:.2f}")
            worst = max(worst, medians["hush"])
    return 0 if worst <= 1.0 else 1


def _words(how: tuple[list[str], str], what: str, count: int) -> tuple[list[str], str, int, str]:
    return how[0], what, count, how[1]


if __name__ == "__main__":
    sys.exit(main())
