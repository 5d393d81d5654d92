"""Open files of the host: descriptions over host fds, and the translation of what the host answers.

Data goes between the host's page cache and guest memory in one system call, without a copy in
between. Offset, append mode and atomicity are the host's own. A regular file is never waited for; a
device is, through the caller, so that a kill interrupts.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat as stat_mode
from typing import TYPE_CHECKING, Final

from balenawasm.vfs.description import FAST_HOST_FILE, PART, Buffers, Description, FastForm
from balenawasm.vfs.filesystems.seekable import MAX_OFFSET
from balenawasm.vfs.node import FILETYPE_OF_MODE, Caller, Capacity, Node, OpenFlags, Stat
from balenawasm.wasi.errno import Errno, GuestError, from_oserror
from balenawasm.wasi.flags import APPEND, NONBLOCK, Filetype, Whence

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

MAX_BUFFERS: Final = 1024
"""Linux's IOV_MAX: further buffers are left for the guest's next call."""


class _HostErrors:
    """A context in which an OSError becomes the GuestError of the same name."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise GuestError(from_oserror(error)) from None


host_errors: Final = _HostErrors()


def host_stat(status: os.stat_result) -> Stat:
    """Translate what the host's stat says."""
    mode = status.st_mode
    return Stat(
        status.st_dev,
        status.st_ino,
        FILETYPE_OF_MODE.get(stat_mode.S_IFMT(mode), Filetype.UNKNOWN),
        status.st_nlink,
        status.st_size,
        status.st_atime_ns,
        status.st_mtime_ns,
        status.st_ctime_ns,
        mode & 0o7777,
        status.st_uid,
        status.st_gid,
        (os.major(status.st_rdev), os.minor(status.st_rdev)) if status.st_rdev else (0, 0),
    )


def host_capacity(found: os.statvfs_result, *, read_only: bool = False) -> Capacity:
    """Translate what the host's statvfs says."""
    return Capacity(
        found.f_frsize,
        found.f_blocks,
        found.f_bfree,
        found.f_bavail,
        found.f_files,
        found.f_ffree,
        found.f_namemax,
        read_only or found.f_flag & os.ST_RDONLY != 0,
    )


def set_times_of_fd(fd: int, atim: int | None, mtim: int | None) -> None:
    """Set the times (ns) of an open file, None leaving one; OSError."""
    if atim is None or mtim is None:
        status = os.fstat(fd)
        atim = status.st_atime_ns if atim is None else atim
        mtim = status.st_mtime_ns if mtim is None else mtim
    os.utime(fd, ns=(atim, mtim))


def kept_mode(mode: int) -> int:
    """The permission bits that a guest may give a file of the host: never set-user-id or
    set-group-id, which would be the runner's user's.
    """
    return mode & 0o1777


class HostDescription(Description):
    """An open regular file of the host. Owns `fd`.

    `identity`, when an overlay sets it, is the (dev, ino) to show instead of the host's.
    """

    filetype = Filetype.REGULAR_FILE
    seekable = True

    def __init__(self, node: Node, flags: OpenFlags, fd: int, *, read_only: bool = False) -> None:
        super().__init__(node, flags.fdflags)
        self.readable = flags.read
        self.writable = flags.write
        self.fd = fd
        self.identity: tuple[int, int] | None = None
        self._read_only = read_only

    def close(self) -> None:
        """Close the host fd."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    def fast_form(self) -> FastForm:
        """See Description.fast_form: for reading."""
        return FastForm(FAST_HOST_FILE, self.fd, self.readable, writable=False)

    def read(self, caller: Caller, buffers: Buffers) -> int:
        """See Description.read."""
        if not self.readable:
            raise GuestError(Errno.EBADF)
        if sum(map(len, buffers)) > PART:
            return _in_parts(caller, buffers, lambda part, _: os.readv(self.fd, part))
        try:
            return os.readv(self.fd, buffers[:MAX_BUFFERS])
        except OSError as error:
            raise GuestError(from_oserror(error)) from None

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """See Description.write."""
        if not self.writable:
            raise GuestError(Errno.EBADF)
        if sum(map(len, buffers)) > PART:
            return _in_parts(caller, buffers, lambda part, _: os.writev(self.fd, part))
        try:
            return os.writev(self.fd, buffers[:MAX_BUFFERS])
        except OSError as error:
            raise GuestError(from_oserror(error)) from None

    def pread(self, caller: Caller, buffers: Buffers, offset: int) -> int:
        """See Description.pread."""
        if not self.readable:
            raise GuestError(Errno.EBADF)
        _check_offset(offset)
        if sum(map(len, buffers)) > PART:
            return _in_parts(
                caller, buffers, lambda part, done: os.preadv(self.fd, part, offset + done)
            )
        with host_errors:
            return os.preadv(self.fd, buffers[:MAX_BUFFERS], offset)

    def pwrite(self, caller: Caller, buffers: Buffers, offset: int) -> int:
        """See Description.pwrite; with APPEND at the end, as on Linux."""
        if not self.writable:
            raise GuestError(Errno.EBADF)
        _check_offset(offset)
        if sum(map(len, buffers)) > PART:
            return _in_parts(
                caller, buffers, lambda part, done: os.pwritev(self.fd, part, offset + done)
            )
        with host_errors:
            return os.pwritev(self.fd, buffers[:MAX_BUFFERS], offset)

    def seek(self, offset: int, whence: Whence) -> int:
        """See Description.seek."""
        if not -MAX_OFFSET <= offset <= MAX_OFFSET:
            raise GuestError(Errno.EINVAL)
        with host_errors:
            return os.lseek(self.fd, offset, whence)

    def stat(self) -> Stat:
        """The open file's attributes, whatever has become of its name."""
        with host_errors:
            stat = host_stat(os.fstat(self.fd))
        if self.identity is not None:
            stat = stat._replace(dev=self.identity[0], ino=self.identity[1])
        return stat

    def truncate(self, size: int) -> None:
        """See Description.truncate."""
        if not self.writable:
            raise GuestError(Errno.EINVAL)
        truncate_fd(self.fd, size)

    def allocate(self, offset: int, length: int) -> None:
        """See Description.allocate."""
        if not self.writable:
            raise GuestError(Errno.EBADF)
        if offset < 0 or length <= 0:
            raise GuestError(Errno.EINVAL)
        if offset + length > MAX_OFFSET:
            raise GuestError(Errno.EFBIG)
        with host_errors:
            os.posix_fallocate(self.fd, offset, length)

    def sync(self, *, data_only: bool) -> None:
        """See Description.sync."""
        with host_errors:
            (os.fdatasync if data_only else os.fsync)(self.fd)

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        """See Description.set_times."""
        if self._read_only:
            raise GuestError(Errno.EROFS)
        with host_errors:
            set_times_of_fd(self.fd, atim, mtim)

    def set_mode(self, mode: int) -> None:
        """See Description.set_mode."""
        if self._read_only:
            raise GuestError(Errno.EROFS)
        needed = 0o600 if self.identity is not None and os.geteuid() else 0
        with host_errors:
            os.fchmod(self.fd, kept_mode(mode) | needed)

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """See Description.set_owner."""
        if self._read_only:
            raise GuestError(Errno.EROFS)
        with host_errors:
            os.fchown(self.fd, -1 if uid is None else uid, -1 if gid is None else gid)

    def set_flags(self, flags: int) -> None:
        """See Description.set_flags; the host needs to know of APPEND."""
        with host_errors:
            current = fcntl.fcntl(self.fd, fcntl.F_GETFL)
            wanted = current | os.O_APPEND if flags & APPEND else current & ~os.O_APPEND
            if wanted != current:
                fcntl.fcntl(self.fd, fcntl.F_SETFL, wanted)
        self.flags = flags


