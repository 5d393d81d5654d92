"""Preview 1: the four calls on sockets. Sockets themselves are opened as files below `/net`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from balenawasm.kernel.fd_table import FdEntry
from balenawasm.personality.syscall import preview1
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process

_SOCKETS: Final = (Filetype.SOCKET_STREAM, Filetype.SOCKET_DGRAM)


def socket_entry(process: Process, fd: int, rights: int) -> FdEntry:
    """The entry of a socket that has these rights: EBADF, ENOTSOCK, ENOTCAPABLE."""
    entry = process.fds.get(fd)
    filetype = entry.description.filetype
    if filetype not in _SOCKETS:
        # A directory is nothing that can be read or written: the test suite wants EBADF for it.
        raise GuestError(Errno.EBADF if filetype == Filetype.DIRECTORY else Errno.ENOTSOCK)
    if rights & ~entry.rights_base:
        raise GuestError(Errno.ENOTCAPABLE)
    return entry


def sock_accept(process: Process, fd: int, flags: int, result: int) -> int:
    """Take the next connection."""
    entry = socket_entry(process, fd, w.SOCK_ACCEPT)
    if flags & ~w.NONBLOCK:
        raise GuestError(Errno.EINVAL)
    process.memory.check(result, 4)
    process.fds.check_room()
    connection = entry.description.accept(process, flags)
    process.memory.write_u32(result, process.fds.add(FdEntry(connection)))
    return 0


def sock_recv(
    process: Process,
    fd: int,
    iovecs: int,
    count: int,
    flags: int,
    size_result: int,
    flags_result: int,
) -> int:
    """Receive."""
    entry = socket_entry(process, fd, w.FD_READ)
    if flags & ~(w.RECV_PEEK | w.RECV_WAITALL):
        raise GuestError(Errno.EINVAL)
    memory = process.memory
    buffers = memory.iovecs(iovecs, count)
    memory.check(size_result, 4)
    memory.check(flags_result, 2)
    size = entry.description.recv(
        process, buffers, peek=bool(flags & w.RECV_PEEK), wait_all=bool(flags & w.RECV_WAITALL)
    )
    memory.write_u32(size_result, size)
    memory.write_u16(flags_result, 0)
    return 0


def sock_send(process: Process, fd: int, iovecs: int, count: int, flags: int, result: int) -> int:
    """Send."""
    entry = socket_entry(process, fd, w.FD_WRITE)
    if flags:
        raise GuestError(Errno.EINVAL)
    memory = process.memory
    buffers = memory.iovecs(iovecs, count)
    memory.check(result, 4)
    memory.write_u32(result, entry.description.send(process, buffers))
    return 0


def sock_shutdown(process: Process, fd: int, how: int) -> int:
    """Close one or both directions."""
    entry = socket_entry(process, fd, w.SOCK_SHUTDOWN)
    if how not in (w.SHUT_RD, w.SHUT_WR, w.SHUT_RD | w.SHUT_WR):
        raise GuestError(Errno.EINVAL)
    entry.description.shutdown(how)
    return 0


SYSCALLS: Final = (
    preview1(sock_accept, "Of the flags, `nonblock`; others are EINVAL."),
    preview1(sock_recv, "Both flags work; `recv_data_truncated` is never set.", fast=True),
    preview1(sock_send, "Flags must be 0: EINVAL.", fast=True),
    preview1(sock_shutdown),
)
