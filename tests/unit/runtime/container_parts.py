"""Tiny guests in WebAssembly text, and an image layer that holds them: for tests of containers."""

from __future__ import annotations

import functools
import stat
from typing import TYPE_CHECKING

from balenawasm.disk.entry import Entry
from balenawasm.engine.wat import wat_to_wasm
from balenawasm.layer.image_writer import write_layer
from balenawasm.runtime.bundle import Layer

if TYPE_CHECKING:
    from pathlib import Path

_P1 = '"wasi_snapshot_preview1"'
_HEAD = f"""(module
  (import {_P1} "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import {_P1} "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import {_P1} "fd_close" (func $fd_close (param i32) (result i32)))
  (import {_P1} "proc_exit" (func $proc_exit (param i32)))
  (import {_P1} "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import {_P1} "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
  (import {_P1} "args_get" (func $args_get (param i32 i32) (result i32)))
  (import {_P1} "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import {_P1} "environ_sizes_get" (func $environ_sizes (param i32 i32) (result i32)))
  (import {_P1} "path_open" (func $path_open
    (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func $write (param $fd i32) (param $at i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $length))
    (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $sleep (param $ns i64)
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 48))
    (i32.store (i32.const 1040) (i32.const 1))
    (i64.store (i32.const 1048) (local.get $ns))
    (drop (call $poll (i32.const 1024) (i32.const 1100) (i32.const 1) (i32.const 1200))))
  (func $open (param $path i32) (param $length i32) (param $rights i64) (result i32)
    (if (call $path_open (i32.const 3) (i32.const 0) (local.get $path) (local.get $length)
          (i32.const 0) (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 12))
      (then (call $proc_exit (i32.const 99))))
    (i32.load (i32.const 12)))
"""


def _guest(body: str, *data: tuple[int, str]) -> bytes:
    segments = "".join(f'(data (i32.const {at}) "{text}")\n' for at, text in data)
    return wat_to_wasm(f'{_HEAD}{segments}(func (export "_start") {body}))')


_SLEEP_FOR_EVER = "(loop $again (call $sleep (i64.const 3600000000000)) (br $again))"
_SERVER = """(local $listener i32) (local $connection i32)
  (local.set $listener (call $open (i32.const 200) (i32.const 19) (i64.const 0x3fffffff)))
  (call $write (i32.const 1) (i32.const 300) (i32.const 10))
  (loop $again
    (drop (call $accept (local.get $listener) (i32.const 0) (i32.const 16)))
    (local.set $connection (i32.load (i32.const 16)))
    (call $write (local.get $connection) (i32.const 320) (i32.const 3))
    (drop (call $fd_close (local.get $connection)))
    (br $again))"""
_FETCH = """(local $connection i32)
  (local.set $connection (call $open (i32.const 200) (i32.const 24) (i64.const 0x3fffffff)))
  (i32.store (i32.const 0) (i32.const 4096))
  (i32.store (i32.const 4) (i32.const 4096))
  (drop (call $fd_read (local.get $connection) (i32.const 0) (i32.const 1) (i32.const 8)))
  (call $write (i32.const 1) (i32.const 4096) (i32.load (i32.const 8)))"""
_CAT_HOSTS = """(local $fd i32) (local $n i32)
  (local.set $fd (call $open (i32.const 200) (i32.const 9) (i64.const 2)))
  (i32.store (i32.const 0) (i32.const 4096))
  (i32.store (i32.const 4) (i32.const 4096))
  (drop (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
  (local.set $n (i32.load (i32.const 8)))
  (call $write (i32.const 1) (i32.const 4096) (local.get $n))"""
_ENVIRON = """(local $size i32)
  (drop (call $environ_sizes (i32.const 20) (i32.const 24)))
  (local.set $size (i32.load (i32.const 24)))
  (drop (call $environ_get (i32.const 2048) (i32.const 8192)))
  (call $write (i32.const 1) (i32.const 8192) (local.get $size))"""


