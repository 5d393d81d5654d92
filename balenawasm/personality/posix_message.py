"""The POSIX door: what sockets send and receive, open files among it (SCM_RIGHTS)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from balenawasm.personality import linux
from balenawasm.personality.linux import answer_of
from balenawasm.personality.posix_address import (
    ADDRESS_MAX,
    AddressRoom,
    packed_address,
    read_address,
)
from balenawasm.personality.posix_call import posix
from balenawasm.personality.posix_fd import new_entry
from balenawasm.personality.posix_socket import socket_at
from balenawasm.vfs.socket import MOST_PASSED, MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL, Received
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balenawasm.kernel.guest_memory import GuestMemory
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.description import Buffers, Description
    from balenawasm.vfs.socket import Address

MSGHDR: Final = struct.Struct("<IIIIIII")
"""Address, its length, iovecs, their number, control data, its length, flags."""
_CONTROL: Final = struct.Struct("<III")
"""Length with this header, level, type."""
_NAME_LENGTH_AT: Final = 4
_CONTROL_LENGTH_AT: Final = 20
_FLAGS_AT: Final = 24
_CONTROL_MAX: Final = 4096
_TRANSFER_MAX: Final = 0x7FFF_F000
_RECEIVE_FLAGS: Final = (
    (linux.MSG_PEEK, MSG_PEEK),
    (linux.MSG_WAITALL, MSG_WAITALL),
    (linux.MSG_DONTWAIT, MSG_DONTWAIT),
)
_RECEIVE_KNOWN: Final = (
    linux.MSG_PEEK
    | linux.MSG_WAITALL
    | linux.MSG_DONTWAIT
    | linux.MSG_TRUNC
    | linux.MSG_NOSIGNAL
    | linux.MSG_CMSG_CLOEXEC
)
_SEND_KNOWN: Final = linux.MSG_DONTWAIT | linux.MSG_NOSIGNAL


def sendto(
    process: Process, fd: int, buffer: int, length: int, flags: int, address: int, size: int
) -> int:
    """Send, to an address unless that is NULL; answers the number of bytes."""
    source = process.memory.slice(buffer, min(length, _TRANSFER_MAX))
    to = read_address(process, address, size) if address else None
    return _send(process, fd, [source], to, flags, ())


def sendmsg(process: Process, fd: int, message: int, flags: int) -> int:
    """Send several buffers as one message, with open files."""
    memory = process.memory
    name, size, iovecs, count, control, control_size, _ = memory.unpack(MSGHDR, message)
    buffers = memory.iovecs(iovecs, count)
    to = read_address(process, name, size) if name else None
    passed = _read_control(process, control, control_size)
    return _send(process, fd, buffers, to, flags, passed)


def _send(
    process: Process,
    fd: int,
    buffers: Buffers,
    to: Address | None,
    flags: int,
    passed: Sequence[Description],
) -> int:
    if flags & ~_SEND_KNOWN:
        raise GuestError(Errno.ENOTSUP)
    sender = socket_at(process, fd)
    ours = MSG_DONTWAIT if flags & linux.MSG_DONTWAIT else 0
    try:
        return sender.send_to(process, buffers, to, ours, passed)
    except GuestError as error:
        if error.errno is Errno.EPIPE and flags & linux.MSG_NOSIGNAL:
            return answer_of(Errno.EPIPE)  # not raised: that would send SIGPIPE
        raise


def _read_control(process: Process, pointer: int, size: int) -> list[Description]:
    """The open files that the control data of a message names: EINVAL, EBADF."""
    if not pointer or not size:
        return []
    if size > _CONTROL_MAX:
        raise GuestError(Errno.EINVAL)
    data = process.memory.read(pointer, size)
    passed: list[Description] = []
    at = 0
    while at + _CONTROL.size <= len(data):
        length, level, kind = _CONTROL.unpack_from(data, at)
        if not _CONTROL.size <= length <= len(data) - at:
            raise GuestError(Errno.EINVAL)
        if (level, kind) != (linux.SOL_SOCKET, linux.SCM_RIGHTS):
            raise GuestError(Errno.EINVAL)
        body = data[at + _CONTROL.size : at + length]
        for (fd,) in struct.iter_unpack("<I", body[: len(body) & ~3]):
            passed.append(process.fds.get(fd).description)
        at += (length + 3) & ~3
    if len(passed) > MOST_PASSED:
        raise GuestError(Errno.EINVAL)
    return passed


def recvfrom(
    process: Process, fd: int, buffer: int, length: int, flags: int, address: int, size: int
) -> int:
    """Receive, with the sender's address unless that is NULL; answers the number of bytes."""
    target = process.memory.slice(buffer, min(length, _TRANSFER_MAX))
    room = AddressRoom(process.memory, address, size)
    received = _receive(process, fd, [target], flags)
    for description in received.passed:
        description.release()
    room.write(received.address)
    return _length(received, flags)


