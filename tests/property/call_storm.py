"""A guest that makes random calls, and a host that watches it.

The guest is a generated WebAssembly module: it imports every function of the given tables and calls
them at random with numbers that often mean something (small fds, addresses of paths, of iovecs and
of subscriptions, ends of memory, extremes of the number range). What it did is counted in its
memory. It is a real guest of a real machine, so the whole way from compiled code to the host and
back is under test.

The host sees through an audit hook which files this process opens, makes, renames or removes while
a storm is on.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from balenawasm.personality.syscall import Syscall

    Tables = Mapping[str, Mapping[str, Syscall]]

NEVER = {"proc_exit", "exit"}
"""They only end the storm."""
COUNTER_AT, SEED_AT, LIMIT_AT = 0, 8, 16
TEXTS_AT, TEXT_SIZE = 1024, 64
IOVECS_AT, SUBSCRIPTIONS_AT, SCRATCH_AT = 16384, 20480, 65536
MEMORY_PAGES = 16
END = MEMORY_PAGES << 16

TEXTS = (
    b"a", b"b", b"d", b"d/e", b"../a", b"l", b"l/e", b"..", b"/", b"", b"a/", b"x\0y", b"o", b".",
    b"/etc/passwd", b"/../../etc/passwd", b"/proc/self/fd/3", b"/proc/self/exe", b"/proc/1/environ",
    b"/proc/self/root/../etc", b"/dev/null", b"/dev/zero", b"/dev/fd/5", b"/dev/tty", b"/vol/up",
    b"/vol/abs", b"/vol/loop", b"/vol/a", b"/vol", b"/net/tcp/new", b"/net/udp/new",
    b"/net/pair/new", b"/net/tcp/listen/*!80", b"/net/sock/1/listen 5", b"/net/sock/2/peek 9",
    b"/net/sock/1/data", b"/net/dns/localhost", b"/proc/spawn", b"/proc/pipe/new", b"vol\0/\0/a\0",
)  # fmt: skip


def texts_at(index: int) -> int:
    """Where a text lies in the guest's memory."""
    return TEXTS_AT + TEXT_SIZE * index


def first_memory() -> bytes:
    """What the memory starts with: small numbers often mean something there."""
    memory = bytearray(SCRATCH_AT)
    for index, text in enumerate(TEXTS):
        memory[texts_at(index) : texts_at(index) + len(text)] = text
    for index in range(64):
        struct.pack_into("<II", memory, IOVECS_AT + 8 * index, SCRATCH_AT + 99 * index, 37 * index)
    for index in range(16):
        at = SUBSCRIPTIONS_AT + 48 * index
        struct.pack_into("<QB7xI28x", memory, at, index, index % 4, index)
    return bytes(memory)


def storm_module(tables: Tables) -> str:
    """The module as text; argv[1] is a seed of eight bytes."""
    calls = [
        (module, call)
        for module, table in tables.items()
        for call in table.values()
        if call.name not in NEVER
    ]
    imports = "\n".join(
        f'(import "{module}" "{call.name}" (func $f{number} (param {_types(call)}) (result i32)))'
        for number, (module, call) in enumerate(calls)
    )
    callers = "\n".join(
        f"(func $g{number} (drop (call $f{number}"
        f" {' '.join(_ARGUMENT[letter] for letter in call.signature)})))"
        for number, (_, call) in enumerate(calls)
    )
    data = "".join(f"\\{byte:02x}" for byte in first_memory())
    return f"""(module
{imports}
(import "wasi_snapshot_preview1" "args_get" (func $arguments (param i32 i32) (result i32)))
(memory (export "memory") {MEMORY_PAGES})
(data (i32.const 0) "{data}")
(table funcref (elem {" ".join(f"$g{number}" for number in range(len(calls)))}))
(type $caller (func))
(global $state (mut i64) (i64.const 1))
(func $random (result i64)
  (global.set $state (i64.xor (global.get $state) (i64.shl (global.get $state) (i64.const 13))))
  (global.set $state (i64.xor (global.get $state) (i64.shr_u (global.get $state) (i64.const 7))))
  (global.set $state (i64.xor (global.get $state) (i64.shl (global.get $state) (i64.const 17))))
  (global.get $state))
(func $below (param $n i64) (result i64) (i64.rem_u (call $random) (local.get $n)))
(func $number (result i64)
  (block $any (block $power (block $end (block $record (block $text (block $small
  (br_table $small $small $small $text $text $record $end $power $any
    (i32.wrap_i64 (call $below (i64.const 9)))))
  (return (call $below (i64.const 24))))
  (return (i64.add (i64.const {TEXTS_AT}) (i64.mul (i64.const {TEXT_SIZE})
    (call $below (i64.const {len(TEXTS)}))))))
  (return (i64.add (i64.const {IOVECS_AT}) (i64.mul (i64.const 8)
    (call $below (i64.const 600))))))
  (return (i64.sub (i64.const {END}) (call $below (i64.const 20)))))
  (return (i64.sub (i64.shl (i64.const 1) (call $below (i64.const 64)))
    (call $below (i64.const 3)))))
  (call $random))
{callers}
(func (export "_start")
  (drop (call $arguments (i32.const {SCRATCH_AT}) (i32.const {SCRATCH_AT + 64})))
  (global.set $state (i64.load (i32.load (i32.const {SCRATCH_AT + 4}))))
  (loop $next
    (call_indirect (type $caller) (i32.wrap_i64 (call $below (i64.const {len(calls)}))))
    (br $next))))"""


_ARGUMENT = {"i": "(i32.wrap_i64 (call $number))", "q": "(call $number)"}


def _types(call: Syscall) -> str:
    return " ".join({"i": "i32", "q": "i64"}[letter] for letter in call.signature)


class Counter:
    """Counts calls by name, and keeps what came out of a handler that never may."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.total = 0

    def watched(self, tables: Tables) -> dict[str, dict[str, Syscall]]:
        """The same tables, counting."""
        return {
            module: {
                name: call._replace(handler=self._counting(name, call.handler))
                for name, call in table.items()
            }
            for module, table in tables.items()
        }

    def _counting(self, name: str, handler: Any) -> Any:
        def counted(process: Any, *arguments: int) -> int:
            self.total += 1
            self.calls[name] = self.calls.get(name, 0) + 1
            result: int = handler(process, *arguments)
            return result

        return counted


class Audit:
    """Collects what this process does with paths while it is on."""

    EVENTS = frozenset(
        (
            *("open", "os.chmod", "os.chown", "os.link", "os.listdir", "os.mkdir", "os.remove"),
            *("os.rename", "os.rmdir", "os.scandir", "os.symlink", "os.truncate", "os.utime"),
            *("os.getxattr", "os.setxattr", "os.removexattr", "socket.bind", "socket.connect"),
            *("subprocess.Popen", "os.exec", "os.fork", "os.posix_spawn", "os.system"),
        )
    )

    def __init__(self) -> None:
        self.active = False
        self.seen: set[tuple[str, str]] = set()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.active and event in self.EVENTS:
            for argument in arguments:
                if isinstance(argument, (str, bytes, os.PathLike)):
                    self.seen.add((event, os.fsdecode(argument)))

    def outside(self, allowed: Sequence[str]) -> set[tuple[str, str]]:
        """What was seen of paths that are neither single names (below a directory that is held
        open) nor in one of the `allowed` places.
        """
        return {
            (event, path)
            for event, path in self.seen
            if not path.startswith(tuple(allowed)) and ("/" in path or path in ("..", "."))
        }