class HostDevice(Node):
    """A character device that the user granted."""

    filetype = Filetype.CHARACTER_DEVICE

    def __init__(self, path: Path) -> None:
        self._path = path

    def stat(self) -> Stat:
        """See Node.stat."""
        with host_errors:
            return host_stat(self._path.stat())

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """See Node.open; never makes it this process's terminal."""
        access = os.O_RDONLY
        if flags.write:
            access = os.O_RDWR if flags.read else os.O_WRONLY
        with host_errors:
            fd = os.open(self._path, access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            if not stat_mode.S_ISCHR(os.fstat(fd).st_mode):
                os.close(fd)
                raise GuestError(Errno.EACCES)
        return HostDeviceDescription(self, flags, fd)


class HostDeviceDescription(Description):
    """An open device. Owns `host_fd`, which is non-blocking."""

    filetype = Filetype.CHARACTER_DEVICE

    def __init__(self, node: Node, flags: OpenFlags, fd: int) -> None:
        super().__init__(node, flags.fdflags)
        self.readable = flags.read
        self.writable = flags.write
        self.host_fd = fd

    def close(self) -> None:
        """Close the host fd."""
        fd, self.host_fd = self.host_fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    def read(self, caller: Caller, buffers: Buffers) -> int:
        """See Description.read."""
        if not self.readable:
            raise GuestError(Errno.EBADF)
        with host_errors:
            while True:
                try:
                    return os.readv(self.host_fd, buffers[:MAX_BUFFERS])
                except BlockingIOError:
                    self._wait(caller, select.POLLIN)

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """See Description.write."""
        if not self.writable:
            raise GuestError(Errno.EBADF)
        with host_errors:
            while True:
                try:
                    return os.writev(self.host_fd, buffers[:MAX_BUFFERS])
                except BlockingIOError:
                    self._wait(caller, select.POLLOUT)

    def _wait(self, caller: Caller, events: int) -> None:
        if self.flags & NONBLOCK:
            raise GuestError(Errno.EAGAIN)
        caller.wait([(self.host_fd, events)])


def truncate_fd(fd: int, size: int) -> None:
    """Set an open file's size: EINVAL, EFBIG and what the host answers."""
    if size < 0:
        raise GuestError(Errno.EINVAL)
    if size > MAX_OFFSET:
        raise GuestError(Errno.EFBIG)
    with host_errors:
        os.ftruncate(fd, size)


def _in_parts(
    caller: Caller, buffers: Buffers, move: Callable[[list[memoryview], int], int]
) -> int:
    """Move many bytes by some calls of the host, between which a kill ends it; what was moved when
    one fails or moves less. `move` gets the buffers and how many bytes went before.
    """
    done = 0
    for buffer in buffers[:MAX_BUFFERS]:
        for start in range(0, len(buffer), PART):
            part = buffer[start : start + PART]
            caller.wait((), 0)
            try:
                count = move([part], done)
            except OSError as error:
                if done:
                    return done
                raise GuestError(from_oserror(error)) from None
            done += count
            if count < len(part):
                return done
    return done


def _check_offset(offset: int) -> None:
    if not 0 <= offset <= MAX_OFFSET:
        raise GuestError(Errno.EINVAL)
