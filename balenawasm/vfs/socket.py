"""Sockets as the VFS and the personalities see them: the description's contract, and the network
they come from.

The kernel implements both (`kernel.socket`, `kernel.network`). Defaults answer the errno of a
socket that cannot do it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from balenawasm.record import NamedTuple
from balenawasm.vfs.description import Description
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balenawasm.vfs.description import Buffers
    from balenawasm.vfs.endpoint import Endpoint, LocalName
    from balenawasm.vfs.filesystems.net_datagrams import Held
    from balenawasm.vfs.filesystems.net_tls import Tls, TlsFacts, TlsFailure
    from balenawasm.vfs.node import Caller

Address: TypeAlias = "Endpoint | LocalName"

INET: Final = "inet"
INET6: Final = "inet6"
UNIX: Final = "unix"
ALL: Final = ""
"""Families as docs/guest-files.md names them; ALL is a lookup's "any"."""
STREAM: Final = "stream"
DGRAM: Final = "dgram"
SEQPACKET: Final = "seqpacket"

MSG_PEEK: Final = 1
MSG_WAITALL: Final = 2
MSG_DONTWAIT: Final = 4
"""Flags of `receive` and `send_to`; each door translates its own numbers."""
MOST_PASSED: Final = 64
"""Open files that one message may carry."""


class Received(NamedTuple):
    """What `receive` took in.

    `full` is a datagram's whole length, also when the buffers hold less (then `truncated`).
    `passed` are open files that came with it, each retained for the receiver.
    """

    size: int
    address: Address | None = None
    full: int = 0
    truncated: bool = False
    passed: tuple[Description, ...] = ()


class Layer(Protocol):
    """Something between a stream socket and its connection, such as TLS (`kernel.tls_session`).

    It takes the host socket and gives one end of a socket pair instead. That it has agreed with its
    peer, or failed, it tells by one byte on the pair, or by closing it.
    """

    failure: TlsFailure | None
    """Why it ended, if that was not the good end."""
    facts: TlsFacts | None
    """What has been agreed; None before."""

    def check_end(self) -> None:
        """The guest met the end of its stream: raise what it was, unless it is the good end."""
        ...


class SocketDescription(Description):
    """One open socket, with what the socket functions need beside `Description`'s own methods."""

    filetype = Filetype.SOCKET_STREAM
    family: str = INET
    kind: str = STREAM
    inode: int
    """The st_ino of the socket, unique in the container: its name below /net/sock."""
    held: Held | None = None
    """What guests that work with files have waiting at a datagram socket."""
    layer: Layer | None = None
    """What lies between the guest and the connection."""

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

    def bind(self, address: Address) -> None:
        """Take a local address; port 0: any free one. EADDRINUSE, EADDRNOTAVAIL, EINVAL,
        EAFNOSUPPORT.
        """
        raise GuestError(Errno.ENOTSUP)

    def listen(self, backlog: int) -> None:
        """Start to accept connections. EADDRINUSE, EINVAL."""
        raise GuestError(Errno.ENOTSUP)

    def accept(self, caller: Caller, flags: int) -> SocketDescription:
        """Take the next connection, see Description."""
        raise GuestError(Errno.ENOTSUP)

    def connect(self, caller: Caller, destination: Address | None) -> None:
        """Connect; with NONBLOCK it may answer EINPROGRESS: poll for writing, then `take_error`.

        None takes a datagram socket's peer away again (EAFNOSUPPORT for others).
        """
        raise GuestError(Errno.ENOTSUP)

    def receive(self, caller: Caller, buffers: Buffers, flags: int = 0) -> Received:
        """POSIX `recvmsg` with the flags MSG_* above."""
        raise GuestError(Errno.ENOTSUP)

    def send_to(
        self,
        caller: Caller,
        buffers: Buffers,
        address: Address | None = None,
        flags: int = 0,
        passed: Sequence[Description] = (),
    ) -> int:
        """POSIX `sendmsg`: EDESTADDRREQ without an address or a peer, EISCONN with one too many,
        EMSGSIZE. `passed` open files go along (Unix sockets; EINVAL elsewhere).
        """
        raise GuestError(Errno.ENOTSUP)

    def pending(self) -> int:
        """Bytes that can be read now (FIONREAD); of datagrams, the next one's."""
        raise GuestError(Errno.ENOTSUP)

    def local(self) -> Address:
        """The local address, NOWHERE or UNNAMED before there is one."""
        raise GuestError(Errno.ENOTSUP)

    def remote(self) -> Address:
        """The peer's address. ENOTCONN."""
        raise GuestError(Errno.ENOTCONN)

    def is_connecting(self) -> bool:
        """Whether a connection, or a layer on it, is still to come about."""
        return False

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

    def new_socket(self, flags: int = 0, family: str = INET) -> SocketDescription:
        """Make a fresh TCP socket; `flags` are WASI fdflags."""
        ...

    def new_udp(self, flags: int = 0, family: str = INET) -> SocketDescription:
        """Make a fresh UDP socket."""
        ...

    def new_local(self, kind: str = STREAM, flags: int = 0) -> SocketDescription:
        """Make a fresh Unix socket: STREAM, DGRAM or SEQPACKET."""
        ...

    def new_pair(self, flags: int = 0) -> tuple[SocketDescription, SocketDescription]:
        """Two TCP sockets connected to each other."""
        ...

    def new_local_pair(
        self, kind: str = STREAM, flags: int = 0
    ) -> tuple[SocketDescription, SocketDescription]:
        """Two Unix sockets connected to each other."""
        ...

    def find(self, inode: int) -> SocketDescription | None:
        """The open socket with this inode number."""
        ...

    def lookup(self, caller: Caller, name: str, family: str = INET) -> list[str]:
        """The addresses of a host name: INET, INET6 or ALL, IPv4 first. ENOENT for none, EAGAIN for
        "try later".
        """
        ...

    def names_of(self, address: str) -> list[str]:
        """The host names of an address. ENOENT."""
        ...

    def tls(self) -> Tls:
        """The container's TLS."""
        ...
