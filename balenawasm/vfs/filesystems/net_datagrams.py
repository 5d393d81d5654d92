"""Datagrams with addresses for guests that can only open and read files: the commands `recvfrom`
and `sendto` (docs/guest-files.md), each of which goes with the process's next read or write.

What `recvfrom` took out waits at the socket for this process's next read, one datagram for each
process, at most MOST_HELD of one socket (the oldest is lost). `sendto` names where the process's
next write goes. Lock: one, innermost.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from balenawasm.vfs.endpoint import Endpoint, is_inet6
from balenawasm.vfs.filesystems.net_commands import address_of
from balenawasm.vfs.socket import INET, MSG_PEEK, STREAM, UNIX
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.vfs.description import Buffers
    from balenawasm.vfs.filesystems.net_commands import Command
    from balenawasm.vfs.socket import Address, SocketDescription

MOST_HELD: Final = 64
_ROOM: Final = {UNIX: 1 << 18}
_INET_ROOM: Final = 1 << 16
_lock = threading.Lock()


class Held:
    """What waits at one socket for its processes' next reads and writes."""

    def __init__(self) -> None:
        self._data: OrderedDict[int, bytes] = OrderedDict()
        self._destinations: OrderedDict[int, Address] = OrderedDict()

    def put(self, pid: int, data: bytes) -> None:
        """Keep a datagram for a process."""
        with _lock:
            self._data.pop(pid, None)
            self._data[pid] = data
            if len(self._data) > MOST_HELD:
                self._data.popitem(last=False)

    def aim(self, pid: int, destination: Address) -> None:
        """Keep a destination for a process."""
        with _lock:
            self._destinations.pop(pid, None)
            self._destinations[pid] = destination
            if len(self._destinations) > MOST_HELD:
                self._destinations.popitem(last=False)

    def read(self, pid: int, buffers: Buffers) -> int | None:
        """Give the datagram that waits for the process; None when there is none."""
        with _lock:
            data = self._data.pop(pid, None)
        if data is None:
            return None
        done = 0
        for buffer in buffers:
            part = data[done : done + len(buffer)]
            buffer[: len(part)] = part
            done += len(part)
        return done

    def destination(self, pid: int) -> Address | None:
        """Where the process's next write goes; None: to the peer."""
        with _lock:
            return self._destinations.pop(pid, None)


def held(socket: SocketDescription) -> Held:
    """What waits at a socket, from now on; ENOTSUP for a stream."""
    with _lock:
        if socket.kind == STREAM:
            raise GuestError(Errno.ENOTSUP)
        if socket.held is None:
            socket.held = Held()
        return socket.held


def receive_from(command: Command, argument: bytes) -> bytes:
    """`recvfrom` or `recvfrom peek`: `<bytes for the next read>!<datagram's length>!<sender>`."""
    if argument not in (b"", b"peek"):
        raise GuestError(Errno.EINVAL)
    socket = command.socket
    buffer = bytearray(_ROOM.get(socket.family, _INET_ROOM))
    flags = MSG_PEEK if argument else 0
    received = socket.receive(command.caller, [memoryview(buffer)], flags)
    for passed in received.passed:
        passed.release()
    sender = "" if received.address is None else str(received.address)
    held(socket).put(command.caller.pid, bytes(buffer[: received.size]))
    return f"{received.size}!{received.full}!{sender}".encode()


def send_to(command: Command, argument: bytes) -> bytes:
    """`sendto <address>`: where the process's next write goes."""
    destination = address_of(command.socket, argument)
    ours = not isinstance(destination, Endpoint) or not is_inet6(destination.host)
    if command.socket.family == INET and not ours:
        raise GuestError(Errno.EAFNOSUPPORT)
    held(command.socket).aim(command.caller.pid, destination)
    return b"ok"
