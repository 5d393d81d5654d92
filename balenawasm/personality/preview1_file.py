"""Preview 1: what concerns the file or directory behind an fd: attributes, size, durability,
entries.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Final

from balenawasm.personality.preview1_fd import OFFSET_MAX
from balenawasm.personality.syscall import preview1
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Advice, Filetype
from balenawasm.wasi.structs import DIRENT, FILESTAT

if TYPE_CHECKING:
    from balenawasm.kernel.guest_memory import GuestMemory
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.node import Stat

_U64_MAX: Final = (1 << 64) - 1
_pack_filestat = FILESTAT.pack_into


def write_filestat(memory: GuestMemory, pointer: int, stat: Stat) -> None:
    """Encode a `filestat`. A time before 1970 becomes 1970: WASI's are unsigned."""
    try:
        _pack_filestat(memory.view, pointer, *stat[:8])
    except struct.error:
        memory.pack(FILESTAT, pointer, *(min(max(0, value), _U64_MAX) for value in stat[:8]))


def times_of(atim: int, mtim: int, fstflags: int) -> tuple[int | None, int | None]:
    """What set_times shall set, from the arguments of the two calls: EINVAL for contradicting or
    unknown flags.
    """
    if fstflags & ~w.FSTFLAGS_ALL:
        raise GuestError(Errno.EINVAL)
    return (
        _time_of(atim, fstflags & w.ATIM, fstflags & w.ATIM_NOW),
        _time_of(mtim, fstflags & w.MTIM, fstflags & w.MTIM_NOW),
    )


def _time_of(value: int, given: int, now: int) -> int | None:
    if (given and now) or (given and value > OFFSET_MAX):
        raise GuestError(Errno.EINVAL)
    if now:
        return time.time_ns()
    return value if given else None


def fd_filestat_get(process: Process, fd: int, result: int) -> int:
    """The file's attributes."""
    entry = process.fds.get(fd)
    entry.require(w.FD_FILESTAT_GET)
    process.asked_fd = fd
    write_filestat(process.memory, result, entry.description.stat())
    return 0


def fd_filestat_set_size(process: Process, fd: int, size: int) -> int:
    """Make the file longer or shorter."""
    entry = process.fds.get(fd)
    entry.require(w.FD_FILESTAT_SET_SIZE)
    if size > OFFSET_MAX:
        raise GuestError(Errno.EFBIG)
    entry.description.truncate(size)
    return 0


def fd_filestat_set_times(process: Process, fd: int, atim: int, mtim: int, fstflags: int) -> int:
    """Set the file's times."""
    times = times_of(atim, mtim, fstflags)
    entry = process.fds.get(fd)
    entry.require(w.FD_FILESTAT_SET_TIMES)
    entry.description.set_times(*times)
    return 0


def fd_advise(process: Process, fd: int, offset: int, length: int, advice: int) -> int:
    """Tell how a range is going to be used."""
    if advice > Advice.NOREUSE or offset + length > OFFSET_MAX:
        raise GuestError(Errno.EINVAL)
    entry = process.fds.get(fd)
    if not entry.description.seekable and entry.description.filetype != Filetype.DIRECTORY:
        raise GuestError(Errno.ESPIPE)
    entry.require(w.FD_ADVISE)
    return 0


def fd_allocate(process: Process, fd: int, offset: int, length: int) -> int:
    """Make sure that a range exists."""
    entry = process.fds.get(fd)
    entry.require(w.FD_ALLOCATE)
    if length == 0:
        raise GuestError(Errno.EINVAL)
    if offset + length > OFFSET_MAX:
        raise GuestError(Errno.EFBIG)
    entry.description.allocate(offset, length)
    return 0


def fd_datasync(process: Process, fd: int) -> int:
    """Make the data durable."""
    entry = process.fds.get(fd)
    entry.require(w.FD_DATASYNC)
    entry.description.sync(data_only=True)
    return 0


def fd_sync(process: Process, fd: int) -> int:
    """Make data and attributes durable."""
    entry = process.fds.get(fd)
    entry.require(w.FD_SYNC)
    entry.description.sync(data_only=False)
    return 0


def fd_readdir(
    process: Process, fd: int, buffer: int, length: int, cookie: int, result: int
) -> int:
    """Read directory entries from a cookie on, as many as fit; the last one may be cut off."""
    entry = process.fds.get(fd)
    if entry.description.filetype is not Filetype.DIRECTORY:
        raise GuestError(Errno.ENOTDIR)
    entry.require(w.FD_READDIR)
    memory = process.memory
    target = memory.slice(buffer, length)
    memory.check(result, 4)
    listing = entry.description.listing(process, restart=cookie == 0)
    filled = 0
    index = cookie
    while filled < length and index < len(listing):
        name, ino, filetype = listing[index]
        index += 1
        record = DIRENT.pack(index, ino & _U64_MAX, len(name), filetype) + name
        piece = record[: length - filled]
        target[filled : filled + len(piece)] = piece
        filled += len(piece)
    memory.write_u32(result, filled)
    return 0


SYSCALLS: Final = (
    preview1(fd_advise, "Accepted and without effect. ESPIPE on streams."),
    preview1(fd_allocate, "Extends regular files; ENOTSUP where the file system cannot."),
    preview1(fd_datasync),
    preview1(fd_filestat_get, "Times before 1970 show as 0."),
    preview1(fd_filestat_set_size),
    preview1(fd_filestat_set_times, "A time given and `now` at once: EINVAL."),
    preview1(
        fd_readdir,
        "A listing is taken at cookie 0 and cookies stay valid in it, whatever happens to the "
        "directory meanwhile.",
    ),
    preview1(fd_sync),
)
