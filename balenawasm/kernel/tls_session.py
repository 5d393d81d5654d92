"""One TLS connection: ciphertext on the connection's host socket, plain data on a socket pair whose
other end is the guest's.

    guest ── socket pair ── [inner | TLS engine | raw] ── connection

Everything here runs in the engine's thread (`kernel.tls_engine`) but reading `outcome` and `facts`,
which are set once. Both sockets never block. What one side does not take is kept, at most one
chunk for each direction, and the other side is not read meanwhile: pressure goes through.

The guest learns the end of the handshake by one byte on its socket, which its kernel socket
consumes. Its end of file is sent as close_notify. A stream that ends without one is a failure;
whatever was received before is delivered first.

When the guest has closed, the rest is sent, and then the session lingers until the peer has closed
too: to close a TCP socket with unread data (TLS 1.3's session tickets come late) resets the
connection, and the peer may lose what it has not read.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.tls_failure import failure_of
from balenawasm.vfs.filesystems.net_tls import TlsFacts, TlsFailure
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD: Final = 16384
"""The most plain data in one TLS record."""
CHUNK: Final = 4 * RECORD
_ROUNDS: Final = 4
"""Chunks of one direction before other connections get their turn."""
FLUSH_SECONDS: Final = 30.0
"""How long what a closed socket has left may take to leave."""
LINGER_SECONDS: Final = 5.0
"""How long the peer may then take to close."""


class Buffers:
    """Working memory that the sessions of one thread share."""

    def __init__(self) -> None:
        self.plain = memoryview(bytearray(CHUNK))
        self.cipher = memoryview(bytearray(CHUNK))


class TlsSession:
    """See the module. `start` comes from any thread, then the engine calls `drive`."""

    def __init__(
        self,
        raw: socket.socket,
        context: ssl.SSLContext,
        server_name: str,
        buffers: Buffers,
        explain: Callable[[TlsFailure], TlsFailure] = lambda failure: failure,
    ) -> None:
        """Own `raw`, a connected non-blocking socket, from now on. `explain` may say more about a
        failure; it runs in the engine's thread.

        ValueError, SSLError: the name is not possible; OSError: no socket pair.
        """
        self._explain = explain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_name or None
        )
        self.inner, self.outer = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        """`outer` is the guest's end."""
        self.inner.setblocking(False)
        self.outer.setblocking(False)
        self.raw = raw
        self.facts: TlsFacts | None = None
        self.failure: TlsFailure | None = None
        self.deadline: float | None = None
        """When what is left is given up (monotonic clock): set when the guest has closed."""
        self._buffers = buffers
        self._to_guest = b""
        self._to_peer = b""
        self._unwritten = b""
        """Plain data that the TLS engine will take when it has read something (renegotiation)."""
        self._peer_ended = False
        self._guest_ended = False
        self._told_guest = False
        self._closed = False
        self.lingering = False

    # For guests' threads.

    def check_end(self) -> None:
        """The guest met the end of its stream: raise what it was, unless it is the good end."""
        if self.failure is not None:
            raise GuestError(self.failure.errno)

    # For the engine.

    def is_closed(self) -> bool:
        """Whether there is nothing left to do."""
        return self._closed

    def interests(self) -> tuple[int, int | None]:
        """What to wait for on `raw` (0: nothing) and on `inner` (None: not even its end)."""
        if self.lingering:
            return select.EPOLLIN, None
        raw = inner = 0
        if self._to_peer:
            raw |= select.EPOLLOUT
        if self.facts is None:
            return raw | select.EPOLLIN, 0
        if self._to_guest:
            inner |= select.EPOLLOUT
        elif not self._peer_ended and self.deadline is None and not self._flooded:
            raw |= select.EPOLLIN
        if self._unwritten:
            raw |= select.EPOLLIN
        elif not self._guest_ended and not self._to_peer:
            inner |= select.EPOLLIN
        return raw, None if self.deadline is not None else inner

    def guest_left(self) -> None:
        """Both directions of the guest's socket are over: `drive` sends what is left and closes."""
        if self.deadline is None:
            self.deadline = time.monotonic() + FLUSH_SECONDS

    def drive(self) -> bool:
        """Do what can be done without waiting; True: there is more, come back soon."""
        if self.lingering:
            self._linger()
            return False
        if self.facts is None and self.deadline is not None:
            self.close()
            return False
        more = False
        try:
            if self.failure is None and (self.facts is not None or self._shake_hands()):
                more = self._from_peer()
                more = self._from_guest() or more
        except OSError as error:
            self._fail(failure_of(error))
        try:
            self._settle()
        except OSError:
            self.close()
        return more and not self._closed

    def give_up(self) -> None:
        """Close because of a fault of ours."""
        if self.failure is None:
            self.failure = TlsFailure(Errno.EIO, "system", "", "", int(Errno.EIO), "internal error")
        self.close()

    def close(self) -> None:
        """Give the sockets back."""
        if not self._closed:
            self._closed = True
            self.raw.close()
            self.inner.close()

    def _settle(self) -> None:
        """Close what is over."""
        if self.failure is not None:
            if not self._to_guest or self.deadline is not None or self._send_to_guest():
                self.close()
            return
        if self._peer_ended and not self._to_guest and not self._told_guest:
            self._told_guest = True
            self.inner.shutdown(socket.SHUT_WR)
        if self._guest_ended and not self._to_peer and not self._unwritten:
            if self._told_guest:
                self.close()
            elif self.deadline is not None:
                self.raw.shutdown(socket.SHUT_WR)
                self.lingering = True
                self.deadline = time.monotonic() + LINGER_SECONDS
                self._linger()

    def _linger(self) -> None:
        """Throw away what the peer still sends, and close with it."""
        try:
            for _ in range(_ROUNDS):
                if not self.raw.recv_into(self._buffers.cipher):
                    self.close()
                    return
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _fail(self, failure: TlsFailure) -> None:
        self.failure = self._explain(failure)
        with contextlib.suppress(OSError):
            self._collect()  # the alert for the peer
            self._send_to_peer()
        # Later this would be taken for something to send.
        self._to_peer = self._unwritten = b""
        self._guest_ended = self._peer_ended = True

    # The handshake.

    def _shake_hands(self) -> bool:
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._collect()
                self._send_to_peer()
                if not self._receive():
                    return False
        self._collect()
        self._send_to_peer()
        self.facts = self._look()
        self.inner.send(b"\0")
        return True

    def _look(self) -> TlsFacts:
        tls = self._tls
        return TlsFacts(
            version=tls.version() or "",
            cipher=tls.cipher() or ("", "", 0),
            alpn=tls.selected_alpn_protocol() or "",
            certificate=tls.getpeercert(binary_form=True) or b"",
            peer=tls.getpeercert() or {},
            unique=tls.get_channel_binding("tls-unique") or b"",
        )

    # From the peer to the guest.

    @property
    def _flooded(self) -> bool:
        """Whether the peer asks for answers (key updates) and takes none."""
        return len(self._to_peer) > 4 * CHUNK

    def _receive(self) -> bool:
        """Take ciphertext from the connection; False when there is none now."""
        try:
            count = self.raw.recv_into(self._buffers.cipher)
        except BlockingIOError:
            return False
        if count:
            self._incoming.write(self._buffers.cipher[:count])
        else:
            self._incoming.write_eof()
        return True

    def _from_peer(self) -> bool:
        for _ in range(_ROUNDS):
            if not self._send_to_guest() or self._peer_ended or self._flooded:
                return False
            if self.deadline is not None and not self._unwritten:
                return False  # nobody wants it
            count, error = self._decrypt()
            if count and self.deadline is None:
                self._to_guest = self._sent(self._buffers.plain[:count])
            if error is not None:
                raise error
            if not count and not self._peer_ended and not self._receive():
                return False
        return True

    def _decrypt(self) -> tuple[int, OSError | None]:
        """Fill the plain buffer; the error came after that data."""
        # With a buffer it answers a count, which the type checker does not know.
        read: Callable[[int, memoryview], int] = self._tls.read  # type: ignore[assignment]
        plain, total = self._buffers.plain, 0
        while total <= CHUNK - RECORD:
            try:
                count = read(RECORD, plain[total:])
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                count = 0
            except OSError as error:
                return total, error
            if not count:  # close_notify; an exception only when we have sent ours
                self._peer_ended = True
                break
            total += count
        return total, None

    def _sent(self, data: memoryview) -> bytes:
        """Send to the guest; what it did not take."""
        try:
            count = self.inner.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            count = 0
        except OSError:  # it has gone; `guest_left` will come
            return b""
        return bytes(data[count:])

    def _send_to_guest(self) -> bool:
        if self._to_guest:
            self._to_guest = self._sent(memoryview(self._to_guest))
        return not self._to_guest

    # From the guest to the peer.

    def _from_guest(self) -> bool:
        for _ in range(_ROUNDS):
            self._collect()
            if not self._send_to_peer():
                return False
            if self._unwritten:
                data = memoryview(self._unwritten)
            elif self._guest_ended:
                return False
            else:
                try:
                    count = self.inner.recv_into(self._buffers.plain)
                except BlockingIOError:
                    return False
                except ConnectionResetError:  # it closed without having read everything
                    count = 0
                if not count:
                    self._say_goodbye()
                    continue
                data = self._buffers.plain[:count]
            self._encrypt(data)
            if self._unwritten:
                self._collect()
                self._send_to_peer()
                return False
        return True

    def _encrypt(self, data: memoryview) -> None:
        while data:
            try:
                data = data[self._tls.write(data) :]
            except ssl.SSLWantReadError:
                break
        self._unwritten = bytes(data)

    def _say_goodbye(self) -> None:
        """Send close_notify. The peer may go on sending."""
        self._guest_ended = True
        # Python's unwrap also looks for the answer, and takes data that it finds there for a fault.
        received = self._incoming.read() if self._incoming.pending else b""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        if received:
            self._incoming.write(received)
        self._collect()

    def _collect(self) -> None:
        if self._outgoing.pending:
            self._to_peer += self._outgoing.read()

    def _send_to_peer(self) -> bool:
        while self._to_peer:
            try:
                count = self.raw.send(self._to_peer, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return False
            self._to_peer = self._to_peer[count:]
        return True
