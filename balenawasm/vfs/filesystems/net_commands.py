"""What a `readlink` of `/net/sock/<inode>/<command>` does, and the sockets that have no fd yet.

The table `COMMANDS` is the contract's (docs/guest-files.md). Arguments come from guests: everything
is checked here or by the socket.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from balenawasm.record import NamedTuple
from balenawasm.vfs.endpoint import (
    Endpoint,
    parse_endpoint,
    parse_local_name,
    split_destination,
)
from balenawasm.vfs.socket import ALL, INET, UNIX
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import SHUT_RD, SHUT_WR

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from balenawasm.vfs.node import Caller
    from balenawasm.vfs.socket import Address, Network, SocketDescription

MOST_PENDING: Final = 64
"""Accepted connections of one listener that have no fd yet."""
_HOW: Final = {b"rd": SHUT_RD, b"wr": SHUT_WR, b"rdwr": SHUT_RD | SHUT_WR}
_OK: Final = b"ok"


# Sockets without an fd.


class _Waiting(NamedTuple):
    socket: SocketDescription
    owner: int
    """Inode of the listener, or of the pair's other end."""
    pid: int | None
    """Who may fetch it; None: any holder of the owner, by the command `peer`."""


class WaitingRoom:
    """Sockets that have a name but no fd yet. They leave by `data`, or with their owner."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, _Waiting] = {}

    def add(self, owner: SocketDescription, pid: int | None, socket: SocketDescription) -> None:
        """Let `socket` wait. The owner's oldest one is closed when there are too many."""
        with self._lock:
            others = self._of(owner.inode)
            gone = others[: max(0, len(others) + 1 - MOST_PENDING)]
            for waiting in gone:
                del self._waiting[waiting.socket.inode]
            self._waiting[socket.inode] = _Waiting(socket, owner.inode, pid)
        for waiting in gone:
            waiting.socket.close()
        if not others:
            owner.at_close(lambda: self._abandon(owner.inode))

    def take(self, inode: int, pid: int) -> SocketDescription | None:
        """Remove and answer the socket if it waits for this process."""
        with self._lock:
            waiting = self._waiting.get(inode)
            if waiting is None or waiting.pid != pid:
                return None
            del self._waiting[inode]
        return waiting.socket

    def has(self, inode: int, pid: int) -> bool:
        """Whether the socket waits for this process."""
        waiting = self._waiting.get(inode)
        return waiting is not None and waiting.pid == pid

    def call_peer(self, owner: int, pid: int) -> int:
        """Let the other end of a pair wait for `pid`: its inode. ENOENT when it was fetched."""
        with self._lock:
            for inode, waiting in self._waiting.items():
                if waiting.owner == owner and waiting.pid is None:
                    self._waiting[inode] = waiting._replace(pid=pid)
                    return inode
        raise GuestError(Errno.ENOENT)

    def _of(self, owner: int) -> list[_Waiting]:
        return [w for w in self._waiting.values() if w.owner == owner]

    def _abandon(self, owner: int) -> None:
        """Close what waits for a socket that has been closed itself."""
        with self._lock:
            gone = self._of(owner)
            for waiting in gone:
                del self._waiting[waiting.socket.inode]
        for waiting in gone:
            waiting.socket.close()


# Commands.


class Command(NamedTuple):
    """A command to a socket, being run for a caller."""

    network: Network
    waiting: WaitingRoom
    socket: SocketDescription
    caller: Caller


def address_of(socket: SocketDescription, text: bytes) -> Address:
    """A numeric address, or a Unix socket's name, as commands to this socket write it; EINVAL."""
    return parse_local_name(text) if socket.family == UNIX else parse_endpoint(text)


def _bind(command: Command, argument: bytes) -> bytes:
    command.socket.bind(address_of(command.socket, argument))
    return _OK


def _listen(command: Command, argument: bytes) -> bytes:
    command.socket.listen(_count(argument))
    return _OK


