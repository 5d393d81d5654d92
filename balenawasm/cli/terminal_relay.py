"""A terminal of its own for `run -t` and `exec -t`: a pty between the user's terminal and the
program.

`enter_terminal` forks. The child goes on with the command as the leader of a session of its own,
whose controlling terminal, and standard streams, are the pty's slave: line editing, echo, raw mode
and signal characters are the host kernel's line discipline, and what it signals arrives in the
child. The parent puts the user's terminal into raw mode and copies bytes, the window size and
signals until the child ends. So the terminal is put right again whatever becomes of the child; if
the parent is killed outright, the pty hangs up and the child gets SIGHUP.

Memory is bounded: at most `_CHUNK` bytes wait in each direction; a reader that is slow makes the
writer wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import sys
import termios
import tty
from typing import TYPE_CHECKING, Final

from balenawasm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_CHUNK: Final = 4096
_AFTERWARDS: Final = 1 << 20
"""Most bytes that are still shown after the child's end: others may go on writing."""
_PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_NOTED: Final = (*_PASSED_ON, signal.SIGWINCH, signal.SIGCONT, signal.SIGCHLD)
_SIGNALED: Final = 128


def check_input() -> None:
    """UsageError unless standard input is a terminal."""
    if not os.isatty(0):
        raise UsageError("the input device is not a TTY", hint="use -i without -t for a pipe")


def kind_of_terminal() -> bytes:
    """The variable that tells which control sequences a program may use: the user's."""
    return b"TERM=" + os.fsencode(os.environ.get("TERM") or "xterm")


def enter_terminal(*, interactive: bool) -> int | None:
    """Go on in a new terminal: None in the child; the parent returns when the child has ended, with
    its exit status (128 + signal), and shall only end itself then.

    With `interactive` the user's input, which must be a terminal, goes to it. To be called early:
    in the main thread and before there are others.
    """
    master, slave = os.openpty()
    if os.isatty(0):
        termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(0))
    _copy_size(master)
    sys.stdout.flush()
    sys.stderr.flush()
    with _noted_signals() as wake:
        pid = os.fork()
        if pid == 0:
            os.close(master)
            _lead_session(slave)
        else:
            os.close(slave)
            try:
                return _Relay(pid, master, wake, interactive=interactive).run()
            finally:
                os.close(master)
    return None


def _lead_session(slave: int) -> None:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(slave, fd)
    if slave > 2:
        os.close(slave)


class _Relay:
    """The parent's side."""

    def __init__(self, child: int, master: int, wake: int, *, interactive: bool) -> None:
        self._child = child
        self._master = master
        self._wake = wake
        self._input_open = interactive
        self._master_open = True
        self._output_open = True
        self._to_master = b""
        self._to_user = b""
        os.set_blocking(master, False)

    def run(self) -> int:
        """Copy until the child has ended; its status."""
        with _raw_terminal(enabled=self._input_open):
            while True:
                self._pass(None)
                pid, status = os.waitpid(self._child, os.WNOHANG)
                if pid:
                    break
            self._show_rest()
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else _SIGNALED - code

    def _pass(self, timeout: float | None) -> bool:
        """Wait for something and do it; False when the time is over."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._input_open and not self._to_master:
            poll.register(0, select.POLLIN)
        if self._output_open and self._to_user:
            poll.register(1, select.POLLOUT)
        wanted = select.POLLIN if not self._to_user else 0
        wanted |= select.POLLOUT if self._to_master else 0
        if self._master_open and wanted:
            poll.register(self._master, wanted)
        ready = dict(poll.poll(timeout))
        if self._wake in ready:
            self._take_signals()
        if 0 in ready:
            self._read_input()
        if self._master in ready:
            self._write_master()
            self._read_master()
        if 1 in ready:
            self._write_output()
        return bool(ready)

    def _take_signals(self) -> None:
        for signo in os.read(self._wake, 64):
            if signo in _PASSED_ON:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._child, signo)
            elif signo == signal.SIGWINCH:
                _copy_size(self._master)
            elif signo == signal.SIGCONT and self._input_open:
                # Whoever stopped us, mostly a shell, has put its own mode into effect.
                with contextlib.suppress(termios.error):
                    tty.setraw(0, termios.TCSANOW)
                _copy_size(self._master)

    def _read_input(self) -> None:
        try:
            self._to_master = os.read(0, _CHUNK)
        except OSError:  # EIO: the user's terminal has gone
            self._to_master = b""
        self._input_open = bool(self._to_master)

    def _write_master(self) -> None:
        if not self._to_master:
            return
        try:
            count = os.write(self._master, self._to_master)
        except BlockingIOError:
            return
        except OSError:  # nobody has the slave any more
            count = len(self._to_master)
        self._to_master = self._to_master[count:]

    def _read_master(self) -> None:
        if self._to_user:
            return
        try:
            self._to_user = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the slave any more
            self._master_open = False
        if not self._output_open:
            self._to_user = b""

    def _write_output(self) -> None:
        try:
            count = os.write(1, self._to_user)
        except BlockingIOError:
            return
        except OSError:  # the reader has gone: the program goes on unseen until it gets SIGHUP
            self._output_open = False
            count = len(self._to_user)
        self._to_user = self._to_user[count:]

    def _show_rest(self) -> None:
        """Show what the pty still holds, without waiting for more."""
        self._input_open = False
        self._to_master = b""
        left = _AFTERWARDS
        while left > 0 and (self._to_user or self._master_open):
            if not self._pass(None if self._to_user else 0):
                break
            left -= _CHUNK


def _copy_size(master: int) -> None:
    """Give the pty the size of the user's terminal; the kernel then tells who has it open."""
    for fd in (1, 0, 2):
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))
            if any(struct.unpack("HHHH", size)):
                fcntl.ioctl(master, termios.TIOCSWINSZ, size)
            return


@contextlib.contextmanager
def _raw_terminal(*, enabled: bool) -> Iterator[None]:
    """The user's terminal hands every byte through while this lasts."""
    if not enabled:
        yield
        return
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0, termios.TCSANOW)
        yield
    finally:
        with contextlib.suppress(termios.error):  # it may have gone
            termios.tcsetattr(0, termios.TCSANOW, before)


@contextlib.contextmanager
def _noted_signals() -> Iterator[int]:
    """Have signals written to a pipe as bytes instead of taking effect; its fd to read from."""
    wake, written = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(written, False)
    before = {signo: signal.signal(signo, _do_nothing) for signo in _NOTED}
    fd_before = signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    try:
        yield wake
    finally:
        signal.set_wakeup_fd(fd_before)
        for signo, handler in before.items():
            signal.signal(signo, handler)
        os.close(wake)
        os.close(written)


def _do_nothing(_signo: int, _frame: FrameType | None) -> None:
    """Only to be woken; the number arrives through the pipe."""
