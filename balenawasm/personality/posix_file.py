"""The POSIX door: the attributes of files, and what is in directories."""

from __future__ import annotations

import stat as stat_mode
import struct
import time
from typing import TYPE_CHECKING, Final

from balenawasm.personality import linux
from balenawasm.personality.posix_call import NS_PER_SECOND, path_at, posix
from balenawasm.vfs.node import MODE_OF_FILETYPE, Capacity
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from balenawasm.kernel.guest_memory import GuestMemory
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.location import Location
    from balenawasm.vfs.node import Node, Stat

STAT: Final = struct.Struct("<QQIIIIQqqqqqqqqq")
"""dev, ino, mode, nlink, uid, gid, rdev, size, blksize, blocks, atime, mtime, ctime (seconds and
nanoseconds each)."""
DIRENT: Final = struct.Struct("<QQHBx")
"""Next cookie, ino, length of the record, type; then the name with a NUL, padded to 8 bytes."""
STATFS: Final = struct.Struct("<8Q")
"""Block size, blocks, free, available, files, files free, longest name, read-only."""
_TIMES: Final = struct.Struct("<qqqq")
_BLOCK: Final = 4096
_LISTED_MAX: Final = 1 << 18
"""Bytes of entries of one getdents: they are put together in Python."""
_SECTOR: Final = 512
_U64: Final = (1 << 64) - 1
_UNCHANGED: Final = 0xFFFF_FFFF
_DT_SHIFT: Final = 12
_TIME_MAX: Final = (1 << 63) - 1