def _accept(command: Command, argument: bytes) -> bytes:
    accepted = command.socket.accept(command.caller, 0)
    command.waiting.add(command.socket, command.caller.pid, accepted)
    return b"%d!%b" % (accepted.inode, str(accepted.remote()).encode())


def _connect_command(command: Command, argument: bytes) -> bytes:
    if command.socket.family == UNIX:
        command.socket.connect(command.caller, parse_local_name(argument))
        return _OK
    host, port = split_destination(argument)
    connect_to(command.network, command.socket, command.caller, host, port)
    return _OK


def _disconnect(command: Command, argument: bytes) -> bytes:
    command.socket.connect(command.caller, None)
    return _OK


def _recvfrom(command: Command, argument: bytes) -> bytes:
    from balenawasm.vfs.filesystems.net_datagrams import receive_from  # noqa: PLC0415 - seldom used

    return receive_from(command, argument)


def _sendto(command: Command, argument: bytes) -> bytes:
    from balenawasm.vfs.filesystems.net_datagrams import send_to  # noqa: PLC0415 - as above

    return send_to(command, argument)


def _shutdown(command: Command, argument: bytes) -> bytes:
    how = _HOW.get(argument)
    if how is None:
        raise GuestError(Errno.EINVAL)
    command.socket.shutdown(how)
    return _OK


def _getopt(command: Command, argument: bytes) -> bytes:
    return command.socket.get_option(argument.decode("ascii", "replace")).encode()


def _setopt(command: Command, argument: bytes) -> bytes:
    name, _, value = argument.decode("ascii", "replace").partition(" ")
    command.socket.set_option(name, value)
    return _OK


def _peek(command: Command, argument: bytes) -> bytes:
    return command.socket.peek(command.caller, _count(argument)).hex().encode()


def _peer(command: Command, argument: bytes) -> bytes:
    return b"%d" % command.waiting.call_peer(command.socket.inode, command.caller.pid)


def _tls(command: Command, argument: bytes) -> bytes:
    from balenawasm.vfs.filesystems import net_tls  # noqa: PLC0415 - most programs have none

    return net_tls.start(command, argument)


def _tls_info(command: Command, argument: bytes) -> bytes:
    from balenawasm.vfs.filesystems import net_tls  # noqa: PLC0415 - as above

    return net_tls.ask(command, argument)


def _count(argument: bytes) -> int:
    digits = argument.removeprefix(b"-")  # listen(-1) is legal
    if not digits.isdigit() or len(digits) > 10:
        raise GuestError(Errno.EINVAL)
    return int(argument)


COMMANDS: Final[Mapping[bytes, Callable[[Command, bytes], bytes]]] = {
    b"bind": _bind,
    b"listen": _listen,
    b"accept": _accept,
    b"connect": _connect_command,
    b"local": lambda command, argument: str(command.socket.local()).encode(),
    b"remote": lambda command, argument: str(command.socket.remote()).encode(),
    b"error": lambda command, argument: b"%d" % command.socket.take_error(),
    b"shutdown": _shutdown,
    b"getopt": _getopt,
    b"setopt": _setopt,
    b"peek": _peek,
    b"peer": _peer,
    b"disconnect": _disconnect,
    b"recvfrom": _recvfrom,
    b"sendto": _sendto,
    b"pending": lambda command, argument: b"%d" % command.socket.pending(),
    b"tls": _tls,
    b"tls-info": _tls_info,
}
"""The first word of a command → what it does; the rest is its argument."""


def connect_to(
    network: Network, socket: SocketDescription, caller: Caller, host: str, port: int
) -> None:
    """Try a host's addresses in turn; the last failure is the answer."""
    failure = Errno.ENOENT
    family = INET if socket.family == INET else ALL
    for address in network.lookup(caller, host, family):
        try:
            socket.connect(caller, Endpoint(address, port))
        except GuestError as error:
            if error.errno not in (Errno.ECONNREFUSED, Errno.ETIMEDOUT, Errno.EHOSTUNREACH):
                raise
            failure = error.errno
        else:
            return
    raise GuestError(failure)
