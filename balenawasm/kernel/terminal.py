"""A terminal as the kernel sees it: a pty's slave on the host, and which of a session's process
groups it serves.

The host kernel's line discipline does what the bytes mean: canonical mode, echo, raw mode, and
recognising Ctrl-C. What it cannot know is our processes. So it signals a process of the host
(`cli.terminal_relay`), from where the signal comes to `Terminal.signal`; and who may read, write
and change settings is decided here (termios(4), POSIX 11.1): a background process that reads gets
SIGTTIN, one that changes settings, or writes while TOSTOP is set, SIGTTOU.

A guest can do to the terminal what any program can; the relay restores the user's own.

A terminal has an open file of its own, which ends with the session: then settings are ENOTTY, and
what is still open reads and writes on, until the user's side ends.

Lock order: `_lock` guards that open file and is innermost.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import termios
import threading
from typing import TYPE_CHECKING, Any, Final

from balenawasm.kernel.process import Process
from balenawasm.kernel.signals import Kind
from balenawasm.kernel.stream import Stream
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import NONBLOCK, Filetype

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.kernel.process_table import ProcessTable
    from balenawasm.vfs.description import Buffers, Description
    from balenawasm.vfs.node import Caller

LFLAG: Final = 3
"""Index of the local modes in `attributes`."""
_SIZE: Final = struct.Struct("HHHH")
_SIDE_MAX: Final = 0xFFFF
_TENTH: Final = 100_000_000
"""VTIME's unit in nanoseconds."""


class Terminal:
    """A terminal; nobody's until it is somebody's controlling terminal."""

    def __init__(self, fd: int) -> None:
        """`fd` is the slave, which stays the caller's."""
        self._fd = os.dup(fd)
        self._lock = threading.Lock()
        self._processes: ProcessTable | None = None
        self.number = os.fstat(fd).st_rdev
        self.session = 0
        """Its session's leader; 0: none."""
        self.foreground = 0
        """The process group that reads and gets signals; 0: none."""

    def take_control(self, leader: Process, processes: ProcessTable) -> None:
        """Become the controlling terminal of the session that `leader` leads; `processes` are those
        that it may signal.
        """
        self._processes = processes
        self.session = leader.pid
        self.foreground = leader.pgid
        leader.session.terminal = self

    # Signals.

    def signal(self, signo: int) -> None:
        """Send a signal to the foreground group, should it still have members.

        A stop from the keyboard does nothing to a group that nobody could continue.
        """
        group, processes = self.foreground, self._processes
        if processes is None or (signo == signal.SIGTSTP and processes.is_orphaned(group)):
            return
        with contextlib.suppress(GuestError):
            processes.signal_group(group, signo)

    def hang_up(self) -> None:
        """The session's leader has ended: tell the foreground group, and be nobody's."""
        for signo in (signal.SIGHUP, signal.SIGCONT):
            self.signal(signo)
        self.close()

    def close(self) -> None:
        """Give back the open file; safe to call twice."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def open(self) -> TerminalStream:
        """Another open file of it, as /dev/tty gives one: ENXIO after its end."""
        with self._lock:
            if self._fd < 0:
                raise GuestError(Errno.ENXIO)
            return TerminalStream(os.dup(self._fd), shared=True, tty=self)

    def controls(self, process: Process) -> bool:
        """Whether it is the process's controlling terminal."""
        return process.session.terminal is self

    def set_foreground(self, caller: Process, group: int) -> None:
        """tcsetpgrp(3): ENOTTY (not the caller's terminal), EPERM (no group of its session)."""
        if self._processes is None or not self.controls(caller):
            raise GuestError(Errno.ENOTTY)
        self._from_foreground(caller, signal.SIGTTOU)
        members = self._processes.group(group)
        if not any(member.sid == caller.sid for member in members):
            raise GuestError(Errno.EPERM)
        self.foreground = group

    def check_read(self, caller: Caller) -> None:
        """Let a background process wait (SIGTTIN); EIO when nobody could continue it."""
        self._from_foreground(caller, signal.SIGTTIN)

    def check_write(self, caller: Caller) -> None:
        """With TOSTOP, let a background process wait (SIGTTOU)."""
        if isinstance(caller, Process) and caller.pgid != self.foreground and self._stops_writers():
            self._from_foreground(caller, signal.SIGTTOU)

    def _stops_writers(self) -> bool:
        return bool(self.attributes()[LFLAG] & termios.TOSTOP)

    def _from_foreground(self, caller: Caller, signo: int) -> None:
        """Return when the caller is in the foreground, or may act from the background."""
        processes = self._processes
        if processes is None or not isinstance(caller, Process):
            return
        while self.controls(caller) and caller.pgid != self.foreground:
            signals = caller.signals
            deaf = signals.action(signo).kind is Kind.IGNORE or signals.mask >> signo - 1 & 1
            orphaned = processes.is_orphaned(caller.pgid)
            if signo == signal.SIGTTIN and (deaf or orphaned):
                raise GuestError(Errno.EIO)
            if deaf:
                return
            if orphaned:
                raise GuestError(Errno.EIO)
            processes.signal_group(caller.pgid, signo)
            caller.attend()  # stops here, or is interrupted by a handler

    # Settings.

    def attributes(self) -> list[Any]:
        """tcgetattr(3), as the host's `termios` has it."""
        with self._host() as fd:
            return termios.tcgetattr(fd)

    def read_limit(self) -> int | None:
        """How long a read may wait for its first byte, in nanoseconds; None: as long as it takes.

        The host's line discipline knows VMIN and VTIME, but we read only when there is something.
        """
        try:
            attributes = self.attributes()
        except GuestError:
            return None
        characters = attributes[-1]
        if attributes[LFLAG] & termios.ICANON or _number(characters[termios.VMIN]):
            return None
        return _number(characters[termios.VTIME]) * _TENTH

    def set_attributes(self, caller: Process, when: int, attributes: list[Any]) -> None:
        """tcsetattr(3); `when` is the host's TCSANOW, TCSADRAIN or TCSAFLUSH."""
        self._from_foreground(caller, signal.SIGTTOU)
        with self._host() as fd:
            # Never TCSADRAIN: it would wait in the host, where no kill reaches.
            if when == termios.TCSAFLUSH:
                termios.tcflush(fd, termios.TCIFLUSH)
            termios.tcsetattr(fd, termios.TCSANOW, attributes)

    def flush(self, caller: Process, queue: int) -> None:
        """tcflush(3): throw away what was typed, or is not yet shown."""
        self._from_foreground(caller, signal.SIGTTOU)
        with self._host() as fd:
            termios.tcflush(fd, queue)

    def size(self) -> tuple[int, int]:
        """(columns, rows); 0 when nobody knows."""
        with self._host() as fd:
            answer = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(_SIZE.size))
        rows, columns, _, _ = _SIZE.unpack(answer)
        return columns, rows

    def set_size(self, columns: int, rows: int) -> None:
        """Change the size, which the foreground group learns by SIGWINCH: EINVAL."""
        if not (0 <= columns <= _SIDE_MAX and 0 <= rows <= _SIDE_MAX):
            raise GuestError(Errno.EINVAL)
        if (columns, rows) == self.size():
            return
        with self._host() as fd:
            fcntl.ioctl(fd, termios.TIOCSWINSZ, _SIZE.pack(rows, columns, 0, 0))
        self.signal(signal.SIGWINCH)

    @contextlib.contextmanager
    def _host(self) -> Iterator[int]:
        """The open file, for something that does not wait: ENOTTY after its end."""
        with self._lock:
            if self._fd < 0:
                raise GuestError(Errno.ENOTTY)
            try:
                yield self._fd
            except termios.error as error:  # which is no OSError
                raise OSError(*error.args) from None


