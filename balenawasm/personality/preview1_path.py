"""Preview 1: everything that takes a path.

A path starts at a directory fd and stays beneath it: one that is absolute or leads out by `..`
answers EPERM. Paths are bytes: the specification wants UTF-8, Unix file systems do not; what a
guest names is what the file is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from balenawasm.kernel.fd_table import FdEntry, rights_for
from balenawasm.personality.preview1_file import times_of, write_filestat
from balenawasm.personality.syscall import preview1
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.path import Location

PATH_MAX: Final = 4096
"""Longest path in bytes: ENAMETOOLONG."""


_READING: Final = w.FD_READ | w.FD_READDIR
_NEEDED: Final = tuple(
    w.PATH_OPEN
    | (w.PATH_CREATE_FILE if oflags & w.O_CREAT else 0)
    | (w.PATH_FILESTAT_SET_SIZE if oflags & w.O_TRUNC else 0)
    for oflags in range(w.OFLAGS_ALL + 1)
)
"""The rights path_open needs from the directory, by oflags."""


def _path(process: Process, pointer: int, length: int) -> bytes:
    if length > PATH_MAX:
        raise GuestError(Errno.ENAMETOOLONG)
    return process.memory.read(pointer, length)


def _start(process: Process, fd: int, rights: int) -> Location:
    """The directory that a path starts at, if the fd has the rights."""
    entry = process.fds.get(fd)
    location = entry.directory()
    entry.require(rights)
    return location


def _follow(flags: int) -> bool:
    if flags & ~w.SYMLINK_FOLLOW:
        raise GuestError(Errno.EINVAL)
    return bool(flags)


def path_open(
    process: Process,
    fd: int,
    dirflags: int,
    path: int,
    path_length: int,
    oflags: int,
    rights_base: int,
    rights_inheriting: int,
    fdflags: int,
    result: int,
) -> int:
    """Open, or create and open."""
    if dirflags > w.SYMLINK_FOLLOW or oflags > w.OFLAGS_ALL or fdflags > w.FDFLAGS_ALL:
        raise GuestError(Errno.EINVAL)
    fds = process.fds
    directory = fds.get(fd)
    start = directory.directory()
    # Bits that are no rights are ignored: Go asks for all 32.
    rights_base &= w.RIGHTS_ALL
    rights_inheriting &= w.RIGHTS_ALL
    if (
        _NEEDED[oflags] & ~directory.rights_base
        or (rights_base | rights_inheriting) & ~directory.rights_inheriting
    ):
        raise GuestError(Errno.ENOTCAPABLE)
    name = _path(process, path, path_length)
    memory = process.memory
    memory.check(result, 4)
    fds.check_room()
    truncate = oflags & w.O_TRUNC != 0
    # As wasmtime does: only fd_write opens for writing, and what does not write reads.
    write = truncate or rights_base & w.FD_WRITE != 0
    read = not write or rights_base & _READING != 0
    location, description = process.namespace.open(
        process,
        start,
        name,
        oflags=oflags,
        flags=OpenFlags(read, write, truncate, fdflags),
        follow=dirflags != 0,
        beneath=True,
    )
    entry = FdEntry(
        description,
        rights_base=rights_base & rights_for(description),
        rights_inheriting=rights_inheriting,
        location=location,
    )
    memory.write_u32(result, fds.add(entry))
    return 0


def path_filestat_get(
    process: Process, fd: int, flags: int, path: int, path_length: int, result: int
) -> int:
    """A file's attributes."""
    follow = _follow(flags)
    start = _start(process, fd, w.PATH_FILESTAT_GET)
    name = _path(process, path, path_length)
    stat = process.namespace.stat(process, start, name, follow=follow, beneath=True)
    write_filestat(process.memory, result, stat)
    return 0


def path_filestat_set_times(
    process: Process,
    fd: int,
    flags: int,
    path: int,
    path_length: int,
    atim: int,
    mtim: int,
    fstflags: int,
) -> int:
    """Set a file's times."""
    follow = _follow(flags)
    times = times_of(atim, mtim, fstflags)
    start = _start(process, fd, w.PATH_FILESTAT_SET_TIMES)
    name = _path(process, path, path_length)
    process.namespace.set_times(process, start, name, *times, follow=follow, beneath=True)
    return 0


