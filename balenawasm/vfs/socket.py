"""Sockets as the VFS and the personalities see them: the description's contract, and the network
they come from.

The kernel implements both (`kernel.socket`, `kernel.network`). Defaults answer the errno of a
socket that cannot do it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from balenawasm.vfs.description import Description
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.vfs.endpoint import Endpoint
    from balenawasm.vfs.node import Caller


class SocketDescription(Description):
    """One open socket, with what the socket functions need beside `Description`'s own methods."""

    filetype = Filetype.SOCKET_STREAM
    inode: int
    """The st_ino of the socket, unique in the container: its name below /net/sock."""

    def __init__(self, flags: int = 0) -> None:
        super().__init__(None, flags)
        self._at_close: list[Callable[[], None]] = []

    def at_close(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when the socket closes."""
        self._at_close.append(callback)

    def close(self) -> None:
        """Call whom `at_close` promised to; see Description."""
        callbacks, self._at_close = self._at_close, []
        for callback in callbacks:
            callback()

    def bind(self, endpoint: Endpoint) -> None:
        """Take a local endpoint; port 0: any free one. EADDRINUSE, EADDRNOTAVAIL, EINVAL."""
        raise GuestError(Errno.ENOTSUP)

    def listen(self, backlog: int) -> None:
        """Start to accept connections. EADDRINUSE, EINVAL."""
        raise GuestError(Errno.ENOTSUP)

    def accept(self, caller: Caller, flags: int) -> SocketDescription:
        """Take the next connection, see Description."""
        raise GuestError(Errno.ENOTSUP)

    def connect(self, caller: Caller, destination: Endpoint) -> None:
        """Connect; with NONBLOCK it may answer EINPROGRESS: poll for writing, then `take_error`."""
        raise GuestError(Errno.ENOTSUP)

    def local(self) -> Endpoint:
        """The local endpoint, NOWHERE before there is one."""
        raise GuestError(Errno.ENOTSUP)

    def remote(self) -> Endpoint:
        """The peer's endpoint. ENOTCONN."""
        raise GuestError(Errno.ENOTCONN)

    def take_error(self) -> Errno:
        """The pending error (SO_ERROR), which is cleared; SUCCESS for none."""
        return Errno.SUCCESS

    def get_option(self, name: str) -> str:
        """An option's value in the text form of docs/guest-files.md. ENOPROTOOPT."""
        raise GuestError(Errno.ENOPROTOOPT)

    def set_option(self, name: str, value: str) -> None:
        """Set an option from its text form. ENOPROTOOPT, EINVAL."""
        raise GuestError(Errno.ENOPROTOOPT)

    def peek(self, caller: Caller, count: int) -> bytes:
        """Up to `count` received bytes, which stay in the queue; empty at the end of the stream."""
        raise GuestError(Errno.ENOTSUP)


class Network(Protocol):
    """A container's network stack."""

    @property
    def hostname(self) -> str:
        """The container's host name."""
        ...

    @property
    def address(self) -> str | None:
        """The container's address in its network, if it has one."""
        ...

    def new_socket(self, flags: int = 0) -> SocketDescription:
        """Make a fresh TCP socket; `flags` are WASI fdflags."""
        ...

    def new_pair(self, flags: int = 0) -> tuple[SocketDescription, SocketDescription]:
        """Two sockets connected to each other."""
        ...

    def find(self, inode: int) -> SocketDescription | None:
        """The open socket with this inode number."""
        ...

    def lookup(self, caller: Caller, name: str) -> list[str]:
        """The addresses of a host name. ENOENT for none, EAGAIN for "try later"."""
        ...

    def names_of(self, address: str) -> list[str]:
        """The host names of an address. ENOENT."""
        ...