class TerminalStream(Stream):
    """A guest's open terminal: its input and its output."""

    def __init__(self, fd: int, *, shared: bool, tty: Terminal | None = None) -> None:
        """`fd`, the slave, is closed at the end. `shared`: see Stream."""
        super().__init__(fd, filetype=Filetype.CHARACTER_DEVICE, shared=shared)
        self.terminal = True
        self.tty = Terminal(fd) if tty is None else tty

    def close(self) -> None:
        """Close it; a terminal that never became a session's goes, too."""
        super().close()
        if not self.tty.session:
            self.tty.close()

    def read(self, caller: Caller, buffers: Buffers) -> int:
        """See Stream; from the background: Terminal.check_read."""
        self.tty.check_read(caller)
        limit = self.tty.read_limit()
        if limit == 0 or (limit is not None and not self.flags & NONBLOCK):
            ready = caller.wait(((self.host_fd, select.POLLIN),), limit)
            if not ready:
                return 0
        return super().read(caller, buffers)

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """See Stream; from the background: Terminal.check_write."""
        self.tty.check_write(caller)
        return super().write(caller, buffers)


def _number(character: int | bytes) -> int:
    """A control character; the host's module gives VMIN and VTIME as numbers, without ICANON."""
    return character if isinstance(character, int) else character[0]


def take_control(description: Description, leader: Process, processes: ProcessTable) -> None:
    """Make a terminal the controlling one of the session that `leader` leads."""
    if isinstance(description, TerminalStream):
        description.tty.take_control(leader, processes)


def open_terminal(fd: int) -> TerminalStream:
    """The terminal that is the host fd's, by an open file of our own where possible: that one can
    be non-blocking without anybody's notice.
    """
    flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return TerminalStream(os.open(f"/proc/self/fd/{fd}", flags), shared=False)
    except OSError:
        own = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
        return TerminalStream(own, shared=True)