def write_stat(memory: GuestMemory, pointer: int, stat: Stat) -> None:
    """Encode a `stat`; `rdev` as Linux's makedev."""
    major, minor = stat.rdev
    rdev = (minor & 0xFF) | (major & 0xFFF) << 8 | (minor & ~0xFF) << 12 | (major & ~0xFFF) << 32
    memory.pack(
        STAT,
        pointer,
        stat.dev & _U64,
        stat.ino & _U64,
        MODE_OF_FILETYPE[stat.filetype] | stat.mode & 0o7777,
        min(stat.nlink, 0xFFFF_FFFF),
        stat.uid & 0xFFFF_FFFF,
        stat.gid & 0xFFFF_FFFF,
        rdev & _U64,
        stat.size,
        _BLOCK,
        -(-stat.size // _SECTOR),
        *divmod(stat.atim, NS_PER_SECOND),
        *divmod(stat.mtim, NS_PER_SECOND),
        *divmod(stat.ctim, NS_PER_SECOND),
    )


def fstat(process: Process, fd: int, result: int) -> int:
    """The attributes of an open file."""
    description = process.fds.get(fd).description
    process.memory.check(result, STAT.size)
    write_stat(process.memory, result, description.stat())
    return 0


def fstatat(process: Process, dirfd: int, path: int, length: int, flags: int, result: int) -> int:
    """The attributes of what a path names."""
    location = _find(process, dirfd, path, length, flags)
    process.memory.check(result, STAT.size)
    write_stat(process.memory, result, location.node.stat())
    return 0


def _find(
    process: Process, dirfd: int, path: int, length: int, flags: int, known: int = 0
) -> Location:
    """What a path names; `flags`: AT_SYMLINK_NOFOLLOW and those `known`."""
    if flags & ~(linux.AT_SYMLINK_NOFOLLOW | known):
        raise GuestError(Errno.EINVAL)
    start, name = path_at(process, dirfd, path, length)
    follow = not flags & linux.AT_SYMLINK_NOFOLLOW
    return process.namespace.resolve(process, start, name, follow=follow)


def faccessat(process: Process, dirfd: int, path: int, length: int, mode: int, flags: int) -> int:
    """Whether a file may be used: its user is root, so only execution is ever refused."""
    if mode & ~(linux.R_OK | linux.W_OK | linux.X_OK):
        raise GuestError(Errno.EINVAL)
    stat = _find(process, dirfd, path, length, flags, linux.AT_EACCESS).node.stat()
    executable = stat.filetype is Filetype.DIRECTORY or stat.mode & 0o111
    if mode & linux.X_OK and not executable:
        raise GuestError(Errno.EACCES)
    return 0


def fchmod(process: Process, fd: int, mode: int) -> int:
    """Set the permissions of an open file."""
    process.fds.get(fd).description.set_mode(mode & 0o7777)
    return 0


def fchmodat(process: Process, dirfd: int, path: int, length: int, mode: int, flags: int) -> int:
    """Set the permissions of what a path names."""
    _find(process, dirfd, path, length, flags).node.set_mode(mode & 0o7777)
    return 0


def fchown(process: Process, fd: int, uid: int, gid: int) -> int:
    """Set the owner and group of an open file; -1 leaves that one."""
    process.fds.get(fd).description.set_owner(_id(uid), _id(gid))
    return 0


def fchownat(
    process: Process, dirfd: int, path: int, length: int, uid: int, gid: int, flags: int
) -> int:
    """Set the owner and group of what a path names; -1 leaves that one."""
    _find(process, dirfd, path, length, flags).node.set_owner(_id(uid), _id(gid))
    return 0


def _id(value: int) -> int | None:
    return None if value == _UNCHANGED else value


def futimens(process: Process, fd: int, times: int) -> int:
    """Set the access and modification time of an open file; NULL: now."""
    description = process.fds.get(fd).description
    description.set_times(*_read_times(process.memory, times))
    return 0


def utimensat(process: Process, dirfd: int, path: int, length: int, times: int, flags: int) -> int:
    """Set the access and modification time of what a path names; NULL: now."""
    wanted = _read_times(process.memory, times)
    _find(process, dirfd, path, length, flags).node.set_times(*wanted)
    return 0


def _read_times(memory: GuestMemory, pointer: int) -> tuple[int | None, int | None]:
    now = time.time_ns()
    if pointer == 0:
        return now, now
    seconds, nanoseconds, more_seconds, more = memory.unpack(_TIMES, pointer)
    return _time_of(seconds, nanoseconds, now), _time_of(more_seconds, more, now)


def _time_of(seconds: int, nanoseconds: int, now: int) -> int | None:
    if nanoseconds == linux.UTIME_NOW:
        return now
    if nanoseconds == linux.UTIME_OMIT:
        return None
    value = int(seconds * NS_PER_SECOND + nanoseconds)
    if not 0 <= nanoseconds < NS_PER_SECOND or not -_TIME_MAX <= value <= _TIME_MAX:
        raise GuestError(Errno.EINVAL)
    return value


def getdents(process: Process, fd: int, buffer: int, length: int, cookie: int) -> int:
    """Directory entries from a cookie on (0: the first), whole records; answers their bytes, 0 at
    the end.
    """
    description = process.fds.get(fd).description
    if description.filetype is not Filetype.DIRECTORY:
        raise GuestError(Errno.ENOTDIR)
    length = min(length, _LISTED_MAX)
    target = process.memory.slice(buffer, length)
    listing = description.listing(process, restart=cookie == 0)
    filled = 0
    for index in range(cookie, len(listing)):
        name, ino, filetype = listing[index]
        size = (DIRENT.size + len(name) + 8) & ~7
        if filled + size > length:
            if filled == 0:
                raise GuestError(Errno.EINVAL)
            break
        kind = MODE_OF_FILETYPE[filetype] >> _DT_SHIFT
        record = DIRENT.pack(index + 1, ino & _U64, size, kind) + name
        target[filled : filled + size] = record.ljust(size, b"\0")
        filled += size
    return filled


def statfs(process: Process, path: int, length: int, result: int) -> int:
    """The size of the file system that a path leads to."""
    location = _find(process, linux.AT_FDCWD, path, length, 0)
    return _write_capacity(process.memory, result, location.node)


def fstatfs(process: Process, fd: int, result: int) -> int:
    """The size of the file system that an open file is in."""
    return _write_capacity(process.memory, result, process.fds.get(fd).description.node)


def _write_capacity(memory: GuestMemory, pointer: int, node: Node | None) -> int:
    memory.check(pointer, STATFS.size)
    memory.pack(STATFS, pointer, *(Capacity() if node is None else node.capacity()))
    return 0


def umask(process: Process, mask: int) -> int:
    """Set the permissions that new files do not get; answers the old mask."""
    old = process.umask
    process.umask = mask & 0o777
    return old


def mode_of_new(process: Process, mode: int) -> int:
    """A new file's permissions, from what its maker asked for."""
    return stat_mode.S_IMODE(mode) & ~process.umask


SYSCALLS: Final = (
    posix(fstat, "ii"),
    posix(fstatat, "iiiii", "AT_SYMLINK_NOFOLLOW."),
    posix(
        faccessat,
        "iiiii",
        "The user is root: only X_OK on a file without any x bit is refused, EACCES. A read-only "
        "mount shows with the first write. AT_EACCESS, AT_SYMLINK_NOFOLLOW.",
    ),
    posix(
        fchmod,
        "ii",
        "On files of the host (binds, volumes, the writable layer) set-user-id and set-group-id "
        "are left out. A change of a layer's file copies it up.",
    ),
    posix(fchmodat, "iiiii", "As `fchmod`. AT_SYMLINK_NOFOLLOW; ENOTSUP for a link itself."),
    posix(fchown, "iii", "On files of the host it is the host's answer: EPERM unless root."),
    posix(fchownat, "iiiiii", "As `fchown`. AT_SYMLINK_NOFOLLOW."),
    posix(futimens, "ii", "UTIME_NOW, UTIME_OMIT."),
    posix(utimensat, "iiiii", "UTIME_NOW, UTIME_OMIT; AT_SYMLINK_NOFOLLOW."),
    posix(
        getdents,
        "iiiq",
        "A listing is taken at cookie 0 and cookies stay valid in it. EINVAL when not one record "
        "fits.",
    ),
    posix(statfs, "iii", "Zeros for the kernel's own file systems."),
    posix(fstatfs, "ii", "As `statfs`; zeros for what has no name."),
    posix(umask, "i"),
)
