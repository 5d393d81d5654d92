"""Requests per second of a C server under `balenawasm run`, against the same source native.

    .venv/bin/python benchmarks/echo_server.py [--rounds N] [--seconds S]

The server (c/echo_server.c) uses stock poll, accept, recv and send over kept-alive connections.
It is compiled by cc -O2 and, with the tests' clang, for wasm32-wasip1; the load (c/load.c) is
native and comes over the loopback interface to the port that `run -p` publishes. The sides take
turns (A B A B …) with 1 connection, then with 16. All rounds are printed, and the median of the
pairs' ratios; the bar is 0.6.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from native_code import compile_native, compile_wasm

if TYPE_CHECKING:
    from collections.abc import Iterator

BAR = 0.6
CONNECTIONS = (1, 16)
LENGTH = 64
GUEST_PORT = "7000"
COMMAND = Path(sys.executable).with_name("balenawasm")


@contextmanager
def serving(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A server that has said it is ready; ended afterwards."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"the server did not start: {command}")
        yield process
    finally:
        process.terminate()
        process.wait()


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


def requests_per_second(load: Path, port: str, connections: int, seconds: float) -> float:
    words = [str(load), port, str(connections), str(seconds), str(LENGTH)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    answers, took = done.stdout.split()
    return int(answers) / float(took)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as name:
        load = compile_native("load.c", Path(name))
        native = compile_native("echo_server.c", Path(name))
        wasm = compile_wasm("echo_server.c")
        os.environ.setdefault("BALENAWASM_HOME", f"{name}/home")
        native_port, wasm_port = free_port(), free_port()
        published = f"127.0.0.1:{wasm_port}:{GUEST_PORT}"
        with (
            serving([str(native), native_port]),
            serving([str(COMMAND), "run", "-p", published, str(wasm), GUEST_PORT]),
        ):
            for connections in CONNECTIONS:
                pairs = []
                for _ in range(options.rounds):
                    pairs.append(
                        [
                            requests_per_second(load, port, connections, options.seconds)
                            for port in (native_port, wasm_port)
                        ]
                    )
                    print(
                        f"{connections:3} connections   native {pairs[-1][0]:9.0f}/s"
                        f"   wasm {pairs[-1][1]:9.0f}/s   ratio {pairs[-1][1] / pairs[-1][0]:.2f}"
                    )
                ratio = statistics.median(ours / theirs for theirs, ours in pairs)
                good &= ratio >= BAR
                print(
                    f"{connections:3} connections   median ratio {ratio:.2f}, the bar is {BAR}:"
                    f" {'met' if ratio >= BAR else 'MISSED'}"
                )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