def path_readlink(
    process: Process,
    fd: int,
    path: int,
    path_length: int,
    buffer: int,
    length: int,
    result: int,
) -> int:
    """A link's target, cut off at the buffer's end."""
    start = _start(process, fd, w.PATH_READLINK)
    name = _path(process, path, path_length)
    # All pointers before the link is read: reading some of the kernel's own has an effect.
    memory = process.memory
    room = memory.slice(buffer, length)
    memory.check(result, 4)
    target = process.namespace.read_link(process, start, name, beneath=True)[:length]
    room[: len(target)] = target
    memory.write_u32(result, len(target))
    return 0


def path_create_directory(process: Process, fd: int, path: int, path_length: int) -> int:
    """Make a directory."""
    start = _start(process, fd, w.PATH_CREATE_DIRECTORY)
    name = _path(process, path, path_length)
    process.namespace.make_directory(process, start, name, beneath=True)
    return 0


def path_remove_directory(process: Process, fd: int, path: int, path_length: int) -> int:
    """Remove an empty directory."""
    start = _start(process, fd, w.PATH_REMOVE_DIRECTORY)
    name = _path(process, path, path_length)
    process.namespace.remove_directory(process, start, name, beneath=True)
    return 0


def path_unlink_file(process: Process, fd: int, path: int, path_length: int) -> int:
    """Remove a name that is no directory's."""
    start = _start(process, fd, w.PATH_UNLINK_FILE)
    name = _path(process, path, path_length)
    process.namespace.unlink(process, start, name, beneath=True)
    return 0


def path_symlink(
    process: Process, target: int, target_length: int, fd: int, path: int, path_length: int
) -> int:
    """Make a symbolic link."""
    start = _start(process, fd, w.PATH_SYMLINK)
    content = _path(process, target, target_length)
    name = _path(process, path, path_length)
    if content.startswith(b"/"):
        raise GuestError(Errno.EPERM)
    process.namespace.symlink(process, content, start, name, beneath=True)
    return 0


def path_link(
    process: Process,
    old_fd: int,
    old_flags: int,
    old_path: int,
    old_path_length: int,
    new_fd: int,
    new_path: int,
    new_path_length: int,
) -> int:
    """Make a hard link."""
    follow = _follow(old_flags)
    old_start = _start(process, old_fd, w.PATH_LINK_SOURCE)
    new_start = _start(process, new_fd, w.PATH_LINK_TARGET)
    old = _path(process, old_path, old_path_length)
    new = _path(process, new_path, new_path_length)
    process.namespace.link(process, old_start, old, new_start, new, follow=follow, beneath=True)
    return 0


def path_rename(
    process: Process,
    old_fd: int,
    old_path: int,
    old_path_length: int,
    new_fd: int,
    new_path: int,
    new_path_length: int,
) -> int:
    """Move a file or directory."""
    old_start = _start(process, old_fd, w.PATH_RENAME_SOURCE)
    new_start = _start(process, new_fd, w.PATH_RENAME_TARGET)
    old = _path(process, old_path, old_path_length)
    new = _path(process, new_path, new_path_length)
    process.namespace.rename(process, old_start, old, new_start, new, beneath=True)
    return 0


SYSCALLS: Final = (
    preview1(path_create_directory),
    preview1(path_filestat_get, "Times before 1970 show as 0."),
    preview1(path_filestat_set_times, "A time given and `now` at once: EINVAL."),
    preview1(path_link, "`symlink_follow` works. Not across file systems: EXDEV."),
    preview1(
        path_open,
        "`fd_write` among the rights opens for writing. Rights beyond what the directory fd "
        "passes on: ENOTCAPABLE.",
    ),
    preview1(path_readlink, "The answer is cut off at the buffer's end."),
    preview1(path_remove_directory),
    preview1(path_rename, "Not across file systems: EXDEV."),
    preview1(
        path_symlink,
        "An absolute target is refused, as wasmtime does: EPERM. Links that an image brings may "
        "be absolute; they start at `/`.",
    ),
    preview1(path_unlink_file),
)
