"""How much one container's guests may use."""

from __future__ import annotations

from balenawasm.record import NamedTuple


class Limits(NamedTuple):
    """Caps of one kernel. The defaults suit one container on a small board."""

    processes: int = 1024
    """Live and unwaited processes together; more are EAGAIN."""
    open_files: int = 1024
    """Open fds of one process; more are EMFILE."""
    memory_bytes: int | None = None
    """Linear memory of all processes together; None: the 4 GiB of a 32-bit guest each."""
    stack_bytes: int = 8 << 20
    """Host stack of the thread that runs a guest; the engine's own limit for guest frames lies
    below.
    """
