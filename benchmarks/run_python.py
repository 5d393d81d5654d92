"""`balenawasm run balenaos/python python -c pass` against the module under wasmtime's own WASI.

    .venv/bin/python benchmarks/run_python.py [RUNS]

Both are whole processes, run in turn (A B A B …) so that a drift of the machine's speed hits both;
both use native code that was compiled before. The peer is the least that wasmtime-py needs:
deserialise, WasiConfig, linker, _start. Printed are the medians and the median of the pairs'
ratios; the bar is 1.3.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from balenawasm.cli.run_container import find_image
from balenawasm.cli.state import open_home
from balenawasm.layer.image_layer import open_layer
from balenawasm.vfs.filesystems.image import ImageFs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.wasi.errno import GuestError

BAR = 1.3
PEER = """
import sys
import wasmtime
engine = wasmtime.Engine()
module = wasmtime.Module.deserialize_file(engine, sys.argv[1])
linker = wasmtime.Linker(engine)
linker.define_wasi()
store = wasmtime.Store(engine)
wasi = wasmtime.WasiConfig()
wasi.argv = sys.argv[2:]
wasi.inherit_stdout()
wasi.inherit_stderr()
wasi.preopen_dir(".", "/")
store.set_wasi(wasi)
try:
    linker.instantiate(store, module).exports(store)["_start"](store)
except wasmtime.ExitTrap as exit:
    sys.exit(exit.code)
"""
PRECOMPILE = """
import sys
import wasmtime
module = wasmtime.Module.from_file(wasmtime.Engine(), sys.argv[1])
open(sys.argv[2], "wb").write(module.serialize())
"""
PROGRAM = b"usr/bin/python"


def timed(command: list[str], directory: Path) -> float:
    begin = time.perf_counter()
    subprocess.run(command, cwd=directory, check=True)
    return (time.perf_counter() - begin) * 1000


def extract(target: Path) -> None:
    """Copy the interpreter out of the image, which is built when it is missing."""
    image = find_image(open_home(), "balenaos/python")
    for path in reversed(image.layer_paths):
        node = ImageFs(open_layer(path).image, "").root
        try:
            for name in PROGRAM.split(b"/"):
                node = node.lookup(NOBODY, name)
        except GuestError:
            continue
        target.write_bytes(node.content().data)
        return
    sys.exit(f"no layer of balenaos/python has {PROGRAM.decode()}")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    ours = [str(Path(sys.executable).with_name("balenawasm")), "run"]
    with tempfile.TemporaryDirectory() as text:
        directory = Path(text)
        extract(directory / "python.wasm")
        native = directory / "python.cwasm"
        command = [sys.executable, "-c", PRECOMPILE, directory / "python.wasm", native]
        subprocess.run(command, check=True)
        empty = directory / "empty"
        empty.mkdir()
        peer = [sys.executable, "-c", PEER, str(native), "python", "-c", "pass"]
        own = [*ours, "balenaos/python", "python", "-c", "pass"]
        timed(peer, empty), timed(own, empty)
        pairs = [(timed(own, empty), timed(peer, empty)) for _ in range(runs)]
    ratio = statistics.median(one / other for one, other in pairs)
    print(f"processors {os.cpu_count()}, runs {runs}, whole processes")
    print(f"balenawasm run          {statistics.median(a for a, _ in pairs):7.1f} ms")
    print(f"wasmtime's own WASI     {statistics.median(b for _, b in pairs):7.1f} ms")
    print(f"ratio                   {ratio:7.2f}    (bar: at most {BAR})")


if __name__ == "__main__":
    main()
