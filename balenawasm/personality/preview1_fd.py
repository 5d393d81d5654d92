"""Preview 1: what concerns an fd itself: its data, offset, rights, flags, number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from balenawasm.personality.syscall import preview1
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import FD_READ, FD_WRITE, Filetype, Whence
from balenawasm.wasi.structs import FDSTAT, PRESTAT

if TYPE_CHECKING:
    from balenawasm.kernel.fd_table import FdEntry
    from balenawasm.kernel.process import Process

OFFSET_MAX: Final = (1 << 63) - 1
"""Largest offset, size or time: WASI's are u64, every host's are signed."""
_PRESTAT_DIR: Final = 0
_PRESTAT_NONE: Final = 255
_SYNC_FLAGS: Final = w.DSYNC | w.RSYNC | w.SYNC
_WHENCE: Final = tuple(Whence)


# Data.


def fd_read(process: Process, fd: int, iovecs: int, count: int, result: int) -> int:
    """Read at the current offset."""
    entry = process.fds.find(fd)
    if entry is None:
        raise GuestError(Errno.EBADF)
    if not entry.rights_base & FD_READ:
        raise GuestError(Errno.ENOTCAPABLE)
    memory = process.memory
    buffers = memory.iovecs(iovecs, count)
    if result + 4 > len(memory.view):
        memory.check(result, 4)
    memory.write_u32(result, entry.description.read(process, buffers))
    return 0


def fd_write(process: Process, fd: int, iovecs: int, count: int, result: int) -> int:
    """Write at the current offset."""
    entry = process.fds.find(fd)
    if entry is None:
        raise GuestError(Errno.EBADF)
    if not entry.rights_base & FD_WRITE:
        raise GuestError(Errno.ENOTCAPABLE)
    memory = process.memory
    buffers = memory.iovecs(iovecs, count)
    if result + 4 > len(memory.view):
        memory.check(result, 4)
    memory.write_u32(result, entry.description.write(process, buffers))
    return 0


def fd_pread(process: Process, fd: int, iovecs: int, count: int, offset: int, result: int) -> int:
    """Read at an offset."""
    entry = _seekable(process, fd, FD_READ | w.FD_SEEK)
    memory = process.memory
    buffers = memory.iovecs(iovecs, count)
    memory.check(result, 4)
    _check_offset(offset)
    memory.write_u32(result, entry.description.pread(process, buffers, offset))
    return 0


def fd_pwrite(process: Process, fd: int, iovecs: int, count: int, offset: int, result: int) -> int:
    """Write at an offset."""
    entry = _seekable(process, fd, FD_WRITE | w.FD_SEEK)
    memory = process.memory
    buffers = memory.iovecs(iovecs, count)
    memory.check(result, 4)
    _check_offset(offset)
    memory.write_u32(result, entry.description.pwrite(process, buffers, offset))
    return 0


def fd_seek(process: Process, fd: int, offset: int, whence: int, result: int) -> int:
    """Move the offset."""
    if whence > Whence.END:
        raise GuestError(Errno.EINVAL)
    if offset > OFFSET_MAX:
        offset -= 1 << 64
    asks = whence == Whence.CUR and offset == 0
    entry = _seekable(process, fd, w.FD_TELL if asks else w.FD_SEEK)
    process.memory.check(result, 8)
    process.memory.write_u64(result, entry.description.seek(offset, _WHENCE[whence]))
    return 0


def fd_tell(process: Process, fd: int, result: int) -> int:
    """The offset."""
    entry = _seekable(process, fd, w.FD_TELL)
    process.memory.write_u64(result, entry.description.seek(0, Whence.CUR))
    return 0


def _seekable(process: Process, fd: int, rights: int) -> FdEntry:
    """The entry, if it has the rights; a stream never has them, and answers ESPIPE as on Unix."""
    entry = process.fds.get(fd)
    if rights & w.FD_TELL and entry.rights_base & w.FD_SEEK:
        rights &= ~w.FD_TELL  # the right to seek implies it
    if rights & ~entry.rights_base:
        description = entry.description
        if description.seekable or description.filetype == Filetype.DIRECTORY:
            raise GuestError(Errno.ENOTCAPABLE)
        raise GuestError(Errno.ESPIPE)
    return entry


def _check_offset(offset: int) -> None:
    if offset > OFFSET_MAX:
        raise GuestError(Errno.EINVAL)


# The number and its rights.


def fd_close(process: Process, fd: int) -> int:
    """Close."""
    process.fds.remove(fd)
    return 0


def fd_renumber(process: Process, source: int, target: int) -> int:
    """Move one fd over another."""
    process.fds.renumber(source, target)
    return 0


def fd_fdstat_get(process: Process, fd: int, result: int) -> int:
    """Kind, flags and rights."""
    entry = process.fds.get(fd)
    description = entry.description
    process.memory.pack(
        FDSTAT,
        result,
        description.filetype,
        description.flags,
        entry.rights_base,
        entry.rights_inheriting,
    )
    return 0


def fd_fdstat_set_flags(process: Process, fd: int, flags: int) -> int:
    """Set APPEND and NONBLOCK."""
    if flags & ~w.FDFLAGS_ALL:
        raise GuestError(Errno.EINVAL)
    entry = process.fds.get(fd)
    entry.require(w.FD_FDSTAT_SET_FLAGS)
    if (flags ^ entry.description.flags) & _SYNC_FLAGS:
        raise GuestError(Errno.EINVAL)
    entry.description.set_flags(flags)
    return 0


def fd_fdstat_set_rights(process: Process, fd: int, base: int, inheriting: int) -> int:
    """Give up rights."""
    entry = process.fds.get(fd)
    if base & ~entry.rights_base or inheriting & ~entry.rights_inheriting:
        raise GuestError(Errno.ENOTCAPABLE)
    entry.rights_base = base
    entry.rights_inheriting = inheriting
    process.fds.forget_fast(fd)
    return 0


# Preopened directories.


def fd_prestat_get(process: Process, fd: int, result: int) -> int:
    """What is preopened at an fd: EBADF when nothing is.

    C libraries look from fd 3 on and stop at the first EBADF, but skip what is no directory. An fd
    that the process inherited (`exec 3<file` in a shell) is that, when directories come behind it.
    """
    name = process.fds.get(fd).prestat
    if name is None:
        entries = process.fds.entries()
        if all(other < fd for other, entry in entries.items() if entry.prestat is not None):
            raise GuestError(Errno.EBADF)
        process.memory.pack(PRESTAT, result, _PRESTAT_NONE, 0)
    else:
        process.memory.pack(PRESTAT, result, _PRESTAT_DIR, len(name))
    return 0


def fd_prestat_dir_name(process: Process, fd: int, buffer: int, length: int) -> int:
    """The name of a preopened directory, without a NUL."""
    name = _preopened_name(process, fd)
    if length < len(name):
        raise GuestError(Errno.ENAMETOOLONG)
    process.memory.write(buffer, name)
    return 0


def _preopened_name(process: Process, fd: int) -> bytes:
    name = process.fds.get(fd).prestat
    if name is None:
        raise GuestError(Errno.EBADF)
    return name


SYSCALLS: Final = (
    preview1(fd_close, "Preopened directories too."),
    preview1(fd_fdstat_get, fast=True),
    preview1(
        fd_fdstat_set_flags,
        "`append` and `nonblock`; changing the sync flags of an open file is EINVAL.",
    ),
    preview1(fd_fdstat_set_rights, "Rights only shrink: ENOTCAPABLE."),
    preview1(fd_pread, "ESPIPE on streams. Needs the rights `fd_read` and `fd_seek`."),
    preview1(fd_prestat_dir_name, "ENAMETOOLONG when the buffer is too short."),
    preview1(
        fd_prestat_get,
        "For another fd in front of a preopened directory: a type that C libraries skip.",
    ),
    preview1(fd_pwrite, "ESPIPE on streams. Needs the rights `fd_write` and `fd_seek`."),
    preview1(fd_read, "At most 1024 buffers and 2 GiB in one call: EINVAL.", fast=True),
    preview1(fd_renumber, "Both fds must be open: EBADF."),
    preview1(fd_seek, "ESPIPE on streams.", fast=True),
    preview1(fd_tell, "ESPIPE on streams.", fast=True),
    preview1(
        fd_write,
        "At most 1024 buffers and 2 GiB in one call: EINVAL. A blocking stream takes everything.",
        fast=True,
    ),
)
