"""A user at a terminal, for tests: a command on a pty of its own, what it shows, what is typed."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LONG = 60.0
"""Seconds after which a test that waits has failed."""
CONTROL_SEQUENCE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


class UserTerminal:
    """A command whose controlling terminal is a new pty of 24 x 80."""

    def __init__(
        self, command: Sequence[str | Path], environment: Mapping[str, str], directory: Path
    ) -> None:
        self.master, self.slave = os.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        """What was shown since the last `expect`, without control sequences."""
        slave = self.slave

        def take_terminal() -> None:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=directory,
            env={"TERM": "xterm", **environment},
            start_new_session=True,
            preexec_fn=take_terminal,  # noqa: PLW1509 - no threads here
        )

    def __enter__(self) -> UserTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, columns: int, rows: int) -> None:
        """Another window size; who has it as controlling terminal gets SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    def expect(self, text: str, seconds: float = LONG) -> bytes:
        """Wait until `text` is shown; answers, and forgets, everything up to its end."""
        deadline = time.monotonic() + seconds
        wanted = text.encode()
        while wanted not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} was not shown, but {self.seen!r}"
            self._read(left)
        end = self.seen.index(wanted) + len(wanted)
        shown, self.seen = self.seen[:end], self.seen[end:]
        return shown

    def wait(self, seconds: float = LONG) -> int:
        """Wait for the command's end, reading what it shows; its status."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"still running; shown: {self.seen!r}"
            self._read(0.02)
        self._read(0)
        return self.process.returncode

    def is_restored(self) -> bool:
        """Tell whether the terminal's settings are those of the beginning."""
        return termios.tcgetattr(self.slave) == self.before

    def is_raw(self) -> bool:
        """Tell whether it hands every byte through."""
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO)

    def _read(self, seconds: float) -> None:
        if select.select([self.master], [], [], seconds)[0]:
            self.seen = CONTROL_SEQUENCE.sub(b"", self.seen + os.read(self.master, 65536))