def _pour(*, lines: int = 0, pause: str = "") -> str:
    """Write lines of eight digits, counting up, for ever or so many; a failed write is the exit
    code. A "." on standard error tells of every 4096 lines.
    """
    return f"""(local $n i32) (local $v i32) (local $at i32)
  (i32.store8 (i32.const 120) (i32.const 46))
  (i32.store8 (i32.const 121) (i32.const 10))
  (loop $again
    (local.set $v (local.get $n))
    (local.set $at (i32.const 107))
    (loop $digits
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.rem_u (local.get $v) (i32.const 10))))
      (local.set $v (i32.div_u (local.get $v) (i32.const 10)))
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (br_if $digits (i32.ge_u (local.get $at) (i32.const 100))))
    (i32.store8 (i32.const 108) (i32.const 10))
    (i32.store (i32.const 0) (i32.const 100))
    (i32.store (i32.const 4) (i32.const 9))
    (local.set $v (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (if (local.get $v) (then (call $proc_exit (local.get $v))))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (if (i32.eqz (i32.rem_u (local.get $n) (i32.const 4096)))
      (then (call $write (i32.const 2) (i32.const 120) (i32.const 2))))
    {pause}
    (br_if $again (i32.ne (local.get $n) (i32.const {lines}))))"""


@functools.cache
def guests() -> dict[str, bytes]:
    """Program name → module."""
    up = (100, "up\\n")
    say_up = "(call $write (i32.const 1) (i32.const 100) (i32.const 3))"
    return {
        "hello": _guest(
            "(call $write (i32.const 1) (i32.const 100) (i32.const 6))", (100, "hello\\n")
        ),
        "fail": _guest(
            "(call $write (i32.const 2) (i32.const 100) (i32.const 4))"
            "(call $proc_exit (i32.const 3))",
            (100, "oops"),
        ),
        "trap": _guest("unreachable"),
        "sleep": _guest(say_up + _SLEEP_FOR_EVER, up),
        "spin": _guest(say_up + "(loop $again (br $again))", up),
        "serve": _guest(
            _SERVER, (200, "net/tcp/listen/*!80"), (300, "listening\\n"), (320, "hi\\n")
        ),
        "fetch": _guest(_FETCH, (200, "net/tcp/connect/serve!80")),
        "hosts": _guest(_CAT_HOSTS, (200, "etc/hosts")),
        "env": _guest(_ENVIRON),
        "drip": _guest(_pour(pause="(call $sleep (i64.const 2000000))")),
        "flood": _guest(_pour()),
        "burst": _guest(_pour(lines=1000)),
        "echo": _guest(
            "(local $n i32)"
            "(i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (i32.const 4096))"
            "(loop $again"
            " (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))"
            " (local.set $n (i32.load (i32.const 8)))"
            " (if (local.get $n) (then"
            "   (call $write (i32.const 1) (i32.const 4096) (local.get $n))"
            "   (i32.store (i32.const 0) (i32.const 4096))"
            "   (i32.store (i32.const 4) (i32.const 4096))"
            "   (br $again))))",
        ),
    }


def write_guest_layer(path: Path) -> None:
    """Write a layer with every guest in /bin and an empty /etc, /tmp and /data."""
    directory = stat.S_IFDIR | 0o755
    entries = [Entry(path=name, mode=directory) for name in (b"bin", b"etc", b"tmp", b"data")]
    entries += [
        Entry(path=b"bin/" + name.encode(), mode=stat.S_IFREG | 0o755, size=len(wasm), source=wasm)
        for name, wasm in guests().items()
    ]
    with path.open("wb") as out:
        write_layer(entries, out)


def guest_layer(path: Path) -> Layer:
    """Write the layer and describe it for a bundle."""
    write_guest_layer(path)
    return Layer(path=str(path), digest="sha256:" + "5" * 64)
