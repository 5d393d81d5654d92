"""Stream sockets of guests: listening, connecting, and data both ways.

    new ─bind─▶ bound ─listen─▶ listening
     └────────────┴──connect─▶ connecting ─▶ connected

The host socket comes late: where a connection goes decides what it is. What binding, listening and
connecting mean is the families' (`kernel.socket`, `kernel.socket_local`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import select
import socket
import struct
import termios
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.socket_base import BaseSocket, State, after
from balenawasm.vfs.description import FAST_LISTENER, FAST_SOCKET, FastForm
from balenawasm.vfs.socket import MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL, Received
from balenawasm.wasi.errno import FROM_HOST, Errno, GuestError, from_oserror
from balenawasm.wasi.flags import NONBLOCK, SHUT_RD, SHUT_WR

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balenawasm.kernel.network_listener import Accepted, Listener
    from balenawasm.vfs.description import Buffers, Description
    from balenawasm.vfs.node import Caller
    from balenawasm.vfs.socket import Address, Layer

LONGEST_PEEK: Final = 2000
"""Bytes of one `peek`: their hexadecimal form fits into a link's target."""
RETIRED_MAX: Final = 16
"""Host objects of earlier attempts that one socket keeps. Nobody polls one that long ago."""
FULL_QUEUE_RETRY_NS: Final = 5_000_000
FULL_QUEUE_RETRIES: Final = 12_000
"""A blocking connect to a listener with a full queue tries for a minute, as TCP would."""
HOW: Final = {
    SHUT_RD: socket.SHUT_RD,
    SHUT_WR: socket.SHUT_WR,
    SHUT_RD | SHUT_WR: socket.SHUT_RDWR,
}


