"""Unix sockets of guests: streams, datagrams and packets in order, named by files of the container
or abstractly, and pairs.

Below each is one Unix socket of the host (`local_names` says how names lead to it), so queues,
limits and ends of file are the host's. Open files can be passed along within a container
(`passing`); credentials are the guest's pid, uid 0 and gid 0.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import select
import socket
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.local_names import NO_OWNER, inode_of
from balenawasm.kernel.network_listener import Accepted, Entrance, Listener
from balenawasm.kernel.network_unix import BACKLOG
from balenawasm.kernel.socket_base import DatagramSocket, State, after
from balenawasm.kernel.socket_stream import HOW, LONGEST_PEEK, StreamSocket, pending_bytes
from balenawasm.vfs.endpoint import UNNAMED, LocalName, checked_local_name
from balenawasm.vfs.socket import (
    DGRAM,
    MSG_PEEK,
    MSG_WAITALL,
    SEQPACKET,
    STREAM,
    UNIX,
    Received,
    SocketDescription,
)
from balenawasm.wasi.errno import FROM_HOST, Errno, GuestError, from_oserror

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balenawasm.kernel.network import NetworkStack
    from balenawasm.vfs.description import Buffers, Description, FastForm
    from balenawasm.vfs.node import Caller
    from balenawasm.vfs.socket import Address

HOST_TYPES: Final = {
    STREAM: socket.SOCK_STREAM,
    DGRAM: socket.SOCK_DGRAM,
    SEQPACKET: socket.SOCK_SEQPACKET,
}
_RETRY_NS: Final = 1_000_000
"""How often a sender looks whether there is room in a queue that it cannot poll."""
_ROOM_FOR_FD: Final = socket.CMSG_SPACE(4)


class LocalSocket(SocketDescription):
    """What both kinds of Unix sockets have beside the socket calls."""

    family = UNIX

    def pair_with(self, host: socket.socket, other: LocalSocket) -> None:
        """Become one end of a pair. Only for a new socket."""
        raise NotImplementedError


def make_local_socket(
    stack: NetworkStack, inode: int, kind: str, flags: int
) -> LocalStream | LocalDatagrams:
    """A fresh Unix socket of a kind; EPROTONOSUPPORT for one that is not."""
    if kind not in HOST_TYPES:
        raise GuestError(Errno.EPROTONOSUPPORT)
    made = LocalDatagrams if kind == DGRAM else LocalStream
    return made(stack, inode, kind, flags)


class _Naming:
    """The name of one Unix socket."""

    def __init__(self, stack: NetworkStack) -> None:
        self.stack = stack
        self.name = UNNAMED
        self.file: str | None = None
        self._inode = 0

    def bind(self, address: Address | None, host: socket.socket) -> None:
        """Give a host socket the name; EAFNOSUPPORT, EADDRINUSE."""
        wanted = _local_name(address) if address is not None else UNNAMED
        names = self.stack.local_names
        self.name, self.file = names.bind(self.stack.namespace, wanted, host, 0)
        self._inode = inode_of(self.file)

    def find(self, address: Address) -> str:
        """The host file behind a name; ENOENT, ECONNREFUSED."""
        return self.stack.local_names.find(self.stack.namespace, _local_name(address))

    def forget(self) -> None:
        """The socket is closed."""
        file, self.file = self.file, None
        if file is not None:
            self.stack.local_names.forget(file, self._inode)


class LocalStream(StreamSocket, LocalSocket):
    """A stream, or packets in order. The methods answer the errno that Linux would."""

    def __init__(self, stack: NetworkStack, inode: int, kind: str, flags: int = 0) -> None:
        super().__init__(inode, UNIX, kind, flags, UNNAMED)
        self._stack = stack
        self._naming = _Naming(stack)
        self._peer_pid = 0

    def pair_with(self, host: socket.socket, other: LocalSocket) -> None:
        """See LocalSocket."""
        self.become_connected(host, UNNAMED, UNNAMED)

    def _new_host(self) -> socket.socket:
        return new_host_socket(self.kind)

    def _bind_locked(self, address: Address | None) -> None:
        if address is None:  # listening needs a name here, unlike TCP
            raise GuestError(Errno.EINVAL)
        host = self._new_host()
        try:
            self._naming.bind(address, host)
        except BaseException:
            host.close()
            raise
        self._host = host
        self._local = self._naming.name
        self._state = State.BOUND

    def _unbind(self) -> None:
        self._naming.forget()

    def _dispose(self) -> None:
        super()._dispose()
        self._stack.drop_lost_files()

    def _open_listener(self) -> Listener:
        host = self._host
        assert host is not None  # noqa: S101 - it is bound
        names = self._stack.local_names
        try:
            host.listen(BACKLOG)
        except OSError as error:
            raise GuestError(from_oserror(error)) from None
        self._host = None

        def stop() -> None:
            with contextlib.suppress(OSError):
                host.shutdown(socket.SHUT_RDWR)

        return Listener(
            [Entrance(host, self._naming.name)],
            gateway="",
            on_stop=stop,
            peer_of=lambda name: names.owner(name).name,
        )

    def _adopt(self, accepted: Accepted, flags: int) -> LocalStream:
        connected = self._stack.new_local(self.kind, flags)
        assert isinstance(connected, LocalStream)  # noqa: S101 - of our kind
        connected.become_connected(accepted.socket, accepted.local, accepted.remote)
        with contextlib.suppress(OSError):
            name = accepted.socket.getpeername()
            connected._peer_pid = self._stack.local_names.owner(name).pid
        connected._options.inherit(self._options)
        return connected

    def _connect_locked(self, caller: Caller, destination: Address) -> None:
        if self._is(State.CONNECTED, State.LISTENING):
            raise GuestError(Errno.EISCONN)
        if self._is(State.CLOSED):
            raise GuestError(Errno.EBADF)
        file = self._naming.find(destination)
        names = self._stack.local_names
        host = self._host or self._new_host()
        try:
            if self._host is None:
                host.bind(names.anonymous(caller.pid))
            host.connect(file)
        except OSError as error:
            if self._host is None:
                host.close()
            raise GuestError(refused(error)) from None
        self._host = host
        self._options.apply(host)
        self.host_fd = host.fileno()
        self._remote = destination
        self._peer_pid = names.owner(file).pid
        self._state = State.CONNECTED

    def receive(self, caller: Caller, buffers: Buffers, flags: int = 0) -> Received:
        """POSIX `recvmsg`, with the open files that came along."""
        host = self._connected()
        while True:
            try:
                received = receive_message(self._stack, host, buffers, flags, self.kind)
            except BlockingIOError:
                self._may_wait(caller, select.POLLIN, flags, 0)
                continue
            except OSError as error:
                self._raise_host(error)
            wait_all = flags & (MSG_WAITALL | MSG_PEEK) == MSG_WAITALL and self.kind == STREAM
            if not wait_all or not received.size or received.passed:
                return received._replace(address=None)
            rest = after(buffers, received.size)
            more = self._recv(caller, rest, flags) if rest else 0
            total = received.size + more
            return Received(total, None, total)

    def fast_form(self) -> FastForm | None:
        """See StreamSocket; packets are not for code that knows streams."""
        return super().fast_form() if self.kind == STREAM else None

    def _recv(self, caller: Caller, buffers: Buffers, flags: int) -> int:
        if self.kind == SEQPACKET:
            flags &= ~MSG_WAITALL
        return super()._recv(caller, buffers, flags)

    def send_to(
        self,
        caller: Caller,
        buffers: Buffers,
        address: Address | None = None,
        flags: int = 0,
        passed: Sequence[Description] = (),
    ) -> int:
        """POSIX `sendmsg`; an address is EISCONN."""
        if not passed or address is not None:
            return super().send_to(caller, buffers, address, flags)
        host = self._connected()
        while True:
            try:
                sent = send_message(self._stack, host, buffers, passed, None)
            except BlockingIOError:
                self._may_wait(caller, select.POLLOUT, flags, 0)
                continue
            except OSError as error:
                self._raise_host(error)
            rest = after(buffers, sent)
            if not rest or self._nonblocking(flags):
                return sent
            return sent + self._send(caller, rest, flags)

    def get_option(self, name: str) -> str:
        """See BaseSocket; SO_PEERCRED is `<pid>,<uid>,<gid>`, pid 0 when it is not known."""
        if name == "SO_PEERCRED":
            return f"{self._peer_pid},0,0"
        return super().get_option(name)


class LocalDatagrams(DatagramSocket, LocalSocket):
    """Datagrams. The methods answer the errno that Linux would."""

    def __init__(self, stack: NetworkStack, inode: int, kind: str, flags: int = 0) -> None:
        super().__init__(inode, UNIX, kind, flags)
        self._stack = stack
        self._naming = _Naming(stack)
        self._peer: LocalName | None = None
        self._host = new_host_socket(kind)
        self.host_fd = self._host.fileno()

    def pair_with(self, host: socket.socket, other: LocalSocket) -> None:
        """See LocalSocket."""
        self._host.close()
        self._host = host
        self.host_fd = host.fileno()
        self._peer = UNNAMED

    def _closing(self, *, waited_for: bool) -> None:
        self._naming.forget()
        if waited_for:
            with contextlib.suppress(OSError):
                self._host.shutdown(socket.SHUT_RDWR)

    def _dispose(self) -> None:
        self.host_fd = -1
        self._host.close()
        self._stack.drop_lost_files()

    def bind(self, address: Address) -> None:
        """POSIX `bind`: EINVAL when bound already, EADDRINUSE."""
        with self._lock:
            if self._naming.file is not None:
                raise GuestError(Errno.EINVAL)
            self._naming.bind(address, self._host)

    def connect(self, caller: Caller, destination: Address | None) -> None:
        """POSIX `connect`; taking the peer away again is for sockets without a name only."""
        with self._lock:
            if destination is None:
                self._disconnect()
                return
            file = self._naming.find(destination)
            try:
                self._host.connect(file)
            except OSError as error:
                raise GuestError(refused(error)) from None
            self._peer = _local_name(destination)

    def _disconnect(self) -> None:
        if self._peer is None:
            return
        if self._naming.file is not None or self._waiters:
            raise GuestError(Errno.EINVAL)
        fresh = new_host_socket(self.kind)
        self._host.close()
        self._host, self._peer = fresh, None
        self.host_fd = fresh.fileno()

    def shutdown(self, how: int) -> None:
        """POSIX `shutdown`; ENOTCONN without a peer."""
        if how not in HOW:
            raise GuestError(Errno.EINVAL)
        if self._peer is None:
            raise GuestError(Errno.ENOTCONN)
        try:
            self._host.shutdown(HOW[how])
        except OSError as error:
            self._raise_host(error)

    def receive(self, caller: Caller, buffers: Buffers, flags: int = 0) -> Received:
        """POSIX `recvmsg`: the next datagram, its sender, and open files that came along."""
        while True:
            try:
                return receive_message(self._stack, self._host, buffers, flags, self.kind)
            except BlockingIOError:
                if self._nonblocking(flags):
                    raise GuestError(Errno.EAGAIN) from None
            except OSError as error:
                self._raise_host(error)
            self._wait_or_again(caller, select.POLLIN, self._options.receive_timeout_ns)

    def send_to(
        self,
        caller: Caller,
        buffers: Buffers,
        address: Address | None = None,
        flags: int = 0,
        passed: Sequence[Description] = (),
    ) -> int:
        """POSIX `sendmsg`: one datagram. ENOTCONN, EMSGSIZE, ECONNREFUSED."""
        file = None if address is None else self._naming.find(address)
        waited = 0
        while True:
            try:
                return send_message(self._stack, self._host, buffers, passed, file)
            except BlockingIOError:
                if self._nonblocking(flags):
                    raise GuestError(Errno.EAGAIN) from None
            except OSError as error:
                self._not_sent(error)
            limit = self._options.send_timeout_ns
            if limit is not None and waited >= limit:
                raise GuestError(Errno.EAGAIN)
            # A full queue of another socket cannot be polled from here.
            caller.wait([], _RETRY_NS)
            waited += _RETRY_NS

    def _not_sent(self, error: OSError) -> None:
        if self._is(State.CLOSED):
            raise GuestError(Errno.EBADF) from None
        raise GuestError(refused(error)) from None

    def peek(self, caller: Caller, count: int) -> bytes:
        """The beginning of the next datagram, which stays in the queue."""
        if not 0 < count <= LONGEST_PEEK:
            raise GuestError(Errno.EINVAL)
        buffer = bytearray(count)
        return bytes(buffer[: self.receive(caller, [memoryview(buffer)], MSG_PEEK).size])

    def pending(self) -> int:
        """The length of the next datagram, 0 for none."""
        return pending_bytes(self._host)

    def local(self) -> LocalName:
        """POSIX `getsockname`."""
        return self._naming.name

    def remote(self) -> LocalName:
        """POSIX `getpeername`: ENOTCONN without a peer."""
        if self._peer is None:
            raise GuestError(Errno.ENOTCONN)
        return self._peer

    def take_error(self) -> Errno:
        """SO_ERROR: the pending error, which is cleared."""
        try:
            result = self._host.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except OSError:
            return Errno.SUCCESS
        return FROM_HOST.get(result, Errno.EIO) if result else Errno.SUCCESS

    def get_option(self, name: str) -> str:
        """See BaseSocket; a datagram's sender has no credentials here: pid 0."""
        if name == "SO_PEERCRED":
            return "0,0,0"
        return super().get_option(name)

    def _option_host(self) -> socket.socket | None:
        return self._host


