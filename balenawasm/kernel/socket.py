"""TCP sockets of guests: the file description, and its life from new to closed.

    new ─bind─▶ bound ─listen─▶ listening
     └────────────┴──connect─▶ connecting ─▶ connected

The host socket comes late: where a connection goes decides what it is (`NetworkStack.route`). Host
sockets never block; a guest that shall block waits through its Caller, which a kill interrupts.
`close` shuts the host socket down first, so whoever waits on it wakes, and the host fd is given
back by the last waiter: a number that is being polled is never reused.

Lock order: `_lock` of a socket, then the stack's. It is not held while a guest waits.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import threading
from enum import Enum
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.socket_options import SocketOptions
from balenawasm.vfs.endpoint import ANY, LOOPBACK, NOWHERE, Endpoint, is_loopback
from balenawasm.vfs.node import Stat
from balenawasm.vfs.socket import SocketDescription
from balenawasm.wasi.errno import FROM_HOST, Errno, GuestError, from_oserror
from balenawasm.wasi.flags import NONBLOCK, SHUT_RD, SHUT_WR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balenawasm.kernel.network import NetworkStack
    from balenawasm.kernel.network_listener import Listener
    from balenawasm.kernel.network_ports import Reservation
    from balenawasm.vfs.description import Buffers
    from balenawasm.vfs.node import Caller

SOCKET_DEVICE: Final = 0x736F  # "so": the st_dev of all sockets
LONGEST_PEEK: Final = 2000
"""Bytes of one `peek`: their hexadecimal form fits into a link's target."""
RETIRED_MAX: Final = 16
"""Host objects of earlier attempts that one socket keeps. Nobody polls one that long ago."""
FULL_QUEUE_RETRY_NS: Final = 5_000_000
FULL_QUEUE_RETRIES: Final = 12_000
"""A blocking connect to a listener with a full queue tries for a minute, as TCP would."""
_HOW: Final = {
    SHUT_RD: socket.SHUT_RD,
    SHUT_WR: socket.SHUT_WR,
    SHUT_RD | SHUT_WR: socket.SHUT_RDWR,
}


class State(Enum):
    """Where in its life a socket is."""

    NEW = "new"
    BOUND = "bound"
    LISTENING = "listening"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"


