"""WASI preview 1 (`wasi_snapshot_preview1`): all its functions, one table.

Spec: WASI `phases/snapshot/docs.md`; where that is silent, wasmtime's behaviour is the reference.
Rights are enforced: an fd without the right answers ENOTCAPABLE, and rights only shrink. Paths are
resolved beneath the directory fd they start at.

The older `wasi_unstable` lays out several records differently and is not offered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from balenawasm.personality import (
    preview1_fd,
    preview1_file,
    preview1_path,
    preview1_poll,
    preview1_process,
    preview1_sock,
)
from balenawasm.personality.syscall import table_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.personality.syscall import Syscall

TABLE: Final[Mapping[str, Syscall]] = table_of(
    preview1_process.SYSCALLS,
    preview1_fd.SYSCALLS,
    preview1_file.SYSCALLS,
    preview1_path.SYSCALLS,
    preview1_poll.SYSCALLS,
    preview1_sock.SYSCALLS,
)
"""Import name → system call, for import module `wasi_snapshot_preview1`."""
