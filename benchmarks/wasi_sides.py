"""The two sides of the WASI benchmarks: a program under this project's kernel, and under wasmtime's
own WASI.

Both read their files from `files/`: ours from a layer image as in a container, wasmtime's from the
host directory. Each function returns a runner: call it to run the program once; it answers seconds.
Imports are inside, so that a whole-process measurement pays for its own side only.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import mmap
import os
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[[], float]


def write_layer(files: dict[bytes, Path], target: Path) -> None:
    """Put host files into one layer image."""
    from balenawasm.disk.entry import Entry
    from balenawasm.disk.ext4.writer import write_image

    entries = [
        Entry(path=name, mode=stat.S_IFREG | 0o755, size=path.stat().st_size, source=path)
        for name, path in files.items()
    ]
    with target.open("wb") as out:
        write_image(entries, out)


def ours(
    program: Path,
    arguments: list[str],
    cache: Path,
    files: dict[bytes, Path],
    *,
    accelerated: bool = True,
) -> Run:
    """Under this project's kernel. Fds 10 and 11 are a pipe, 12 and 13 a pair of sockets."""
    from balenawasm.disk.ext4.reader import Ext4Image
    from balenawasm.engine.code_cache import CodeCache
    from balenawasm.engine.machine import Machine
    from balenawasm.kernel.kernel import Kernel
    from balenawasm.kernel.limits import Limits
    from balenawasm.kernel.network import NetworkStack
    from balenawasm.kernel.outcome import Exited
    from balenawasm.kernel.pipe import make_pipe
    from balenawasm.kernel.stream import Stream
    from balenawasm.personality.preview1 import TABLE
    from balenawasm.vfs.filesystems.image import ImageFs
    from balenawasm.vfs.path import Namespace
    from balenawasm.wasi.signatures import MODULE

    layer = cache / f"{program.name}.ext4"
    if not layer.exists():
        write_layer({b"program": program, **files}, layer)
    with layer.open("rb") as file:
        image = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    identity = f"benchmark:{program}:{program.stat().st_mtime_ns}"
    machine = Machine(CodeCache(cache), {MODULE: TABLE}, accelerated=accelerated)
    machine.log = print
    kernel = Kernel(
        namespace=Namespace(ImageFs(Ext4Image(image), identity).root),
        executor=machine,
        hostname="benchmark",
        limits=Limits(),
        log=print,
    )
    stack = NetworkStack(loopback_directory=cache / "loopback")
    argv = [b"/program", *(a.encode() for a in arguments)]

    def once() -> float:
        fds = {fd: Stream.inherited(fd) for fd in range(3)}
        fds[2] = Stream.inherited(os.open("/dev/null", os.O_WRONLY), owned=True)
        fds |= zip((10, 11, 12, 13), (*make_pipe(), *stack.new_pair()), strict=True)
        started = time.perf_counter()
        outcome = kernel.spawn(argv, [], b"/", fds).wait_exit(120)
        seconds = time.perf_counter() - started
        if outcome != Exited(0):
            raise SystemExit(f"the program failed: {outcome}")
        return seconds

    return once


def theirs(program: Path, arguments: list[str], cache: Path, files: dict[bytes, Path]) -> Run:
    """Under the wasmtime package and its own WASI."""
    import wasmtime

    engine = wasmtime.Engine()
    native = cache / f"{program.name}.native"
    if not native.exists():
        native.write_bytes(wasmtime.Module(engine, program.read_bytes()).serialize())
    module = wasmtime.Module.deserialize_file(engine, str(native))
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    ready = linker.instantiate_pre(module)
    root = next(iter(files.values()), program).parent

    def once() -> float:
        started = time.perf_counter()
        store = wasmtime.Store(engine)
        wasi = wasmtime.WasiConfig()
        wasi.argv = ["/program", *arguments]
        wasi.preopen_dir(str(root), "/")
        wasi.inherit_stdin()
        wasi.inherit_stdout()
        wasi.stderr_file = "/dev/null"
        store.set_wasi(wasi)
        instance = ready.instantiate(store)
        try:
            instance.exports(store)["_start"](store)
        except wasmtime.ExitTrap as end:
            if end.code:
                raise
        return time.perf_counter() - started

    return once


SIDES = {"ours": ours, "wasmtime": theirs}
