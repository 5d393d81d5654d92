"""A guest that makes random calls, and a host that watches it.

The guest is a generated WebAssembly module: it imports every function of the given tables and calls
them at random with numbers that often mean something (small fds, addresses of paths, of iovecs and
of subscriptions, ends of memory, extremes of the number range). Behind a path its length mostly
follows, so that guest files and their commands are reached. What it did is counted in its
memory. It is a real guest of a real machine, so the whole way from compiled code to the host and
back is under test.

The host sees through an audit hook which files this process opens, makes, renames or removes while
a storm is on.
"""

from __future__ import annotations

import inspect
import os
import struct
import sys
from typing import TYPE_CHECKING, Any

from balenawasm.vfs.filesystems.hostdir import HostFolder

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

_SOCKET_COMMANDS = (
    *(
        b"bind 127.0.0.1!80",
        b"bind ::1!81",
        b"bind 0061",
        b"bind 2f736f636b",
        b"listen 5",
        b"accept",
    ),
    *(b"connect 127.0.0.1!80", b"connect ::1!81", b"connect 0061", b"local", b"remote", b"error"),
    *(b"shutdown rdwr", b"getopt SO_TYPE", b"setopt SO_LINGER 1,0", b"setopt SO_RCVTIMEO 9"),
    *(b"peek 9", b"peer", b"recvfrom", b"recvfrom peek", b"sendto 127.0.0.1!80", b"disconnect"),
    *(b"pending", b"data", b"tls 2 localhost", b"tls-info state", b"tls-info peer 0"),
)
_CONTROL_COMMANDS = (
    *(b"wait -1 nohang", b"wait 0 ", b"kill 0 0", b"kill -1 17", b"kill 1 18", b"getpgid 0"),
    *(b"getppid", b"getsid 1", b"setpgid 0 0", b"setsid", b"fd", b"dup2 0 9", b"dup2 5 4"),
    *(
        b"close 6",
        b"sigaction 10 64=1,68=2",
        b"sigaction 12 4294967295=1",
        b"sigprocmask block 10",
    ),
    *(
        b"sigprocmask unblock 10",
        b"sigpending",
        b"sigwait 10 9",
        b"setitimer 3000 1000",
        b"kill 1 10",
    ),
    *(b"getitimer", b"pause", b"tcgetattr", b"tcsetpgrp 1", b"tcgetwinsize", b"tcsetwinsize 9 9"),
)

TEXTS = (
    b"a", b"b", b"d", b"d/e", b"../a", b"l", b"l/e", b"..", b"/", b"", b"a/", b"x\0y", b"o", b".",
    b"/etc/passwd", b"/../../etc/passwd", b"/proc/self/fd/3", b"/proc/self/exe", b"/proc/1/environ",
    b"/proc/self/root/../etc", b"/dev/null", b"/dev/zero", b"/dev/fd/5", b"/dev/tty", b"/vol/up",
    b"/vol/abs", b"/vol/loop", b"/vol/a", b"/vol", b"/vol/s", b"/vol/p", b"/proc/1/fd/4",
    b"/net/tcp/new", b"/net/tcp6/new", b"/net/udp/new", b"/net/udp6/new", b"/net/pair/new",
    b"/net/tcp/listen/*!80", b"/net/tcp/listen/::!81", b"/net/udp/bind/*!80",
    b"/net/udp/bind/::!81",
    b"/net/tcp/connect/127.0.0.1!80", b"/net/udp/connect/::1!81", b"/net/unix/stream/new",
    b"/net/unix/dgram/new", b"/net/unix/stream/pair", b"/net/unix/dgram/pair", b"/net/tls/new",
    b"/net/unix/seqpacket/pair", b"/net/tls/connect/localhost!80", b"/net/names/127.0.0.1",
    b"/net/dns/localhost", b"/net/dns6/localhost", b"/net/dns/10.0.0.1", b"/net/address",
    b"/proc/spawn", b"/proc/pipe/new", b"/proc/mkfifo", b"/proc/pidfd/1", b"/proc/pidfd/2",
    b"/proc/self/stat", b"/proc/2/fd/0", b"/proc/self/task", b"/proc/mounts",
    b"/proc/self/mountinfo",
    b"644 /vol/p", b"600 /p1", b"/p1", b"/program", b"/script", b"#!/script\n", b"/sock",
    b"arg=/program\0", b"arg=/script\0fd=\0", b"arg=x\0program=/program\0group=0\0", b"env=A=1\0",
    b"arg=/program\0session=new\0", b"arg=/program\0fd=9:5\0fd=3:4\0", b"arg=a\0replace=self\0",
    b"verify off\n", b"system-trust on\n", b"ca\nx\n.\n", b"minimum TLSv1.3\nalpn h2\n",
    b"\2\0\0\x50\x7f\0\0\1", b"\1\0\0a", b"\1\0/sock", b"vol\0/\0/a\0", b"\x30\x30\0\0\x40\x30\0\0",
    *(b"/net/sock/%d/%s" % (inode, c) for inode in (1, 2, 3) for c in _SOCKET_COMMANDS),
    *(b"/proc/control/" + command for command in _CONTROL_COMMANDS),
)  # fmt: skip
"""At most 62 bytes each: the last byte of its place is its length."""


