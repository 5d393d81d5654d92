"""Copying a file from a layer into the upper directory, so that it can be changed.

The copy is made under a temporary name, made durable, and renamed: a power cut leaves the layer's
file or the whole copy. Holes and blocks of zeros stay holes. Ownership and special mode bits are
not copied: the host's files belong to the runner, and its permission bits must at least let the
runner read and write.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from balenawasm.vfs.filesystems.hostfile import host_errors, set_times_of_fd
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from balenawasm.vfs.filesystems.hostdir import HostFolder
    from balenawasm.vfs.node import Node

CHUNK = 1 << 20
"""Bytes copied at a time."""

MAX_ENTRIES = 20_000
MAX_BYTES = 256 << 20
"""A directory with more entries or bytes in layers is not renamed (EXDEV); `mv` then copies it
itself.
"""


def copy_file(
    lower: Node, folder: HostFolder, name: bytes, *, temporary: bytes, data: bool, durable: bool
) -> None:
    """Copy a regular file to `name`, with its mode and times, without its bytes unless `data`."""
    stat = lower.stat()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with host_errors:
        fd = os.open(temporary, flags, 0o600, dir_fd=folder.fd)
        try:
            if data:
                _copy_data(lower, fd, stat.size)
            os.fchmod(fd, host_mode(stat.mode, 0o600))
            set_times_of_fd(fd, stat.atim, stat.mtim)
            if durable and data:
                os.fsync(fd)
            os.rename(temporary, name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
        except BaseException:
            os.unlink(temporary, dir_fd=folder.fd)
            raise
        finally:
            os.close(fd)


def copy_link(lower: Node, folder: HostFolder, name: bytes, *, temporary: bytes) -> None:
    """Copy a symbolic link to `name`, with its times."""
    stat = lower.stat()
    link = folder.symlink(temporary, lower.readlink(NOBODY))
    try:
        link.set_times(stat.atim, stat.mtim)
        folder.rename(temporary, folder, name)
    except BaseException:
        folder.unlink(temporary)
        raise


def copy_leaf(
    lower: Node, folder: HostFolder, name: bytes, *, temporary: bytes, data: bool, durable: bool
) -> None:
    """Copy whatever is no directory; EXDEV for devices, sockets and FIFOs, which only root can
    make.
    """
    before = folder.stat()
    if lower.filetype is Filetype.REGULAR_FILE:
        copy_file(lower, folder, name, temporary=temporary, data=data, durable=durable)
    elif lower.filetype is Filetype.SYMBOLIC_LINK:
        copy_link(lower, folder, name, temporary=temporary)
    else:
        raise GuestError(Errno.EXDEV)
    # For the guest nothing happened to the directory.
    folder.set_times(before.atim, before.mtim)


def host_mode(mode: int, needed: int) -> int:
    """Return permission bits for the host: the guest's without set-id bits, and what the runner
    needs.
    """
    return mode & 0o777 | needed


def needed_mode(mode: int, needed: int) -> int:
    """Return the mode that a guest's chmod may set in the upper directory: unless the runner is
    root, it needs its own access.
    """
    return mode | needed if os.geteuid() else mode


def _copy_data(lower: Node, fd: int, size: int) -> None:
    source = lower.open(NOBODY, OpenFlags())
    source.retain()
    try:
        buffer = bytearray(min(CHUNK, size))
        zeros = bytes(len(buffer))
        view = memoryview(buffer)
        offset = 0
        while offset < size:
            count = source.pread(NOBODY, [view], offset)
            if count == 0:
                break
            piece = view[:count]
            if piece != zeros[:count]:
                _write_all(fd, piece, offset)
            offset += count
        os.ftruncate(fd, size)
    finally:
        source.release()


def _write_all(fd: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        data = data[count:]
        offset += count
