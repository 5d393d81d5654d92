"""Writing a layer: ours against `mke2fs -d` and `cp -r`, on one tree, in one run.

    python benchmarks/ext4_write.py [--files N] [--megabytes M] [--rounds R] [--json]

Each round runs all three in turn, each in its own process; the best round counts. Ours is timed
inside its process, without the start of Python, since a build writes many layers from one process;
`start included` is the whole process. The bars: at most 1.5 x mke2fs, at least 5,000 files/s, less
than 50 MB of memory (also for a tree of 1 GB: --megabytes 1000).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS = """
import sys, time
from pathlib import Path
from balenawasm.layer.image_writer import write_layer
from balenawasm.layer.tree import tree_entries
start = time.perf_counter()
with open(sys.argv[2], "wb") as out:
    write_layer(tree_entries(Path(sys.argv[1])), out)
print(time.perf_counter() - start)
"""


def make_tree(top: Path, files: int, megabytes: int) -> None:
    """Small files as in a source tree (exponential sizes), and four large ones for the rest."""
    numbers = random.Random(1)
    noise = numbers.randbytes(1 << 20)
    total = megabytes * 1_000_000
    small = total // 4
    written = 0
    for index in range(files - 4):
        directory = top / f"package{index % 50:02}" / f"module{index % 7}"
        directory.mkdir(parents=True, exist_ok=True)
        size = min(int(numbers.expovariate(1) * small / files), len(noise))
        start = numbers.randrange(len(noise) - size + 1)
        (directory / f"file{index:05}.py").write_bytes(noise[start : start + size])
        written += size
    for index in range(4):
        with open(top / f"large{index}.bin", "wb") as out:
            left = (total - written) // 4
            while left > 0:
                left -= out.write(noise[: min(left, len(noise))])


def run(words: list[str], outcome: Path) -> tuple[float, float, str]:
    """Return seconds, MB of memory at most, and what the process printed; removes what it made."""
    if outcome.is_dir():
        shutil.rmtree(outcome)
    outcome.unlink(missing_ok=True)
    start = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    printed = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed: {words}")
    return seconds, usage.ru_maxrss / 1000, printed


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--files", type=int, default=2000)
    options.add_argument("--megabytes", type=int, default=26)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    mke2fs = shutil.which("mke2fs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if mke2fs is None:
        sys.exit("mke2fs (Debian's e2fsprogs) is needed for comparison")
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        tree = place / "tree"
        tree.mkdir()
        make_tree(tree, chosen.files, chosen.megabytes)
        blocks = chosen.megabytes * 1_000_000 * 5 // 4 // 4096 + 4 * chosen.files + 2048
        make_ext4 = [mke2fs, "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-b", "4096"]
        make_ext4 += ["-N", str(chosen.files + 1000), "-d", str(tree)]
        words = {
            "ours": [sys.executable, "-c", OURS, str(tree), str(place / "ours")],
            "mke2fs -d": [*make_ext4, str(place / "theirs"), str(blocks)],
            "cp -r": ["cp", "-r", str(tree), str(place / "copy")],
        }
        outcomes = {name: place / Path(Path(argv[-1]).name) for name, argv in words.items()}
        outcomes["mke2fs -d"] = place / "theirs"
        seconds: dict[str, list[float]] = {name: [] for name in (*words, "ours, start included")}
        memory = dict.fromkeys(words, 0.0)
        for _ in range(chosen.rounds):
            for name, argv in words.items():
                took, most, printed = run(argv, outcomes[name])
                memory[name] = max(memory[name], most)
                seconds[name].append(float(printed) if name == "ours" else took)
                if name == "ours":
                    seconds["ours, start included"].append(took)
    best = {name: min(times) for name, times in seconds.items()}
    report = {
        "files": chosen.files,
        "megabytes": chosen.megabytes,
        "seconds": best,
        "files_per_second": chosen.files / best["ours"],
        "ratio_to_mke2fs": best["ours"] / best["mke2fs -d"],
        "ratio_to_cp": best["ours"] / best["cp -r"],
        "memory_mb": memory,
    }
    if chosen.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{chosen.files} files, {chosen.megabytes} MB; best of {chosen.rounds} rounds")
    for name, time_taken in best.items():
        print(f"  {name:22} {time_taken:7.3f} s  {memory.get(name, 0) or memory['ours']:6.1f} MB")
    print(f"  ours / mke2fs -d       {report['ratio_to_mke2fs']:7.2f}    (bar: 1.5)")
    print(f"  files per second       {report['files_per_second']:7.0f}    (bar: 5,000)")
    print(f"  memory                 {memory['ours']:7.1f} MB (bar: 50)")


if __name__ == "__main__":
    main()
