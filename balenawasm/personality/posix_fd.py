"""The POSIX door: file descriptors: their data, offset, flags and numbers."""

from __future__ import annotations

import array
import fcntl as host_fcntl
import struct
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.fd_table import FdEntry
from balenawasm.kernel.pipe import make_pipe
from balenawasm.personality import linux
from balenawasm.personality.posix_call import posix, signed64
from balenawasm.personality.posix_lock import is_record_lock, lock_record
from balenawasm.vfs.socket import SocketDescription
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype, Whence

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.description import Description

_TRANSFER_MAX: Final = 0x7FFF_F000
"""Most bytes one read or write moves, as on Linux; the rest is left for the next call."""
_FD_PAIR: Final = struct.Struct("<II")
_WHENCE: Final = tuple(Whence)
_SYNC_FLAGS: Final = w.DSYNC | w.RSYNC | w.SYNC


# Data.


def close(process: Process, fd: int) -> int:
    """Close."""
    process.fds.remove(fd)
    return 0


def read(process: Process, fd: int, buffer: int, length: int) -> int:
    """Read at the offset; answers the number of bytes."""
    description = process.fds.get(fd).description
    target = process.memory.slice(buffer, min(length, _TRANSFER_MAX))
    return description.read(process, [target])


def write(process: Process, fd: int, buffer: int, length: int) -> int:
    """Write at the offset; answers the number of bytes."""
    description = process.fds.get(fd).description
    source = process.memory.slice(buffer, min(length, _TRANSFER_MAX))
    return description.write(process, [source])


def readv(process: Process, fd: int, iovecs: int, count: int) -> int:
    """Read into several buffers."""
    description = process.fds.get(fd).description
    return description.read(process, process.memory.iovecs(iovecs, count))


def writev(process: Process, fd: int, iovecs: int, count: int) -> int:
    """Write several buffers."""
    description = process.fds.get(fd).description
    return description.write(process, process.memory.iovecs(iovecs, count))


def pread(process: Process, fd: int, buffer: int, length: int, offset: int) -> int:
    """Read at a given offset."""
    description = process.fds.get(fd).description
    target = process.memory.slice(buffer, min(length, _TRANSFER_MAX))
    return description.pread(process, [target], _offset(offset))


def pwrite(process: Process, fd: int, buffer: int, length: int, offset: int) -> int:
    """Write at a given offset."""
    description = process.fds.get(fd).description
    source = process.memory.slice(buffer, min(length, _TRANSFER_MAX))
    return description.pwrite(process, [source], _offset(offset))


def lseek(process: Process, fd: int, offset: int, whence: int, result: int) -> int:
    """Move the offset; the new one goes to `result`, a u64."""
    if whence > Whence.END:
        raise GuestError(Errno.EINVAL)
    process.memory.check(result, 8)
    description = process.fds.get(fd).description
    if description.filetype is Filetype.DIRECTORY:
        raise GuestError(Errno.EINVAL)  # getdents has a position of its own
    at = description.seek(signed64(offset), _WHENCE[whence])
    process.memory.write_u64(result, at)
    return 0


def _offset(value: int) -> int:
    if value >> 63:
        raise GuestError(Errno.EINVAL)
    return value


def ftruncate(process: Process, fd: int, size: int) -> int:
    """Set a file's size."""
    process.fds.get(fd).description.truncate(_offset(size))
    return 0


def fallocate(process: Process, fd: int, offset: int, length: int) -> int:
    """posix_fallocate: the range exists afterwards."""
    if length == 0:
        raise GuestError(Errno.EINVAL)
    process.fds.get(fd).description.allocate(_offset(offset), _offset(length))
    return 0


def fsync(process: Process, fd: int) -> int:
    """Make data and attributes durable."""
    process.fds.get(fd).description.sync(data_only=False)
    return 0


def fdatasync(process: Process, fd: int) -> int:
    """Make the data durable."""
    process.fds.get(fd).description.sync(data_only=True)
    return 0


# Numbers.


def pipe2(process: Process, flags: int, result: int) -> int:
    """A pipe; its two fds go to `result`, the reading end first."""
    if flags & ~(linux.O_CLOEXEC | linux.O_NONBLOCK):
        raise GuestError(Errno.EINVAL)
    process.memory.check(result, _FD_PAIR.size)
    ends = make_pipe()
    if flags & linux.O_NONBLOCK:
        for end in ends:
            end.set_flags(w.NONBLOCK)
    process.memory.pack(_FD_PAIR, result, *add_pair(process, ends, flags))
    return 0


def add_pair(
    process: Process, ends: tuple[Description, Description], flags: int
) -> tuple[int, int]:
    """Two new fds, or EMFILE and none; `flags`: O_CLOEXEC."""
    first = process.fds.add(new_entry(ends[0], flags))
    try:
        return first, process.fds.add(new_entry(ends[1], flags))
    except GuestError:
        process.fds.remove(first)
        raise


def new_entry(description: Description, flags: int) -> FdEntry:
    """The entry of a new fd; `flags`: O_CLOEXEC."""
    entry = FdEntry(description)
    entry.cloexec = flags & linux.O_CLOEXEC != 0
    return entry