def new_host_socket(kind: str) -> socket.socket:
    """A non-blocking Unix socket of the host; EMFILE and the like."""
    try:
        host = socket.socket(socket.AF_UNIX, HOST_TYPES[kind])
    except OSError as error:
        raise GuestError(from_oserror(error)) from None
    host.setblocking(False)
    return host


def receive_message(
    stack: NetworkStack, host: socket.socket, buffers: Buffers, flags: int, kind: str
) -> Received:
    """One recvmsg of the host, which must not block; OSError."""
    peeks = flags & MSG_PEEK
    host_flags = socket.MSG_CMSG_CLOEXEC | (socket.MSG_PEEK if peeks else 0)
    if kind != STREAM:
        host_flags |= socket.MSG_TRUNC
    room = 0 if peeks else _ROOM_FOR_FD
    full, ancillary, _, name = host.recvmsg_into(buffers, room, host_flags)
    passed: tuple[Description, ...] = ()
    for level, kind_of_data, data in ancillary:
        if (level, kind_of_data) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds = array.array("i")
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
            for fd in fds:
                passed += stack.passed_files.take(fd)
    count = min(full, sum(map(len, buffers))) if kind != STREAM else full
    sender = stack.local_names.owner(name) if kind == DGRAM else NO_OWNER
    return Received(count, sender.name, full, truncated=full > count, passed=passed)