def recvmsg(process: Process, fd: int, message: int, flags: int) -> int:
    """Receive a message into several buffers, with open files."""
    memory = process.memory
    name, size, iovecs, count, control, control_size, _ = memory.unpack(MSGHDR, message)
    buffers = memory.iovecs(iovecs, count)
    room = memory.slice(name, min(size, ADDRESS_MAX)) if name else memory.slice(0, 0)
    control_room = memory.slice(control, min(control_size, _CONTROL_MAX)) if control else room[:0]
    received = _receive(process, fd, buffers, flags)
    packed = packed_address(received.address)
    room[: len(packed)] = packed[: len(room)]
    used, cut = _write_control(process, control_room, received, flags)
    told = linux.MSG_TRUNC if received.truncated else 0
    told |= linux.MSG_CTRUNC if cut else 0
    _tell(memory, message, len(packed) if name else 0, used, told)
    return _length(received, flags)


def _length(received: Received, flags: int) -> int:
    """What the call answers: with MSG_TRUNC a datagram's whole length."""
    count, _, full, truncated, _ = received
    return full if flags & linux.MSG_TRUNC and truncated else count


def _tell(memory: GuestMemory, message: int, name: int, control: int, flags: int) -> None:
    memory.write_u32(message + _NAME_LENGTH_AT, name)
    memory.write_u32(message + _CONTROL_LENGTH_AT, control)
    memory.write_u32(message + _FLAGS_AT, flags)


def _receive(process: Process, fd: int, buffers: Buffers, flags: int) -> Received:
    if flags & ~_RECEIVE_KNOWN:
        raise GuestError(Errno.ENOTSUP)
    ours = sum(our for theirs, our in _RECEIVE_FLAGS if flags & theirs)
    return socket_at(process, fd).receive(process, buffers, ours)


def _write_control(
    process: Process, room: memoryview, received: Received, flags: int
) -> tuple[int, bool]:
    """Give the guest fds for the files that came along, as many as fit and are allowed; answers the
    bytes used and whether some were lost.
    """
    fds: list[int] = []
    fitting = max(0, (len(room) - _CONTROL.size) // 4)
    cloexec = linux.O_CLOEXEC if flags & linux.MSG_CMSG_CLOEXEC else 0
    for description in received.passed:
        if len(fds) < fitting:
            try:
                fds.append(process.fds.add(new_entry(description, cloexec)))
            except GuestError:  # EMFILE: this one and the rest are lost
                fitting = 0
        description.release()
    if not fds:
        return 0, bool(received.passed)
    size = _CONTROL.size + 4 * len(fds)
    record = _CONTROL.pack(size, linux.SOL_SOCKET, linux.SCM_RIGHTS)
    room[:size] = record + struct.pack(f"<{len(fds)}I", *fds)
    return size, len(fds) < len(received.passed)


SYSCALLS: Final = (
    posix(
        sendto,
        "iiiiii",
        "MSG_DONTWAIT, MSG_NOSIGNAL; others are EOPNOTSUPP. EPIPE comes with SIGPIPE.",
        fast=True,
    ),
    posix(sendmsg, "iii", "As `sendto`. SCM_RIGHTS passes open files, at most 64, over AF_UNIX."),
    posix(
        recvfrom,
        "iiiiii",
        "MSG_PEEK, MSG_WAITALL, MSG_DONTWAIT, MSG_TRUNC; others are EOPNOTSUPP.",
        fast=True,
    ),
    posix(recvmsg, "iii", "As `recvfrom`. SCM_RIGHTS, MSG_CMSG_CLOEXEC, MSG_CTRUNC."),
)