def dup(process: Process, fd: int) -> int:
    """A second fd for an open file, the lowest free one."""
    return process.fds.add(process.fds.get(fd).shared())


def dup2(process: Process, fd: int, target: int) -> int:
    """Make `target` a second fd for an open file, closing what it was."""
    entry = process.fds.get(fd)
    if fd != target:
        process.fds.put(target, entry.shared())
    return target


def dup3(process: Process, fd: int, target: int, flags: int) -> int:
    """As dup2, with O_CLOEXEC; EINVAL for twice the same fd."""
    if flags & ~linux.O_CLOEXEC or fd == target:
        raise GuestError(Errno.EINVAL)
    entry = process.fds.get(fd).shared()
    entry.cloexec = flags != 0
    process.fds.put(target, entry)
    return target


def fcntl(process: Process, fd: int, command: int, argument: int) -> int:
    """Duplicate an fd, ask for or set its flags."""
    entry = process.fds.get(fd)
    if command in (linux.F_DUPFD, linux.F_DUPFD_CLOEXEC):
        if argument >= process.limits.open_files:
            raise GuestError(Errno.EINVAL)
        shared = entry.shared()
        shared.cloexec = command == linux.F_DUPFD_CLOEXEC
        return process.fds.add(shared, lowest=argument)
    if command == linux.F_GETFD:
        return linux.FD_CLOEXEC if entry.cloexec else 0
    if command == linux.F_SETFD:
        entry.cloexec = argument & linux.FD_CLOEXEC != 0
        return 0
    description = entry.description
    if is_record_lock(command):
        return lock_record(process, description, command, argument)
    if command == linux.F_GETFL:
        return _access_mode(description) | linux.status_flags_of(description.flags)
    if command == linux.F_SETFL:
        kept = description.flags & _SYNC_FLAGS
        description.set_flags(kept | linux.fdflags_of(argument) & ~_SYNC_FLAGS)
        return 0
    raise GuestError(Errno.EINVAL)


def _access_mode(description: Description) -> int:
    if description.filetype is Filetype.DIRECTORY or not description.writable:
        return linux.O_RDONLY
    return linux.O_RDWR if description.readable else linux.O_WRONLY


def ioctl(process: Process, fd: int, request: int, argument: int) -> int:
    """FIONREAD, FIONBIO, FIOCLEX and FIONCLEX."""
    entry = process.fds.get(fd)
    description = entry.description
    memory = process.memory
    if request in (linux.FIOCLEX, linux.FIONCLEX):
        entry.cloexec = request == linux.FIOCLEX
    elif request == linux.FIONBIO:
        others = description.flags & ~w.NONBLOCK
        description.set_flags(others | (w.NONBLOCK if memory.read_u32(argument) else 0))
    elif request == linux.FIONREAD:
        memory.check(argument, 4)
        memory.write_u32(argument, _readable_bytes(description))
    else:
        raise GuestError(Errno.ENOTTY)
    return 0


def _readable_bytes(description: Description) -> int:
    if isinstance(description, SocketDescription):
        return description.pending()
    if description.filetype is Filetype.REGULAR_FILE and description.seekable:
        left = description.stat().size - description.seek(0, Whence.CUR)
        return min(max(0, left), 0x7FFF_FFFF)
    if description.host_fd < 0 or not description.readable:
        raise GuestError(Errno.ENOTTY)
    count = array.array("i", [0])
    host_fcntl.ioctl(description.host_fd, linux.FIONREAD, count)
    return count[0]


SYSCALLS: Final = (
    posix(close, "i"),
    posix(read, "iii", fast=True),
    posix(write, "iii", "EPIPE comes with SIGPIPE. A blocking stream takes everything.", fast=True),
    posix(readv, "iii", "At most 1024 buffers and 2 GiB in one call: EINVAL.", fast=True),
    posix(
        writev,
        "iii",
        "As `write`; at most 1024 buffers and 2 GiB in one call: EINVAL.",
        fast=True,
    ),
    posix(pread, "iiiq"),
    posix(pwrite, "iiiq"),
    posix(lseek, "iqii", "SEEK_SET, SEEK_CUR, SEEK_END. EINVAL for directories."),
    posix(ftruncate, "iq"),
    posix(fallocate, "iqq"),
    posix(fsync, "i"),
    posix(fdatasync, "i"),
    posix(pipe2, "ii", "O_CLOEXEC and O_NONBLOCK."),
    posix(dup, "i"),
    posix(dup2, "ii"),
    posix(dup3, "iii"),
    posix(
        fcntl,
        "iii",
        "F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL (O_APPEND and O_NONBLOCK "
        "change), F_GETLK, F_SETLK, F_SETLKW (EDEADLK is never found); others are EINVAL. At most "
        "1024 record locks a process: ENOLCK.",
    ),
    posix(ioctl, "iii", "FIONREAD, FIONBIO, FIOCLEX, FIONCLEX; others are ENOTTY."),
)