class StreamSocket(BaseSocket):
    """One stream socket. Subclasses bind, listen and connect."""

    def __init__(self, inode: int, family: str, kind: str, flags: int, nobody: Address) -> None:
        """`nobody` is the address of a socket that has none."""
        super().__init__(inode, family, kind, flags)
        self._host: socket.socket | None = None
        self._retired: list[socket.socket | Listener] = []
        """Host objects of earlier attempts; somebody may still poll their fds."""
        self._listener: Listener | None = None
        self._nobody = nobody
        self._local = nobody
        self._remote = nobody

    def become_connected(self, host_socket: socket.socket, local: Address, remote: Address) -> None:
        """Take over a connected, non-blocking host socket. Only for a new socket."""
        self._host = host_socket
        self.host_fd = host_socket.fileno()
        self._local, self._remote = local, remote
        self._state = State.CONNECTED

    def fast_form(self) -> FastForm | None:
        """See Description.fast_form: a connection without time limits, or a listener to poll."""
        if self._is(State.LISTENING):
            return FastForm(FAST_LISTENER, self.host_fd)
        options = self._options
        if options.receive_timeout_ns is not None or options.send_timeout_ns is not None:
            return None
        if self._host is None or not self._is(State.CONNECTED):
            return None
        if self.layer is not None:  # how its stream ends is not for native code to know
            return None
        return FastForm(FAST_SOCKET, self._host.fileno())

    # What the families do; the lock is held.

    def _bind_locked(self, address: Address | None) -> None:
        """Take a local address; None: one of the kernel's choice."""
        raise NotImplementedError

    def _open_listener(self) -> Listener:
        raise NotImplementedError

    def _connect_locked(self, caller: Caller, destination: Address) -> None:
        """Connect or begin to; EAGAIN when the listener's queue is full."""
        raise NotImplementedError

    def _adopt(self, accepted: Accepted, flags: int) -> StreamSocket:
        raise NotImplementedError

    def _unbind(self) -> None:
        """Give the local address back."""

    # Life.

    def _closing(self, *, waited_for: bool) -> None:
        self._unbind()
        if self._listener is not None:
            self._listener.stop()
        elif self._host is not None and waited_for:
            with contextlib.suppress(OSError):
                self._host.shutdown(socket.SHUT_RDWR)

    def _dispose(self) -> None:
        self.host_fd = -1
        for host_object in (self._listener, self._host, *self._retired):
            if host_object is not None:
                host_object.close()

    def bind(self, address: Address) -> None:
        """POSIX `bind`: EINVAL when bound already, EADDRINUSE, EADDRNOTAVAIL."""
        with self._lock:
            if not self._is(State.NEW):
                raise GuestError(Errno.EINVAL)
            self._bind_locked(address)

    def listen(self, backlog: int) -> None:
        """POSIX `listen`; the queue is always a long one, `backlog` a hint that is not needed."""
        with self._lock:
            if self._is(State.LISTENING):
                return
            if not self._is(State.NEW, State.BOUND):
                raise GuestError(Errno.EINVAL)
            if self._is(State.NEW):
                self._bind_locked(None)
            self._listener = self._open_listener()
            self.host_fd = self._listener.host_fd
            self._state = State.LISTENING

    def accept(self, caller: Caller, flags: int) -> StreamSocket:
        """POSIX `accept`: EINVAL unless listening."""
        while True:
            listener = self._listener
            if listener is None or not self._is(State.LISTENING):
                raise GuestError(Errno.EBADF if self._is(State.CLOSED) else Errno.EINVAL)
            accepted = listener.accept_now()
            if accepted is not None:
                return self._adopt(accepted, flags & NONBLOCK)
            if self.flags & NONBLOCK:
                raise GuestError(Errno.EAGAIN)
            self._wait_or_again(caller, select.POLLIN, self._options.receive_timeout_ns)

    def connect(self, caller: Caller, destination: Address | None) -> None:
        """POSIX `connect`: at once inside the network; outside EINPROGRESS when NONBLOCK is set, or
        when SO_SNDTIMEO's time is over.
        """
        if destination is None:
            raise GuestError(Errno.EAFNOSUPPORT)
        retries = 0
        while True:
            try:
                with self._lock:
                    self._connect_locked(caller, destination)
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
            if not self._wait(caller, select.POLLOUT, self._options.send_timeout_ns):
                raise GuestError(Errno.EINPROGRESS)
            self._finish_connect()
        if not self._is(State.CONNECTED):
            raise GuestError(self.take_error() or Errno.ECONNREFUSED)

    def _check_connectable(self) -> bool:
        """Tell whether there is something left to do; EALREADY, EISCONN, EBADF. The lock is held.

        Asking once more is how some programs find out whether a connection has come about.
        """
        if self._is(State.CONNECTING):
            self._finish_connect()
            if self._is(State.CONNECTING):
                raise GuestError(Errno.EALREADY)
            if self._is(State.CONNECTED):
                return False
        if self._is(State.CONNECTED, State.LISTENING):
            raise GuestError(Errno.EISCONN)
        if self._is(State.CLOSED):
            raise GuestError(Errno.EBADF)
        if self._host is not None:
            self._retire(self._host)
            self._host = None
        return True

    def _retire(self, host_object: socket.socket | Listener) -> None:
        """Keep what somebody may still poll until close, within reason: each takes a host fd."""
        self._retired.append(host_object)
        if len(self._retired) > RETIRED_MAX:
            self._retired.pop(0).close()

    def _finish_connect(self) -> None:
        """Leave CONNECTING if the host has: towards CONNECTED, or back to BOUND with the error
        kept.
        """
        host = self._host
        if not self._is(State.CONNECTING) or host is None:
            return
        if self.layer is not None:
            if has_begun(host):
                self._state = State.CONNECTED
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
        self._remote = self._nobody
        # The host fd may be polled right now: keep it open (it reports POLLHUP) until close or the
        # next connect.

    # A layer, such as TLS.

    def put_layer(
        self, caller: Caller, begin: Callable[[socket.socket], tuple[socket.socket, Layer]]
    ) -> None:
        """Have `begin` put a layer on the connection and wait for it: EINPROGRESS with NONBLOCK,
        then it is over when the fd is readable. Once more is how one asks: EALREADY, EISCONN.

        ENOTCONN; EPROTO and others when the layer fails.
        """
        with self._lock:
            self._finish_connect()
            if self._is(State.CONNECTING):
                raise GuestError(Errno.EALREADY)
            if self.layer is not None:
                if self.layer.facts is None:
                    self.layer.check_end()
                raise GuestError(Errno.EISCONN)
            if not self._is(State.CONNECTED) or self._host is None:
                raise GuestError(Errno.ENOTCONN)
            self._host, self.layer = begin(self._host)
            self.host_fd = self._host.fileno()
            self._state = State.CONNECTING
        if self.flags & NONBLOCK:
            raise GuestError(Errno.EINPROGRESS)
        while self.is_connecting():
            self._wait(caller, select.POLLIN)
        if self.layer.facts is None:  # what came afterwards is for the next call
            self.layer.check_end()

    def is_connecting(self) -> bool:
        """Whether a connection, or a layer on it, is still to come about."""
        with self._lock:
            self._finish_connect()
            return self._is(State.CONNECTING)

    def shutdown(self, how: int) -> None:
        """POSIX `shutdown` with SHUT_RD, SHUT_WR of wasi.flags; on a listener it ends listening."""
        if how not in HOW:
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
            self._connected().shutdown(HOW[how])
        except OSError as error:
            raise GuestError(from_oserror(error)) from None

    # Data.

    def read(self, caller: Caller, buffers: Buffers) -> int:
        """Receive, see `recv`."""
        return self._recv(caller, buffers, 0)

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """Send, see `send`."""
        return self.send(caller, buffers)

    def recv(self, caller: Caller, buffers: Buffers, *, peek: bool, wait_all: bool) -> int:
        """POSIX `recv`. `wait_all` fills the buffers unless the stream ends; ignored together with
        `peek` or NONBLOCK.
        """
        return self._recv(caller, buffers, peek * MSG_PEEK | wait_all * MSG_WAITALL)

    def receive(self, caller: Caller, buffers: Buffers, flags: int = 0) -> Received:
        """POSIX `recvmsg`: see SocketDescription; a stream's data have no sender."""
        count = self._recv(caller, buffers, flags)
        return Received(count, None, count)

    def _recv(self, caller: Caller, buffers: Buffers, flags: int) -> int:
        host = self._connected()
        host_flags = socket.MSG_PEEK if flags & MSG_PEEK else 0
        total = 0
        while True:
            try:
                if len(buffers) == 1:
                    count = host.recv_into(buffers[0], 0, host_flags)
                else:
                    count = host.recvmsg_into(buffers, 0, host_flags)[0]
            except BlockingIOError:
                if not self._may_wait(caller, select.POLLIN, flags, total):
                    return total
                continue
            except OSError as error:
                self._fail(error, total)
                return total
            total += count
            if not count and not total and self.layer is not None:
                self.layer.check_end()
            if flags & (MSG_WAITALL | MSG_PEEK) != MSG_WAITALL or not count:
                return total
            buffers = after(buffers, count)
            if not buffers:
                return total

    def send(self, caller: Caller, buffers: Buffers) -> int:
        """POSIX `send`: everything, unless NONBLOCK is set. EPIPE after the peer has closed; there
        is no signal.
        """
        return self._send(caller, buffers, 0)

    def send_to(
        self,
        caller: Caller,
        buffers: Buffers,
        address: Address | None = None,
        flags: int = 0,
        passed: Sequence[Description] = (),
    ) -> int:
        """POSIX `sendmsg`; an address is EISCONN, as on Linux for Unix streams."""
        if address is not None:
            self._connected()
            raise GuestError(Errno.EISCONN)
        if passed:
            raise GuestError(Errno.EINVAL)
        return self._send(caller, buffers, flags)

    def _send(self, caller: Caller, buffers: Buffers, flags: int) -> int:
        host = self._connected()
        nonblocking = self.flags & NONBLOCK or flags & MSG_DONTWAIT
        total = 0
        while True:
            try:
                if len(buffers) == 1:
                    count = host.send(buffers[0], socket.MSG_NOSIGNAL)
                else:
                    count = host.sendmsg(buffers, (), socket.MSG_NOSIGNAL)
            except BlockingIOError:
                if not self._may_wait(caller, select.POLLOUT, flags, total):
                    return total
                continue
            except OSError as error:
                self._fail(error, total)
                return total
            total += count
            if nonblocking:
                return total
            buffers = after(buffers, count)
            if not buffers:
                return total

    def _may_wait(self, caller: Caller, mask: int, flags: int, done: int) -> bool:
        """Wait for the host; False when `done` bytes are to be reported instead, EAGAIN for none.

        An interrupted wait reports them too.
        """
        try:
            if self._nonblocking(flags):
                raise GuestError(Errno.EAGAIN)
            options = self._options
            receives = mask == select.POLLIN
            timeout = options.receive_timeout_ns if receives else options.send_timeout_ns
            self._wait_or_again(caller, mask, timeout)
        except GuestError:
            if not done:
                raise
            return False
        return True

    def _fail(self, error: OSError, done: int) -> None:
        """Raise a host error, unless part of the work is done: that is reported, the error comes
        next time.
        """
        if not done:
            if self.layer is not None:
                self.layer.check_end()
            self._raise_host(error)

    def peek(self, caller: Caller, count: int) -> bytes:
        """Up to `count` (at most LONGEST_PEEK) bytes, which stay in the queue; empty at the end of
        the stream.
        """
        if not 0 < count <= LONGEST_PEEK:
            raise GuestError(Errno.EINVAL)
        buffer = bytearray(count)
        return bytes(buffer[: self._recv(caller, [memoryview(buffer)], MSG_PEEK)])

    def pending(self) -> int:
        """Bytes that can be read now."""
        return pending_bytes(self._connected())

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

    def local(self) -> Address:
        """POSIX `getsockname`."""
        return self._local

    def remote(self) -> Address:
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

    def _option_host(self) -> socket.socket | None:
        return self._host


def has_begun(host: socket.socket) -> bool:
    """Whether a layer has agreed with its peer, or given up; takes the byte that says so."""
    try:
        host.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def begin_connect(host_socket: socket.socket, address: tuple[str, int]) -> bool:
    """Begin to connect a non-blocking host socket, which is closed on failure; True when it is
    connected already.
    """
    try:
        result = host_socket.connect_ex(address)
    except OSError as error:
        result = error.errno or errno.EINVAL
    if result in (0, errno.EINPROGRESS):
        return not result
    host_socket.close()
    raise GuestError(FROM_HOST.get(result, Errno.EIO))


def pending_bytes(host: socket.socket) -> int:
    """FIONREAD of a host socket."""
    try:
        answer = fcntl.ioctl(host.fileno(), termios.FIONREAD, bytes(4))
    except OSError as error:
        raise GuestError(from_oserror(error)) from None
    (count,) = struct.unpack("i", answer)
    assert isinstance(count, int)  # noqa: S101 - for the type checker
    return count
