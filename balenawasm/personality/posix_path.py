"""The POSIX door: what makes, opens, moves and removes names, and the working directory."""

from __future__ import annotations

import stat as stat_mode
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.fd_table import FdEntry
from balenawasm.personality import linux
from balenawasm.personality.posix_call import path_at, posix, read_path
from balenawasm.personality.posix_file import mode_of_new
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.location import Location

_ACCESS: Final = {
    linux.O_RDONLY: (True, False),
    linux.O_WRONLY: (False, True),
    linux.O_RDWR: (True, True),
}
_OFLAGS: Final = (
    (linux.O_CREAT, w.O_CREAT),
    (linux.O_EXCL, w.O_EXCL),
    (linux.O_TRUNC, w.O_TRUNC),
    (linux.O_DIRECTORY, w.O_DIRECTORY),
)


def openat(process: Process, dirfd: int, path: int, length: int, flags: int, mode: int) -> int:
    """Open, or make and open; answers the lowest free fd."""
    access = _ACCESS.get(flags & linux.O_ACCMODE)
    if access is None or flags & ~linux.O_KNOWN:
        raise GuestError(Errno.EINVAL)
    start, name = path_at(process, dirfd, path, length)
    process.fds.check_room()
    oflags = sum(ours for linuxes, ours in _OFLAGS if flags & linuxes)
    truncate = flags & linux.O_TRUNC != 0
    location, description = process.namespace.open(
        process,
        start,
        name,
        oflags=oflags,
        flags=OpenFlags(*access, truncate, linux.fdflags_of(flags)),
        follow=not flags & linux.O_NOFOLLOW,
        mode=mode_of_new(process, mode),
    )
    entry = FdEntry(description, location=location)
    entry.cloexec = flags & linux.O_CLOEXEC != 0
    return process.fds.add(entry)


def mkdirat(process: Process, dirfd: int, path: int, length: int, mode: int) -> int:
    """Make a directory."""
    start, name = path_at(process, dirfd, path, length)
    mode = mode_of_new(process, mode)
    process.namespace.make_directory(process, start, name, mode=mode)
    return 0


def unlinkat(process: Process, dirfd: int, path: int, length: int, flags: int) -> int:
    """Remove a name; with AT_REMOVEDIR an empty directory."""
    if flags & ~linux.AT_REMOVEDIR:
        raise GuestError(Errno.EINVAL)
    start, name = path_at(process, dirfd, path, length)
    if flags:
        process.namespace.remove_directory(process, start, name)
    else:
        process.namespace.unlink(process, start, name)
    return 0


def renameat(
    process: Process,
    old_dirfd: int,
    old_path: int,
    old_length: int,
    new_dirfd: int,
    new_path: int,
    new_length: int,
) -> int:
    """Move a file or directory, replacing what has the new name."""
    old_start, old = path_at(process, old_dirfd, old_path, old_length)
    new_start, new = path_at(process, new_dirfd, new_path, new_length)
    process.namespace.rename(process, old_start, old, new_start, new)
    return 0


def linkat(
    process: Process,
    old_dirfd: int,
    old_path: int,
    old_length: int,
    new_dirfd: int,
    new_path: int,
    new_length: int,
    flags: int,
) -> int:
    """Make a hard link."""
    if flags & ~linux.AT_SYMLINK_FOLLOW:
        raise GuestError(Errno.EINVAL)
    old_start, old = path_at(process, old_dirfd, old_path, old_length)
    new_start, new = path_at(process, new_dirfd, new_path, new_length)
    process.namespace.link(process, old_start, old, new_start, new, follow=flags != 0)
    return 0


def symlinkat(
    process: Process, target: int, target_length: int, dirfd: int, path: int, length: int
) -> int:
    """Make a symbolic link."""
    content = read_path(process, target, target_length)
    start, name = path_at(process, dirfd, path, length)
    process.namespace.symlink(process, content, start, name)
    return 0


def readlinkat(process: Process, dirfd: int, path: int, length: int, buffer: int, size: int) -> int:
    """A link's target, cut off at the buffer's end; answers its length."""
    start, name = path_at(process, dirfd, path, length)
    if size == 0:
        raise GuestError(Errno.EINVAL)
    room = process.memory.slice(buffer, size)
    target = process.namespace.read_link(process, start, name)[:size]
    room[: len(target)] = target
    return len(target)


def mknodat(process: Process, dirfd: int, path: int, length: int, mode: int, _device: int) -> int:
    """Make a regular file or a named pipe."""
    start, name = path_at(process, dirfd, path, length)
    kind = stat_mode.S_IFMT(mode)
    permissions = mode_of_new(process, mode)
    if kind in (0, stat_mode.S_IFREG):
        _, made = process.namespace.open(
            process,
            start,
            name,
            oflags=w.O_CREAT | w.O_EXCL,
            flags=OpenFlags(),
            follow=False,
            mode=permissions,
        )
        made.retain()
        made.release()
        return 0
    if kind != stat_mode.S_IFIFO:
        raise GuestError(Errno.EPERM)
    process.namespace.make_fifo(process, start, name, mode=permissions)
    return 0


# The working directory.


def chdir(process: Process, path: int, length: int) -> int:
    """Work in another directory."""
    start, name = path_at(process, linux.AT_FDCWD, path, length)
    _enter(process, process.namespace.resolve(process, start, name, follow=True))
    return 0


def fchdir(process: Process, fd: int) -> int:
    """Work in an open directory."""
    _enter(process, process.fds.get(fd).directory())
    return 0


def _enter(process: Process, directory: Location) -> None:
    if directory.node.filetype is not Filetype.DIRECTORY:
        raise GuestError(Errno.ENOTDIR)
    process.cwd = directory.path()


def getcwd(process: Process, buffer: int, size: int) -> int:
    """The working directory's path with a NUL; answers its length with that."""
    path = process.cwd + b"\0"
    if len(path) > size:
        raise GuestError(Errno.ERANGE)
    target = process.memory.slice(buffer, len(path))
    process.namespace.resolve(process, process.namespace.root, process.cwd, follow=True)
    target[:] = path
    return len(path)


SYSCALLS: Final = (
    posix(
        openat,
        "iiiii",
        "Linux's flags; O_PATH, O_TMPFILE, O_ASYNC and O_DIRECT are EINVAL. O_NOCTTY and O_NOATIME "
        "change nothing.",
    ),
    posix(mkdirat, "iiii"),
    posix(unlinkat, "iiii", "AT_REMOVEDIR."),
    posix(renameat, "iiiiii", "Not across file systems: EXDEV."),
    posix(linkat, "iiiiiii", "AT_SYMLINK_FOLLOW. Not across file systems: EXDEV."),
    posix(symlinkat, "iiiii", "The target may be absolute."),
    posix(readlinkat, "iiiii", "The answer is cut off at the buffer's end and has no NUL."),
    posix(mknodat, "iiiiq", "Regular files and named pipes; devices and sockets are EPERM."),
    posix(
        chdir,
        "ii",
        "The working directory is kept as a path: when it is renamed, the old name counts.",
    ),
    posix(fchdir, "i", "As `chdir`."),
    posix(getcwd, "ii", "ERANGE when it does not fit."),
)
