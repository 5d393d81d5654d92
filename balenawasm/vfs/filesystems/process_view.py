"""What /proc and /dev see of the kernel: protocols that its kernel, process and fd table fulfil as
they are.

Every answer is a snapshot; a process may end between two questions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from balenawasm.vfs.description import Description
    from balenawasm.vfs.node import Caller
    from balenawasm.vfs.path import Location, Namespace


class FdView(Protocol):
    """One fd of a process."""

    @property
    def description(self) -> Description:
        """The open file."""
        ...

    @property
    def location(self) -> Location | None:
        """Where it was opened, when that was by a path."""
        ...


class FdTableView(Protocol):
    """A process's fds."""

    def entries(self) -> Mapping[int, FdView]:
        """A snapshot: fd → entry."""
        ...


@runtime_checkable
class HasFds(Protocol):
    """A caller that has fds, as every process does; the kernel itself, as a caller, has none."""

    @property
    def fds(self) -> FdTableView:
        """Its fd table."""
        ...


@runtime_checkable
class HasSession(Protocol):
    """A caller that belongs to a session, as every process does."""

    @property
    def session(self) -> SessionView:
        """Its session."""
        ...


class LimitsView(Protocol):
    """Caps of a process."""

    @property
    def processes(self) -> int:
        """How many processes there may be."""
        ...

    @property
    def open_files(self) -> int:
        """How many fds it may have."""
        ...

    @property
    def memory_bytes(self) -> int | None:
        """How large its linear memory may grow; None: 4 GiB."""
        ...

    @property
    def stack_bytes(self) -> int:
        """Its stack."""
        ...


class MemoryView(Protocol):
    """A process's linear memory."""

    @property
    def view(self) -> memoryview:
        """All of it; empty before it starts and after it ended."""
        ...


class TerminalView(Protocol):
    """A controlling terminal."""

    @property
    def number(self) -> int:
        """Its device number."""
        ...

    @property
    def foreground(self) -> int:
        """The process group in its foreground."""
        ...

    def open(self) -> Description:
        """Another open file of it: ENXIO after its end."""
        ...


class SessionView(Protocol):
    """A session."""

    @property
    def sid(self) -> int:
        """Its number."""
        ...

    @property
    def terminal(self) -> TerminalView | None:
        """Its controlling terminal."""
        ...


class SignalsView(Protocol):
    """Signals of a process; sets are ints with bit `signo - 1`."""

    @property
    def mask(self) -> int:
        """Blocked."""
        ...

    @property
    def pending(self) -> int:
        """Arrived, without effect so far."""
        ...

    @property
    def ignored(self) -> int:
        """To be ignored."""
        ...

    @property
    def handled(self) -> int:
        """With a handler."""
        ...


class ProcessInfo(Protocol):
    """A process, alive or waiting to be waited for."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    @property
    def ppid(self) -> int:
        """Who started it: 1 when that one has ended, 0 for what the host started."""
        ...

    @property
    def pgid(self) -> int:
        """Its process group."""
        ...

    @property
    def session(self) -> SessionView:
        """Its session."""
        ...

    @property
    def stopped(self) -> bool:
        """A signal has stopped it."""
        ...

    @property
    def signals(self) -> SignalsView:
        """What it has arranged for signals."""
        ...

    @property
    def umask(self) -> int:
        """Permissions that files it makes do not get."""
        ...

    @property
    def children_cpu_ns(self) -> int:
        """Processor time of the children it has waited for."""
        ...

    def cpu_used_ns(self) -> int:
        """Its processor time."""
        ...

    @property
    def argv(self) -> Sequence[bytes]:
        """Its arguments."""
        ...

    @property
    def environ(self) -> Sequence[bytes]:
        """`NAME=value` each."""
        ...

    @property
    def cwd(self) -> bytes:
        """Where it was started."""
        ...

    @property
    def executable(self) -> bytes:
        """Absolute path of its program."""
        ...

    @property
    def comm(self) -> bytes:
        """Its short name; empty: the last component of its program's path."""
        ...

    @property
    def started_ns(self) -> int:
        """When it started, on the monotonic clock."""
        ...

    @property
    def outcome(self) -> object | None:
        """None while it lives."""
        ...

    @property
    def fds(self) -> FdTableView:
        """Its fds."""
        ...

    @property
    def limits(self) -> LimitsView:
        """Its caps."""
        ...

    @property
    def memory(self) -> MemoryView:
        """Its memory."""
        ...


class ProcessTableView(Protocol):
    """All processes."""

    def all(self) -> Sequence[ProcessInfo]:
        """Every process by pid."""
        ...

    def get(self, pid: int) -> ProcessInfo:
        """One process: GuestError ESRCH."""
        ...


class ProcessControl(Protocol):
    """What the kernel does for guests that can only open, read and write files."""

    def command(self, caller: Caller, text: bytes) -> bytes:
        """Run a command and answer its text: ENOENT when there is none of that name."""
        ...

    def start(self, caller: Caller, request: bytes) -> int:
        """Start the program that a request describes; its pid."""
        ...

    def new_pipe(self, flags: int) -> Description:
        """The reading end of a new pipe; `flags` are WASI fdflags."""
        ...

    def pipe_peer(self, caller: Caller, inode: int, flags: int) -> Description:
        """The writing end of a pipe whose reading end the caller holds; once: ENOENT."""
        ...

    def exit_watch(self, pid: int, flags: int) -> Description:
        """An open file that is readable once the process has ended: ENOENT."""
        ...

    def make_fifo(self, caller: Caller, text: bytes) -> None:
        """Make a named pipe: `<mode in octal> <absolute path>`."""
        ...


class ProcessView(Protocol):
    """The kernel."""

    @property
    def processes(self) -> ProcessTableView:
        """Its processes."""
        ...

    @property
    def hostname(self) -> str:
        """The container's name."""
        ...

    @property
    def namespace(self) -> Namespace:
        """Its file tree."""
        ...

    def control(self) -> ProcessControl:
        """What guests can have it do."""
        ...
