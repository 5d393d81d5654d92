"""The thread that moves the data of all TLS connections of a container (`kernel.tls_session`).

It is started by the first connection. A thread and no process: OpenSSL works without the
interpreter's lock, and what is left are a few calls for each 64 KiB. While it moves 400 MB/s (two
cores, x86-64) the median host call of another guest is not slower; one in a hundred waits 3 ms.

Lock order: `_lock` is innermost. Sessions belong to the thread as soon as they are added.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.tls_session import Buffers, TlsSession

if TYPE_CHECKING:
    from collections.abc import Callable

STOP_SECONDS: Final = 2.0
"""What closed connections get to send the rest when the container ends."""
LINGER_LESS_SECONDS: Final = 1.5
"""How much less those get that only wait for their peers to close."""
MOST_LINGERING: Final = 128
"""Closed connections that are kept until their peers close; a guest could make more and more."""


class TlsEngine:
    """All TLS connections of one container."""

    def __init__(self, log: Callable[[str], None]) -> None:
        """`log` takes a line about a fault of ours."""
        self.buffers = Buffers()
        self._log = log
        self._lock = threading.Lock()
        self._new: list[TlsSession] = []
        self._thread: threading.Thread | None = None
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._sessions: dict[int, TlsSession] = {}
        """By both host fds."""
        self._masks: dict[int, int] = {}
        """What epoll waits for now."""
        self._again: set[TlsSession] = set()
        self._leaving: dict[TlsSession, None] = {}
        """Sessions whose guest has closed, the oldest first: they have a deadline."""
        self._stop_at: float | None = None

    def add(self, session: TlsSession) -> None:
        """Let the thread have a session. RuntimeError: the host has no thread for us, or the
        container ends.
        """
        with self._lock:
            if self._stop_at is not None:
                raise RuntimeError("the container ends")
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="tls", daemon=True)
                thread.start()
                self._thread = thread
            self._new.append(session)
        os.eventfd_write(self._wake_fd, 1)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End the thread; connections whose guest has closed may send the rest for a while."""
        with self._lock:
            if self._stop_at is not None:
                return
            self._stop_at = time.monotonic() + seconds
            thread = self._thread
        if thread is not None:
            os.eventfd_write(self._wake_fd, 1)
            thread.join(seconds + 10)
            if thread.is_alive():  # it still uses what would be closed here
                return
        self._epoll.close()
        os.close(self._wake_fd)

    def _run(self) -> None:
        while True:
            try:
                events = self._epoll.poll(self._timeout())
            except InterruptedError:
                continue
            due = self._again
            self._again = set()
            for fd, mask in events:
                session = self._sessions.get(fd)
                if session is None:
                    continue
                due.add(session)
                if fd == session.inner.fileno() and mask & select.EPOLLHUP:
                    session.guest_left()
                    self._leaving[session] = None
            for session in due:
                self._drive(session)
            self._expire()
            self._take_new()
            if self._is_over():
                return

    def _timeout(self) -> float:
        if self._again:
            return 0
        return 0.5 if self._leaving or self._stop_at is not None else -1

    def _take_new(self) -> None:
        with self._lock:
            new, self._new = self._new, []
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake_fd)
        for session in new:
            self._sessions[session.raw.fileno()] = session
            self._sessions[session.inner.fileno()] = session
            self._drive(session)

    def _is_over(self) -> bool:
        """Whether it is time to stop; then nothing is left open."""
        if self._stop_at is None:
            return False
        left = set(self._sessions.values())
        now = time.monotonic()
        sends = not all(session.lingering for session in left)
        if left and now < (self._stop_at if sends else self._stop_at - LINGER_LESS_SECONDS):
            return False
        for session in left:
            self._remove(session)
        return True

    def _expire(self) -> None:
        now = time.monotonic()
        spare = len(self._leaving) - MOST_LINGERING
        for session in list(self._leaving):
            late = session.deadline is not None and session.deadline < now
            if late or (spare > 0 and session.lingering):
                self._remove(session)
                spare -= 1

    def _drive(self, session: TlsSession) -> None:
        if session.is_closed():
            return
        raw, inner = session.raw.fileno(), session.inner.fileno()
        try:
            more = session.drive()
            if not session.is_closed():
                on_raw, on_inner = session.interests()
                self._watch(raw, on_raw or None)
                self._watch(inner, on_inner)
        except Exception as error:
            self._log(f"a fault of balenawasm ended a TLS connection: {error!r}")
            session.give_up()
            more = False
        if session.is_closed():
            self._forget(session, raw, inner)
            return
        if more:
            self._again.add(session)

    def _watch(self, fd: int, mask: int | None) -> None:
        """Wait for these events on a host fd; None: for none, not even errors."""
        before = self._masks.get(fd)
        if mask == before:
            return
        if mask is None:
            del self._masks[fd]
            self._epoll.unregister(fd)
        elif before is None:
            self._masks[fd] = mask
            self._epoll.register(fd, mask)
        else:
            self._masks[fd] = mask
            self._epoll.modify(fd, mask)

    def _remove(self, session: TlsSession) -> None:
        raw, inner = session.raw.fileno(), session.inner.fileno()
        session.close()
        self._forget(session, raw, inner)

    def _forget(self, session: TlsSession, *fds: int) -> None:
        """Closing took the fds out of epoll."""
        self._again.discard(session)
        self._leaving.pop(session, None)
        for fd in fds:
            self._masks.pop(fd, None)
            self._sessions.pop(fd, None)
