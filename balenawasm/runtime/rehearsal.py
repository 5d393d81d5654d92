"""The rehearsal: a runner that waits for its container runs a tiny one of its own first.

A fresh fork shares its memory with the zygote, and the first write to each page costs a fault;
Python writes to nearly everything it looks at. Besides, much is made at first use: readers of JSON
forms, the guest's thread, lazily bound functions. Rehearsing while nothing is to do takes all of
this out of a start, which becomes several times faster.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from balenawasm.atomicfile import write_atomic
from balenawasm.engine.wat import wat_to_wasm
from balenawasm.errors import BalenaWasmError
from balenawasm.kernel import network_policy  # noqa: F401 - see below
from balenawasm.runtime import bundle_mounts, jsonform, network_stack  # noqa: F401 - see below
from balenawasm.runtime.bundle import Bundle, Network, read_bundle, write_bundle
from balenawasm.runtime.runner import run_container, service_streams
from balenawasm.runtime.scratch import remove_tree
from balenawasm.vfs.filesystems import dev, net, proc, tmpfs  # noqa: F401 - see below

# What `run` imports when a guest first needs it is imported here, in the zygote: once for all
# containers, and before any of them waits for it.

if TYPE_CHECKING:
    from pathlib import Path

    from balenawasm.engine.machine import Machine
    from balenawasm.runtime.control import Message
    from balenawasm.runtime.home import Home

_PROGRAM = r"""(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get"
    (func $path_filestat_get (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\01\00\00\00\n")
  (data (i32.const 16) "dev/null    net/version proc/uptime ")
  (func $look (param $at i32) (param $length i32)
    (drop (call $path_filestat_get (i32.const 3) (i32.const 1)
      (local.get $at) (local.get $length) (i32.const 64))))
  (func (export "_start")
    (call $look (i32.const 16) (i32.const 8))
    (call $look (i32.const 28) (i32.const 11))
    (call $look (i32.const 40) (i32.const 11))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))))
"""
"""Visits what is made at the first visit, and writes an empty line: through the engine, system
calls and the log.
"""


def prepare_rehearsals(home: Home) -> None:
    """Write the program that :func:`rehearse` runs; BalenaWasmError or OSError."""
    write_atomic(_program(home), wat_to_wasm(_PROGRAM), mode=0o600, durable=False)


def rehearse(home: Home, machine: Machine) -> None:
    """Run the tiny container in this process. Whatever goes wrong only makes the start slower."""
    container_id = _container_id(os.getpid())
    paths = home.container(container_id)
    network = home.network(container_id)
    bundle = Bundle(
        id=container_id,
        program=str(_program(home)),
        argv=(b"rehearsal",),
        network=Network(
            address="10.0.0.2", directory=str(network), hosts_file=str(network / "hosts")
        ),
        log=str(paths.log),
    )
    with contextlib.suppress(BalenaWasmError, OSError):
        write_bundle(paths, bundle)
        bundle = read_bundle(paths.bundle)
        streams = service_streams(bundle, paths.log)
        run_container(bundle, paths, machine, streams, report=_encode)
    forget_rehearsal(home, os.getpid())


def forget_rehearsal(home: Home, pid: int) -> None:
    """Remove the files of a rehearsal in the process `pid`, which may have been killed at it."""
    name = _container_id(pid)
    paths = home.container(name)
    for directory in (paths.directory, paths.run, home.network(name)):
        with contextlib.suppress(OSError):
            remove_tree(directory)


def _container_id(pid: int) -> str:
    # Named like a `run`'s, so that what is left after a power cut is swept like a `run`'s.
    return f"run-{pid}-rehearsal"


def _program(home: Home) -> Path:
    return home.run / "rehearsal.wasm"


def _encode(message: Message) -> None:
    jsonform.encode(message)
