"""What /proc and /dev see of the kernel: protocols that its kernel, process and fd table fulfil as
they are.

Every answer is a snapshot; a process may end between two questions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from balenawasm.vfs.description import Description
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


class ProcessInfo(Protocol):
    """A process, alive or waiting to be waited for."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    @property
    def parent(self) -> ProcessInfo | None:
        """Who started it, if still there."""
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
