"""Ctrl-C in an interpreter that has arranged nothing with the kernel.

CPython raises KeyboardInterrupt on SIGINT in every program, also in those that never import
`signal`. To have each start tell the kernel so would cost every start; so the kernel asks, when a
SIGINT is going to end a process: the image's `/etc/signal-words` says where the interpreter keeps
what its C signal handler sets (docs/guest-files.md). The file comes from the container: it is
bounded, and names addresses in the process's own memory only. A program that is not the one the
file speaks of is told by the witness, a text in its memory.

    program /usr/bin/python
    witness <address> <text up to the line's end>
    handlers <address> <bytes for each signal>
    words <address> ...

The first word of a signal's handler is set by its arrival, the second is not 0 when there is one.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.signals import caught
from balenawasm.record import NamedTuple
from balenawasm.vfs.mounts import NOBODY
from balenawasm.wasi.errno import GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process

PATH: Final = b"/etc/signal-words"
_FILE_MAX: Final = 4096
_ADDRESS_MAX: Final = 1 << 32


class SignalWords(NamedTuple):
    """What the file says of one program."""

    witness: tuple[int, bytes]
    handlers: tuple[int, int]
    words: tuple[int, ...]

    def of(self, signo: int) -> tuple[tuple[int, int], ...]:
        """What the arrival of a signal stores."""
        first = self.handlers[0] + signo * self.handlers[1]
        return ((first, 1), *((address, 1) for address in self.words))


def arm(process: Process) -> None:
    """Let SIGINT be what the interpreter's own handler makes of it, if the image knows how."""
    try:
        kernel = process.kernel
        node = kernel.namespace.resolve(NOBODY, kernel.namespace.root, PATH, follow=True).node
        if node.stat().size > _FILE_MAX:
            return
        found = signal_words(bytes(node.content().data), process.executable)
        if found is None or not _fits(process, found):
            return
        process.signals.set_action(signal.SIGINT, caught(words=found.of(signal.SIGINT)))
    except (GuestError, OSError):
        return  # without the file SIGINT does what it does by default


def signal_words(document: bytes, program: bytes) -> SignalWords | None:
    """Read the file; None when it does not speak of the program, or makes no sense."""
    fields: dict[bytes, bytes] = {}
    matches = False
    for line in document.splitlines():
        name, _, value = line.strip().partition(b" ")
        if name == b"program":
            matches = value == program
        elif matches:
            fields.setdefault(name, value)
    try:
        address, _, text = fields[b"witness"].partition(b" ")
        base, size = map(_address, fields[b"handlers"].split())
        words = tuple(map(_address, fields[b"words"].split()))
        return SignalWords((_address(address), text), (base, size), words)
    except (KeyError, ValueError):
        return None


def _address(text: bytes) -> int:
    number = int(text)
    if not 0 <= number < _ADDRESS_MAX:
        raise ValueError(text)
    return number


def _fits(process: Process, found: SignalWords) -> bool:
    """Whether this is the program, and as far as having a handler for SIGINT."""
    address, text = found.witness
    function = found.of(signal.SIGINT)[0][0] + 4
    with process.lock:  # the memory is not unbound meanwhile
        view = process.memory.view
        return view[address : address + len(text)] == text and any(view[function : function + 4])
