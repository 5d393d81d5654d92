"""A stand-in for the kernel and its processes, as far as /dev and /proc look at them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.vfs.description import Description
    from balenawasm.vfs.path import Location, Namespace


@dataclass
class Fd:
    description: Description
    location: Location | None = None


@dataclass
class Fds:
    table: dict[int, Fd] = field(default_factory=dict)

    def entries(self):
        return dict(self.table)


@dataclass
class Limits:
    processes: int = 64
    open_files: int = 1024
    memory_bytes: int | None = None
    stack_bytes: int = 8 << 20


@dataclass
class Memory:
    view: memoryview = field(default_factory=lambda: memoryview(bytes(128 << 10)))


@dataclass
class Terminal:
    number: int = 34816
    foreground: int = 5


@dataclass
class Session:
    sid: int = 1
    terminal: Terminal | None = None


@dataclass
class Signals:
    mask: int = 1 << 9
    pending: int = 1 << 40
    ignored: int = 1 << 12
    handled: int = 1 << 13


@dataclass
class Guest:
    """A process."""

    pid: int = 7
    parent: Guest | None = None
    argv: tuple[bytes, ...] = (b"/bin/prog", b"-x", b"a b")
    environ: tuple[bytes, ...] = (b"PATH=/bin", b"EMPTY=")
    cwd: bytes = b"/srv"
    executable: bytes = b"/bin/prog"
    comm: bytes = b""
    started_ns: int = field(default_factory=time.monotonic_ns)
    outcome: object | None = None
    fds: Fds = field(default_factory=Fds)
    limits: Limits = field(default_factory=Limits)
    memory: Memory = field(default_factory=Memory)
    pgid: int = 5
    session: Session = field(default_factory=Session)
    signals: Signals = field(default_factory=Signals)
    stopped: bool = False
    umask: int = 0o027
    children_cpu_ns: int = 3_000_000_000

    @property
    def ppid(self) -> int:
        return 0 if self.parent is None else self.parent.pid

    def cpu_used_ns(self) -> int:
        return 1_500_000_000

    def wait(self, fds, timeout_ns=None):
        return []

    def holds(self, description) -> bool:
        return any(fd.description is description for fd in self.fds.table.values())


@dataclass
class Table:
    processes: dict[int, Guest] = field(default_factory=dict)

    def all(self):
        return list(self.processes.values())

    def get(self, pid):
        if pid not in self.processes:
            raise GuestError(Errno.ESRCH)
        return self.processes[pid]


@dataclass
class Kernel:
    namespace: Namespace
    processes: Table = field(default_factory=Table)
    hostname: str = "box"

    def add(self, guest: Guest) -> Guest:
        self.processes.processes[guest.pid] = guest
        return guest