def texts_at(index: int) -> int:
    """Where a text lies in the guest's memory."""
    return TEXTS_AT + TEXT_SIZE * index


def first_memory() -> bytes:
    """What the memory starts with: small numbers often mean something there."""
    memory = bytearray(SCRATCH_AT)
    for index, text in enumerate(TEXTS):
        assert len(text) < TEXT_SIZE - 1
        memory[texts_at(index) : texts_at(index) + len(text)] = text
        memory[texts_at(index) + TEXT_SIZE - 1] = len(text)
    for index in range(64):
        struct.pack_into("<II", memory, IOVECS_AT + 8 * index, SCRATCH_AT + 99 * index, 37 * index)
    for index, text in enumerate(TEXTS):
        struct.pack_into("<II", memory, IOVECS_AT + 8 * (64 + index), texts_at(index), len(text))
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
(global $length (mut i64) (i64.const 0))
(func $random (result i64)
  (global.set $state (i64.xor (global.get $state) (i64.shl (global.get $state) (i64.const 13))))
  (global.set $state (i64.xor (global.get $state) (i64.shr_u (global.get $state) (i64.const 7))))
  (global.set $state (i64.xor (global.get $state) (i64.shl (global.get $state) (i64.const 17))))
  (global.get $state))
(func $below (param $n i64) (result i64) (i64.rem_u (call $random) (local.get $n)))
(func $text (param $n i64) (result i64)
  (local.set $n (i64.add (i64.const {TEXTS_AT}) (i64.mul (i64.const {TEXT_SIZE}) (local.get $n))))
  (global.set $length (i64.load8_u offset={TEXT_SIZE - 1} (i32.wrap_i64 (local.get $n))))
  (local.get $n))
(func $number (result i64) (local $n i64)
  (local.set $n (global.get $length))
  (global.set $length (i64.const 0))
  (if (i64.ne (local.get $n) (i64.const 0)) (then
    (if (i64.ne (call $below (i64.const 5)) (i64.const 0)) (then (return (local.get $n))))))
  (block $any (block $power (block $end (block $record (block $text (block $small
  (br_table $small $small $small $text $text $record $end $power $any
    (i32.wrap_i64 (call $below (i64.const 9)))))
  (return (call $below (i64.const 24))))
  (return (call $text (call $below (i64.const {len(TEXTS)})))))
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


def _is_reopening(arguments: tuple[object, ...]) -> bool:
    # The one place that opens "." means the directory it holds open, which the event does not tell.
    return arguments[:1] == (b".",) and sys._getframe(2).f_code is _REOPENING


_REOPENING = inspect.unwrap(HostFolder.opened).__code__


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
        if self.active and event in self.EVENTS and not _is_reopening(arguments):
            # A symbolic link's target is a text that only guests ever follow.
            for argument in arguments[event == "os.symlink" :]:
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