def send_message(
    stack: NetworkStack,
    host: socket.socket,
    buffers: Buffers,
    passed: Sequence[Description],
    file: str | None,
) -> int:
    """One sendmsg of the host, which must not block; OSError."""
    if not passed:
        return _sendmsg(host, buffers, (), file)
    reading = stack.passed_files.put(passed)
    copy = array.array("i", [reading])
    try:
        sent = _sendmsg(host, buffers, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, copy)], file)
    except BaseException:
        for description in stack.passed_files.take(reading):
            description.release()
        raise
    os.close(reading)
    return sent


def _sendmsg(
    host: socket.socket,
    buffers: Buffers,
    ancillary: Sequence[tuple[int, int, array.array[int]]],
    file: str | None,
) -> int:
    if file is None:
        return host.sendmsg(buffers, ancillary, socket.MSG_NOSIGNAL)
    return host.sendmsg(buffers, ancillary, socket.MSG_NOSIGNAL, file)


def refused(error: OSError) -> Errno:
    """What a guest is told when the host finds no socket behind a name."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Errno.ECONNREFUSED
    return from_oserror(error)


def _local_name(address: Address) -> LocalName:
    if not isinstance(address, LocalName):
        raise GuestError(Errno.EAFNOSUPPORT)
    return checked_local_name(address.path)