class TcpSocket(SocketDescription):
    """One TCP socket. See the module's docstring; the methods answer the errno that Linux would."""

    def __init__(self, stack: NetworkStack, inode: int, flags: int = 0) -> None:
        super().__init__(flags)
        self.inode = inode
        self._stack = stack
        self._lock = threading.Lock()
        self._state = State.NEW
        self._waiters = 0
        self._host: socket.socket | None = None
        self._retired: list[socket.socket | Listener] = []
        """Host objects of earlier attempts; somebody may still poll their fds."""
        self._listener: Listener | None = None
        self._reservation: Reservation | None = None
        self._local = NOWHERE
        self._remote = NOWHERE
        self._error: Errno = Errno.SUCCESS
        self._options = SocketOptions()

    def stat(self) -> Stat:
        """A socket's attributes; the inode number is its name below /net/sock."""
        return Stat(SOCKET_DEVICE, self.inode, self.filetype, 1, 0, 0, 0, 0, 0o666)

    def become_connected(
        self, host_socket: socket.socket, local: Endpoint, remote: Endpoint
    ) -> None:
        """Take over a connected, non-blocking host socket. Only for a new socket."""
        self._host = host_socket
        self.host_fd = host_socket.fileno()
        self._local, self._remote = local, remote
        self._state = State.CONNECTED

    # Life.

    def close(self) -> None:
        """Close: whoever waits on the socket wakes (EBADF); the host fds go when the last one has
        left.
        """
        with self._lock:
            if self._is(State.CLOSED):
                return
            self._state = State.CLOSED
            reservation, self._reservation = self._reservation, None
            dispose = not self._waiters
            if self._listener is not None:
                self._listener.stop()
            elif self._host is not None and not dispose:
                with contextlib.suppress(OSError):
                    self._host.shutdown(socket.SHUT_RDWR)
        if reservation is not None:
            self._stack.release(reservation)
        if dispose:
            self._dispose()
        super().close()

    def _dispose(self) -> None:
        self.host_fd = -1
        for host_object in (self._listener, self._host, *self._retired):
            if host_object is not None:
                host_object.close()

    def _is(self, *states: State) -> bool:
        return self._state in states

    def _wait(self, caller: Caller, mask: int) -> None:
        """Wait until the host fd is ready; EBADF when the socket was closed meanwhile."""
        with self._lock:
            if self._is(State.CLOSED):
                raise GuestError(Errno.EBADF)
            self._waiters += 1
            host_fd = self.host_fd
        try:
            caller.wait([(host_fd, mask)])
        finally:
            with self._lock:
                self._waiters -= 1
                closed = self._is(State.CLOSED)
                dispose = closed and not self._waiters
            if dispose:
                self._dispose()
        if closed:
            raise GuestError(Errno.EBADF)

    def bind(self, endpoint: Endpoint) -> None:
        """POSIX `bind`: EINVAL when bound already, EADDRINUSE, EADDRNOTAVAIL."""
        with self._lock:
            if not self._is(State.NEW):
                raise GuestError(Errno.EINVAL)
            self._bind_locked(endpoint)

    def _bind_locked(self, endpoint: Endpoint) -> None:
        self._reservation = self._stack.reserve(endpoint, reuse=self._options.flag("SO_REUSEADDR"))
        self._local = self._reservation.endpoint
        if self._is(State.NEW):
            self._state = State.BOUND

    def listen(self, backlog: int) -> None:
        """POSIX `listen`; the queue is always a long one, `backlog` a hint that is not needed."""
        with self._lock:
            if self._is(State.LISTENING):
                return
            if not self._is(State.NEW, State.BOUND):
                raise GuestError(Errno.EINVAL)
            if self._reservation is None:
                self._bind_locked(Endpoint(ANY, 0))
            assert self._reservation is not None  # noqa: S101 - for the type checker
            self._listener = self._stack.listen(self._reservation)
            self.host_fd = self._listener.host_fd
            self._state = State.LISTENING

    def accept(self, caller: Caller, flags: int) -> TcpSocket:
        """POSIX `accept`: EINVAL unless listening."""
        while True:
            listener = self._listener
            if listener is None or not self._is(State.LISTENING):
                raise GuestError(Errno.EBADF if self._is(State.CLOSED) else Errno.EINVAL)
            accepted = listener.accept_now()
            if accepted is not None:
                return self._stack.adopt(
                    accepted.socket, accepted.local, accepted.remote, flags & NONBLOCK
                )
            if self.flags & NONBLOCK:
                raise GuestError(Errno.EAGAIN)
            self._wait(caller, select.POLLIN)

    def connect(self, caller: Caller, destination: Endpoint) -> None:
        """POSIX `connect`: at once inside the network; outside EINPROGRESS when NONBLOCK is set."""
        retries = 0
        while True:
            try:
                with self._lock:
                    self._connect_locked(destination)
                break
            except GuestError as error:
                if error.errno != Errno.EAGAIN:
                    raise
            if self.flags & NONBLOCK:
                raise GuestError(Errno.ECONNREFUSED)  # there is nothing that could be polled
            retries += 1
            if retries > FULL_QUEUE_RETRIES:
                raise GuestError(Errno.ETIMEDOUT)
            caller.wait([], FULL_QUEUE_RETRY_NS)
        if self._is(State.CONNECTING) and self.flags & NONBLOCK:
            raise GuestError(Errno.EINPROGRESS)
        while self._is(State.CONNECTING):
            self._wait(caller, select.POLLOUT)
            self._finish_connect()
        if not self._is(State.CONNECTED):
            raise GuestError(self.take_error() or Errno.ECONNREFUSED)

    def _connect_locked(self, destination: Endpoint) -> None:
        if self._is(State.CONNECTING):
            self._finish_connect()
            if self._is(State.CONNECTING):
                raise GuestError(Errno.EALREADY)
            if self._is(State.CONNECTED):
                return  # connect(2) once more is how some programs ask whether it has worked
        if self._is(State.CONNECTED, State.LISTENING):
            raise GuestError(Errno.EISCONN)
        if self._is(State.CLOSED):
            raise GuestError(Errno.EBADF)
        route = self._stack.route(destination)
        if self._reservation is None:
            self._bind_locked(Endpoint(ANY, 0))
        host, port = self._local
        if is_loopback(host) and route.destination.host not in (LOOPBACK, self._stack.address):
            # As on Linux; a peer in another container would take us for itself.
            raise GuestError(Errno.EINVAL)
        local = Endpoint(route.source if host == ANY else host, port)
        if self._host is not None:
            self._retire(self._host)
            self._host = None
        if route.directory is None:
            self._connect_outside(destination)
        else:
            self._host = route.directory.connect(local, route.destination)
            self._state = State.CONNECTED
        assert self._host is not None  # noqa: S101 - for the type checker
        self._options.apply(self._host)
        self.host_fd = self._host.fileno()
        self._local, self._remote = local, destination

    def _retire(self, host_object: socket.socket | Listener) -> None:
        """Keep what somebody may still poll until close, within reason: each takes a host fd."""
        self._retired.append(host_object)
        if len(self._retired) > RETIRED_MAX:
            self._retired.pop(0).close()

    def _connect_outside(self, destination: Endpoint) -> None:
        try:
            host_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        except OSError as error:
            raise GuestError(from_oserror(error)) from None
        host_socket.setblocking(False)
        result = host_socket.connect_ex(destination)
        if result not in (0, errno.EINPROGRESS):
            host_socket.close()
            raise GuestError(FROM_HOST.get(result, Errno.EIO))
        self._host = host_socket
        self._state = State.CONNECTING if result else State.CONNECTED

    def _finish_connect(self) -> None:
        """Leave CONNECTING if the host has: towards CONNECTED, or back to BOUND with the error
        kept.
        """
        host = self._host
        if not self._is(State.CONNECTING) or host is None:
            return
        poll = select.poll()
        poll.register(host, select.POLLOUT)
        if not poll.poll(0):
            return
        result = host.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not result:
            self._state = State.CONNECTED
            return
        self._error = FROM_HOST.get(result, Errno.EIO)
        self._state = State.BOUND
        self._remote = NOWHERE
        # The host fd may be polled right now: keep it open (it reports POLLHUP) until close or the
        # next connect.

    def shutdown(self, how: int) -> None:
        """POSIX `shutdown` with SHUT_RD, SHUT_WR of wasi.flags; on a listener it ends listening."""
        if how not in _HOW:
            raise GuestError(Errno.EINVAL)
        if self._is(State.LISTENING):
            with self._lock:
                listener, self._listener = self._listener, None
                self._state = State.BOUND
                if listener is not None:
                    listener.stop()
                    self._retire(listener)
            return
        try:
            self._connected().shutdown(_HOW[how])
        except OSError as error:
            raise GuestError(from_oserror(error)) from None

    # Data.

    def read(self, caller: Caller, buffers: Buffers) -> int:
        """Receive, see `recv`."""
        return self.recv(caller, buffers, peek=False, wait_all=False)

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """Send, see `send`."""
        return self.send(caller, buffers)

    def recv(self, caller: Caller, buffers: Buffers, *, peek: bool, wait_all: bool) -> int:
        """POSIX `recv`. `wait_all` fills the buffers unless the stream ends; ignored together with
        `peek` or NONBLOCK.
        """
        host = self._connected()
        flags = socket.MSG_PEEK if peek else 0
        total = 0
        while True:
            try:
                if len(buffers) == 1:
                    count = host.recv_into(buffers[0], 0, flags)
                else:
                    count = host.recvmsg_into(buffers, 0, flags)[0]
            except BlockingIOError:
                if self.flags & NONBLOCK:
                    if total:
                        return total
                    raise GuestError(Errno.EAGAIN) from None
                self._wait(caller, select.POLLIN)
                continue
            except OSError as error:
                self._fail(error, total)
                return total
            total += count
            if not wait_all or peek or not count:
                return total
            buffers = _after(buffers, count)
            if not buffers:
                return total

    def send(self, caller: Caller, buffers: Buffers) -> int:
        """POSIX `send`: everything, unless NONBLOCK is set. EPIPE after the peer has closed; there
        is no signal.
        """
        host = self._connected()
        total = 0
        while True:
            try:
                if len(buffers) == 1:
                    count = host.send(buffers[0], socket.MSG_NOSIGNAL)
                else:
                    count = host.sendmsg(buffers, (), socket.MSG_NOSIGNAL)
            except BlockingIOError:
                if self.flags & NONBLOCK:
                    if total:
                        return total
                    raise GuestError(Errno.EAGAIN) from None
                self._wait(caller, select.POLLOUT)
                continue
            except OSError as error:
                self._fail(error, total)
                return total
            total += count
            if self.flags & NONBLOCK:
                return total
            buffers = _after(buffers, count)
            if not buffers:
                return total

    def _fail(self, error: OSError, done: int) -> None:
        """Raise a host error, unless part of the work is done: that is reported, the error comes
        next time.
        """
        if not done:
            if self._state is State.CLOSED:
                raise GuestError(Errno.EBADF) from None
            raise GuestError(from_oserror(error)) from None

    def peek(self, caller: Caller, count: int) -> bytes:
        """Up to `count` (at most LONGEST_PEEK) bytes, which stay in the queue; empty at the end of
        the stream.
        """
        if not 0 < count <= LONGEST_PEEK:
            raise GuestError(Errno.EINVAL)
        buffer = bytearray(count)
        return bytes(buffer[: self.recv(caller, [memoryview(buffer)], peek=True, wait_all=False)])

    def _connected(self) -> socket.socket:
        if self._state is State.CONNECTED and self._host is not None:
            return self._host
        return self._connected_slowly()

    def _connected_slowly(self) -> socket.socket:
        with self._lock:
            self._finish_connect()
            if self._state is State.CONNECTED and self._host is not None:
                return self._host
        if self._is(State.CLOSED):
            raise GuestError(Errno.EBADF)
        if self._is(State.CONNECTING):
            raise GuestError(Errno.EAGAIN)
        raise GuestError(self.take_error() or Errno.ENOTCONN)

    # Questions.

    def local(self) -> Endpoint:
        """POSIX `getsockname`."""
        return self._local

    def remote(self) -> Endpoint:
        """POSIX `getpeername`: ENOTCONN unless connected."""
        self._connected()
        return self._remote

    def take_error(self) -> Errno:
        """SO_ERROR: the pending error, which is cleared. Also finishes a connect whose outcome is
        known.
        """
        with self._lock:
            self._finish_connect()
            pending, self._error = self._error, Errno.SUCCESS
            if pending or self._host is None or self._state is not State.CONNECTED:
                return pending
            result = self._host.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return FROM_HOST.get(result, Errno.EIO) if result else Errno.SUCCESS

    def get_option(self, name: str) -> str:
        """POSIX `getsockopt` with names and texts of docs/guest-files.md: ENOPROTOOPT."""
        if name == "SO_ERROR":
            return str(int(self.take_error()))
        if name == "SO_TYPE":
            return "stream"
        if name == "SO_ACCEPTCONN":
            return str(int(self._state is State.LISTENING))
        return self._options.get(name, self._host)

    def set_option(self, name: str, value: str) -> None:
        """POSIX `setsockopt` with names and texts of docs/guest-files.md: ENOPROTOOPT, EINVAL."""
        with self._lock:
            self._options.set(name, value, self._host)


def _after(buffers: Sequence[memoryview], done: int) -> list[memoryview]:
    """What is left of the buffers when `done` bytes of them are filled."""
    rest = []
    for buffer in buffers:
        if done >= len(buffer):
            done -= len(buffer)
        else:
            rest.append(buffer[done:] if done else buffer)
            done = 0
    return rest
