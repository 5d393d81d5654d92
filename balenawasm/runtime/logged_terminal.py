"""The terminal of a service with `tty: true`: a pty at which nobody types, and whose output is the
log's. One thread copies it.

Line ends are written as they are (ONLCR is off), so that the log has no carriage returns.
"""

from __future__ import annotations

import os
import termios
import threading
from typing import TYPE_CHECKING

from balenawasm.kernel.terminal import TerminalStream
from balenawasm.vfs.mounts import NOBODY

if TYPE_CHECKING:
    from balenawasm.runtime.logs import LogStream

_CHUNK = 1 << 16
_LAST_SECONDS = 2.0
"""How long the end waits for the last output to reach the log."""
_OUTPUT_MODES = 1


class LoggedTerminal(TerminalStream):
    """Such a terminal as a service's open file."""

    def __init__(self, log: LogStream) -> None:
        master, slave = os.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[_OUTPUT_MODES] &= ~termios.ONLCR
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        super().__init__(slave, shared=False)
        self._copying = threading.Thread(
            target=_copy, args=(master, log), name="terminal", daemon=True
        )
        self._copying.start()

    def close(self) -> None:
        """Close it, with all that was written in the log."""
        super().close()
        self.tty.close()
        self._copying.join(_LAST_SECONDS)


def _copy(master: int, log: LogStream) -> None:
    try:
        while data := os.read(master, _CHUNK):
            log.write(NOBODY, [memoryview(data)])
    except OSError:
        pass  # EIO: nobody has it open any more
    finally:
        log.flush()
        os.close(master)
