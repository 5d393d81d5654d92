"""Named pipes (fifo(7)): opening one waits for the other side, where a kill interrupts.

Every named pipe is one of the host: that in a directory of the host has its name there and connects
to whoever opens it; that of a file system in memory has none (`HiddenFifo`). It is opened through
/proc/self/fd of an O_PATH fd, so what was looked at is what is opened.

Only the host can tell when the other side has come, and its blocking open cannot be interrupted. So
it waits on a thread of its own. Should its guest be killed, both sides are opened here for a
moment, which lets the thread go. (A program on the other side may see a partner that leaves at
once, as if the guest had been killed a moment later.) Where the host does not let us open both (the
pipe's permissions, no fd left), the thread is left behind until somebody comes, and the guest ends
all the same; at most LEFT_MAX threads are.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat as stat_mode
import threading
from typing import TYPE_CHECKING, Final

from balenawasm.vfs.filesystems.hostfile import HostDeviceDescription, host_errors
from balenawasm.wasi.errno import Errno, GuestError, from_oserror
from balenawasm.wasi.flags import NONBLOCK, Filetype

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.vfs.description import Buffers
    from balenawasm.vfs.node import Caller, Node, OpenFlags

PATH_FLAGS: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
LEFT_MAX: Final = 32
_MEMORY_DIRECTORIES: Final = ("/dev/shm", "/run", "/tmp")  # noqa: S108 - the name is gone at once


class FifoDescription(HostDeviceDescription):
    """An open named pipe. Owns `host_fd`, which is non-blocking."""

    filetype = Filetype.UNKNOWN

    def __init__(
        self, node: Node, flags: OpenFlags, fd: int, on_close: Callable[[], None] | None
    ) -> None:
        super().__init__(node, flags, fd)
        self._on_close = on_close

    def close(self) -> None:
        """Close the host fd."""
        super().close()
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """Everything, unless NONBLOCK or an error half-way."""
        left = list(buffers)
        written = 0
        while True:
            try:
                count = super().write(caller, left)
            except GuestError:
                if written:
                    return written
                raise
            written += count
            while left and count >= len(left[0]):
                count -= len(left.pop(0))
            if not left or self.flags & NONBLOCK:
                return written
            left[0] = left[0][count:]


class HiddenFifo:
    """A named pipe without a name, for file systems that are not the host's. It exists while it is
    in use, so that a guest with many of them costs no host fds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._path_fd = -1

    def open(self, node: Node, caller: Caller, flags: OpenFlags) -> FifoDescription:
        """See open_fifo."""
        with self._lock:
            if self._users == 0:
                self._path_fd = _make_hidden()
            self._users += 1
        try:
            return open_fifo(node, caller, flags, self._path_fd, self._leave)
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                os.close(self._path_fd)


def open_fifo(
    node: Node,
    caller: Caller,
    flags: OpenFlags,
    path_fd: int,
    on_close: Callable[[], None] | None = None,
) -> FifoDescription:
    """Open the pipe behind an O_PATH fd as open(2) does: ENXIO for writing with NONBLOCK while
    nobody reads; without, wait for the other side. `on_close` is called when it closes.
    """
    path = f"/proc/self/fd/{path_fd}"
    access = os.O_RDONLY
    if flags.write:
        access = os.O_RDWR if flags.read else os.O_WRONLY
    if access == os.O_RDONLY and not flags.fdflags & NONBLOCK:
        fd = _open_and_wait(caller, path_fd, access)
    else:
        try:
            fd = os.open(path, access | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO or flags.fdflags & NONBLOCK:
                raise GuestError(from_oserror(error)) from None
            fd = _open_and_wait(caller, path_fd, access)
    return FifoDescription(node, flags, fd, on_close)


def _open_and_wait(caller: Caller, path_fd: int, access: int) -> int:
    opening = _Opening(path_fd, access)
    try:
        while not opening.done:
            if not caller.wait(((opening.event, select.POLLIN),)):
                raise GuestError(Errno.EAGAIN)  # the kernel itself, which waits for nobody
    except BaseException:
        opening.abandon()
        raise
    return opening.finish()


class _Opening:
    """An open(2) that blocks a thread of its own; `event` is readable once it is `done`. EAGAIN
    when there are no more threads, or too many are left behind.
    """

    _left = 0
    _lock: Final = threading.Lock()

    def __init__(self, path_fd: int, access: int) -> None:
        if _Opening._left >= LEFT_MAX:
            raise GuestError(Errno.EAGAIN)
        self.done = False
        self._fd = -1
        self._error: OSError | None = None
        self._access = access
        self._forgotten = False
        with host_errors:
            self._path_fd = os.dup(path_fd)  # the thread may outlive the caller's
            try:
                self.event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            except OSError:
                os.close(self._path_fd)
                raise
        self._thread = threading.Thread(target=self._run, name="fifo", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._close()
            raise GuestError(Errno.EAGAIN) from None

    def _open(self, access: int) -> int:
        return os.open(f"/proc/self/fd/{self._path_fd}", access | os.O_CLOEXEC)

    def _run(self) -> None:
        try:
            self._fd = self._open(self._access)
        except OSError as error:
            self._error = error
        with self._lock:
            self.done = True
            if self.event >= 0:
                os.eventfd_write(self.event, 1)
            if not self._forgotten:
                return
            _Opening._left -= 1
        self._close()

    def _close(self, *, opened: bool = True) -> None:
        for fd in (self.event, self._path_fd, self._fd if opened else -1):
            if fd >= 0:
                os.close(fd)

    def finish(self) -> int:
        """The host fd, non-blocking; GuestError. Once it is done."""
        self._thread.join()
        self._close(opened=False)
        if self._error is not None:
            raise GuestError(from_oserror(self._error))
        os.set_blocking(self._fd, False)
        return self._fd

    def abandon(self) -> None:
        """Nobody waits for it any more: be the other side until the thread has ended, or leave it
        behind.
        """
        with self._lock:
            os.close(self.event)  # which makes room for one fd
            self.event = -1
        with contextlib.suppress(OSError):
            both = self._open(os.O_RDWR | os.O_NONBLOCK)
            self._thread.join()
            os.close(both)
        with self._lock:
            if not self.done:
                self._forgotten = True
                _Opening._left += 1
                return
        self._thread.join()
        self._close()


def path_fd_of(name: bytes, folder_fd: int) -> int:
    """An O_PATH fd for the named pipe of this name: EACCES when it is something else by now."""
    with host_errors:
        fd = os.open(name, PATH_FLAGS, dir_fd=folder_fd)
    if not stat_mode.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise GuestError(Errno.EACCES)
    return fd


def _make_hidden() -> int:
    """An O_PATH fd for a new named pipe that has no name any more."""
    failure: OSError | None = None
    for directory in _MEMORY_DIRECTORIES:
        path = f"{directory}/balenawasm-{os.urandom(8).hex()}"
        try:
            os.mkfifo(path, 0o600)
        except OSError as error:
            failure = error
            continue
        with host_errors:
            try:
                return os.open(path, PATH_FLAGS)
            finally:
                os.unlink(path)  # noqa: PTH108 - importing pathlib here buys nothing
    raise GuestError(from_oserror(failure) if failure is not None else Errno.EIO)
