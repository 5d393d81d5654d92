"""What all sockets of guests share: life, waiting, options.

Host sockets never block; a guest that shall block waits through its Caller, which a kill
interrupts. `close` wakes whoever waits, and the host fds are given back by the last waiter: a
number that is being polled is never reused.

Lock order: `_lock` of a socket, then the stack's. It is not held while a guest waits.
"""

from __future__ import annotations

import threading
from enum import Enum
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.socket_options import SocketOptions
from balenawasm.vfs.node import Stat
from balenawasm.vfs.socket import INET6, MSG_DONTWAIT, MSG_PEEK, STREAM, SocketDescription
from balenawasm.wasi.errno import Errno, GuestError, from_oserror
from balenawasm.wasi.flags import NONBLOCK, Filetype

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from balenawasm.vfs.description import Buffers
    from balenawasm.vfs.node import Caller

SOCKET_DEVICE: Final = 0x736F  # "so": the st_dev of all sockets
PROTOCOLS: Final = {"stream": 6, "dgram": 17}
"""IPPROTO_TCP and IPPROTO_UDP by kind."""


class State(Enum):
    """Where in its life a socket is."""

    NEW = "new"
    BOUND = "bound"
    LISTENING = "listening"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"


class BaseSocket(SocketDescription):
    """One socket. The methods answer the errno that Linux would."""

    def __init__(self, inode: int, family: str, kind: str, flags: int = 0) -> None:
        super().__init__(flags)
        self.inode = inode
        self.family = family
        self.kind = kind
        self.filetype = Filetype.SOCKET_STREAM if kind == STREAM else Filetype.SOCKET_DGRAM
        self._lock = threading.Lock()
        self._state = State.NEW
        self._waiters = 0
        self._error: Errno = Errno.SUCCESS
        self._options = SocketOptions(family, kind)

    def stat(self) -> Stat:
        """A socket's attributes; the inode number is its name below /net/sock."""
        return Stat(SOCKET_DEVICE, self.inode, self.filetype, 1, 0, 0, 0, 0, 0o666)

    @property
    def _state(self) -> State:
        return self._state_now

    @_state.setter
    def _state(self, state: State) -> None:
        self._state_now = state
        self.forget_fast()

    # Life.

    def close(self) -> None:
        """Close: whoever waits on the socket wakes (EBADF); the host fds go when the last one has
        left.
        """
        with self._lock:
            if self._is(State.CLOSED):
                return
            self._state = State.CLOSED
            dispose = not self._waiters
            self._closing(waited_for=not dispose)
        if dispose:
            self._dispose()
        super().close()

    def _closing(self, *, waited_for: bool) -> None:
        """Give addresses back and wake waiters; the lock is held."""

    def _dispose(self) -> None:
        """Give the host fds back."""

    def _is(self, *states: State) -> bool:
        return self._state in states

    # Waiting.

    def _nonblocking(self, flags: int = 0) -> bool:
        return bool(self.flags & NONBLOCK or flags & MSG_DONTWAIT)

    def _wait(self, caller: Caller, mask: int, timeout_ns: int | None = None) -> bool:
        """Wait until the host fd is ready: False when the time is over. EBADF when the socket was
        closed meanwhile.
        """
        with self._lock:
            if self._is(State.CLOSED):
                raise GuestError(Errno.EBADF)
            self._waiters += 1
            host_fd = self.host_fd
        try:
            ready = caller.wait([(host_fd, mask)], timeout_ns)
        finally:
            with self._lock:
                self._waiters -= 1
                closed = self._is(State.CLOSED)
                dispose = closed and not self._waiters
            if dispose:
                self._dispose()
        if closed:
            raise GuestError(Errno.EBADF)
        return bool(ready)

    def _wait_or_again(self, caller: Caller, mask: int, timeout_ns: int | None) -> None:
        """Wait for the host fd; EAGAIN when SO_RCVTIMEO's or SO_SNDTIMEO's time is over."""
        if not self._wait(caller, mask, timeout_ns):
            raise GuestError(Errno.EAGAIN)

    def _raise_host(self, error: OSError) -> None:
        """Raise a host error as the guest's."""
        if self._state is State.CLOSED:
            raise GuestError(Errno.EBADF) from None
        raise GuestError(from_oserror(error)) from None

    # Options.

    def get_option(self, name: str) -> str:
        """POSIX `getsockopt` with names and texts of docs/guest-files.md: ENOPROTOOPT."""
        if name == "SO_ERROR":
            return str(int(self.take_error()))
        if name == "SO_TYPE":
            return self.kind
        if name == "SO_DOMAIN":
            return self.family
        if name == "SO_PROTOCOL":
            return str(PROTOCOLS.get(self.kind, 0) if self.family != "unix" else 0)
        if name == "SO_ACCEPTCONN":
            return str(int(self._state is State.LISTENING))
        return self._options.get(name, self._option_host())

    def set_option(self, name: str, value: str) -> None:
        """POSIX `setsockopt` with names and texts of docs/guest-files.md: ENOPROTOOPT, EINVAL."""
        with self._lock:
            if name == "IPV6_V6ONLY" and self.family == INET6 and not self._is(State.NEW):
                raise GuestError(Errno.EINVAL)
            self._options.set(name, value, self._option_host())
            self.forget_fast()

    def _option_host(self) -> socket.socket | None:
        """The host socket that options are also set on, if there is one already."""
        return None


def after(buffers: Sequence[memoryview], done: int) -> list[memoryview]:
    """What is left of the buffers when `done` bytes of them are filled."""
    rest = []
    for buffer in buffers:
        if done >= len(buffer):
            done -= len(buffer)
        else:
            rest.append(buffer[done:] if done else buffer)
            done = 0
    return rest


class DatagramSocket(BaseSocket):
    """What sockets of datagrams have in common: reading and writing are receiving and sending,
    with what `recvfrom` and `sendto` of the guest files hold ready for this process.
    """

    def read(self, caller: Caller, buffers: Buffers) -> int:
        """Receive one datagram."""
        return self.recv(caller, buffers, peek=False, wait_all=False)

    def recv(self, caller: Caller, buffers: Buffers, *, peek: bool, wait_all: bool) -> int:
        """Receive one datagram, first what `recvfrom` took out for this process; what does not fit
        into the buffers is lost.
        """
        if self.held is not None:
            size = self.held.read(caller.pid, buffers)
            if size is not None:
                return size
        return self.receive(caller, buffers, MSG_PEEK if peek else 0).size

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """Send one datagram to the peer."""
        return self.send(caller, buffers)

    def send(self, caller: Caller, buffers: Buffers) -> int:
        """Send one datagram to the peer."""
        held = self.held
        return self.send_to(caller, buffers, held.destination(caller.pid) if held else None)
