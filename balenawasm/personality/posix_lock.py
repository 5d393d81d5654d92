"""The POSIX door: locks on files: flock, and fcntl's record locks."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.file_locks import END, Record
from balenawasm.personality import linux
from balenawasm.personality.posix_call import posix
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Whence

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.description import Description

FLOCK: Final = struct.Struct("<hhiqq")
"""Type, whence, pid, start, length."""
_COMMANDS: Final = (linux.F_GETLK, linux.F_SETLK, linux.F_SETLKW)


def flock(process: Process, fd: int, operation: int) -> int:
    """Lock an open file, or give its lock up."""
    description = process.fds.get(fd).description
    kind = operation & ~linux.LOCK_NB
    locks = process.kernel.locks()
    if kind == linux.LOCK_UN:
        locks.unlock_file(description)
    elif kind in (linux.LOCK_SH, linux.LOCK_EX):
        block = not operation & linux.LOCK_NB
        locks.lock_file(process, description, exclusive=kind == linux.LOCK_EX, block=block)
    else:
        raise GuestError(Errno.EINVAL)
    return 0


def is_record_lock(command: int) -> bool:
    """Whether a command of fcntl is one of record locks."""
    return command in _COMMANDS


def lock_record(process: Process, description: Description, command: int, pointer: int) -> int:
    """F_GETLK, F_SETLK, F_SETLKW with a `flock` at `pointer`."""
    memory = process.memory
    kind, whence, _, start, length = memory.unpack(FLOCK, pointer)
    begin, end = _range(description, whence, start, length)
    locks = process.kernel.locks()
    if kind == linux.F_UNLCK and command != linux.F_GETLK:
        locks.unlock_record(process, description, begin, end)
        return 0
    if kind not in (linux.F_RDLCK, linux.F_WRLCK):
        raise GuestError(Errno.EINVAL)
    wanted = Record(process, begin, end, kind == linux.F_WRLCK)
    if command == linux.F_GETLK:
        held = locks.holder(description, wanted)
        if held is None:
            memory.pack(FLOCK, pointer, linux.F_UNLCK, whence, 0, start, length)
            return 0
        found = linux.F_WRLCK if held.exclusive else linux.F_RDLCK
        size = 0 if held.end == END else held.end - held.start
        memory.pack(FLOCK, pointer, found, Whence.SET, held.owner.pid, held.start, size)
        return 0
    if not (description.writable if wanted.exclusive else description.readable):
        raise GuestError(Errno.EBADF)
    locks.lock_record(description, wanted, block=command == linux.F_SETLKW)
    return 0


def _range(description: Description, whence: int, start: int, length: int) -> tuple[int, int]:
    """The bytes meant, from the first up to one behind the last: EINVAL, EOVERFLOW."""
    if whence == Whence.CUR:
        start += description.seek(0, Whence.CUR)
    elif whence == Whence.END:
        start += description.stat().size
    elif whence != Whence.SET:
        raise GuestError(Errno.EINVAL)
    end = start + length if length else END
    if length < 0:
        start, end = end, start
    if start < 0:
        raise GuestError(Errno.EINVAL)
    if end > END:
        raise GuestError(Errno.EOVERFLOW)
    return start, end


SYSCALLS: Final = (
    posix(
        flock,
        "ii",
        "LOCK_SH, LOCK_EX, LOCK_UN, LOCK_NB. Locks hold among the processes of a container, not "
        "between containers.",
    ),
)
