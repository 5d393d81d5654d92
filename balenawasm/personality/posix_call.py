"""What the families of the POSIX door share: how a call is described, and how it reads its
arguments.

A call answers a number, 0 or more, or minus a Linux errno. Structures are little-endian and packed
as docs/posix-door.md lists them. A path is a pointer and a length; it starts at the directory of
its `dirfd`, at the working directory for AT_FDCWD, or at the root when it is absolute, and may lead
anywhere in the container. WASI's rights mean nothing here.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from balenawasm.personality.linux import AT_FDCWD, answer_of
from balenawasm.personality.syscall import Handler, Syscall
from balenawasm.vfs.location import MAX_PATH
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.guest_memory import GuestMemory
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.path import Location

TIMESPEC: Final = struct.Struct("<qq")
"""Seconds, nanoseconds. Also `timeval` of timers: there the second field is microseconds."""
NS_PER_SECOND: Final = 1_000_000_000
_POINTER: Final = 8
_SECONDS_MAX: Final = (1 << 63) // NS_PER_SECOND


def posix(
    handler: Handler, signature: str, note: str = "", *, restarts: bool = True, fast: bool = False
) -> Syscall:
    """A call of the door, called as its handler less a trailing underscore.

    `restarts` False: a handler that returns leaves EINTR even with SA_RESTART, as signal(7) says.
    """
    return Syscall(
        handler.__name__.removesuffix("_"),
        signature,
        handler,
        note=note,
        encode=answer_of,
        delivers=True,
        restarts=restarts,
        fast=fast,
    )


def signed(value: int) -> int:
    """The i32 that the u32 `value` stands for."""
    return value - (1 << 32) if value & 0x8000_0000 else value


def signed64(value: int) -> int:
    """The i64 that the u64 `value` stands for."""
    return value - (1 << 64) if value >> 63 else value


def read_path(process: Process, pointer: int, length: int) -> bytes:
    """A path as the guest gave it: ENAMETOOLONG, ENOENT for an empty one."""
    if length > MAX_PATH:
        raise GuestError(Errno.ENAMETOOLONG)
    if length == 0:
        raise GuestError(Errno.ENOENT)
    return process.memory.read(pointer, length)


def from_cwd(process: Process, path: bytes) -> bytes:
    """A path that is absolute or relative to the working directory, as an absolute one."""
    return path if path[:1] == b"/" else process.cwd.rstrip(b"/") + b"/" + path


def path_at(process: Process, dirfd: int, pointer: int, length: int) -> tuple[Location, bytes]:
    """Where a path starts, and the path: EBADF, ENOTDIR for a `dirfd` that does not fit."""
    path = read_path(process, pointer, length)
    if dirfd == AT_FDCWD or path[:1] == b"/":
        return process.namespace.root, from_cwd(process, path)
    return process.fds.get(dirfd).directory(), path


def read_time(memory: GuestMemory, pointer: int) -> int:
    """A timespec's nanoseconds: EINVAL when it is negative or not normal."""
    seconds, nanoseconds = memory.unpack(TIMESPEC, pointer)
    if seconds < 0 or not 0 <= nanoseconds < NS_PER_SECOND:
        raise GuestError(Errno.EINVAL)
    return int(min(seconds, _SECONDS_MAX) * NS_PER_SECOND + nanoseconds)


def write_time(memory: GuestMemory, pointer: int, nanoseconds: int) -> None:
    """Write a timespec."""
    memory.pack(TIMESPEC, pointer, *divmod(nanoseconds, NS_PER_SECOND))


def read_string(memory: GuestMemory, pointer: int, limit: int) -> bytes:
    """A string up to its NUL: EFAULT outside the memory, E2BIG beyond `limit` bytes."""
    parts: list[bytes] = []
    left = limit + 1
    step = 256
    while left > 0:
        memory.check(pointer, 1)
        piece = bytes(memory.view[pointer : pointer + min(step, left)])
        end = piece.find(b"\0")
        if end >= 0:
            parts.append(piece[:end])
            return b"".join(parts)
        parts.append(piece)
        pointer += len(piece)
        left -= len(piece)
        step *= 4
    raise GuestError(Errno.E2BIG)


def read_strings(memory: GuestMemory, pointer: int, limit: int) -> list[bytes]:
    """A NULL-terminated array of strings (argv, environ), `limit` bytes in all with their NULs and
    8 for each pointer, as Linux counts: E2BIG. A NULL array is an empty one, as on Linux.
    """
    strings: list[bytes] = []
    if pointer == 0:
        return strings
    while True:
        address = memory.read_u32(pointer)
        if address == 0:
            return strings
        text = read_string(memory, address, limit - 1)
        strings.append(text)
        limit -= len(text) + 1 + _POINTER
        if limit <= 0:
            raise GuestError(Errno.E2BIG)
        pointer += 4
