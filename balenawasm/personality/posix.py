"""The POSIX door (`balenawasm_posix`): all its functions, one table. Contract: docs/posix-door.md.

For programs whose C library was made for it: processes, signals, terminals and sockets as on Linux,
over the same kernel objects as preview 1, which a program may use beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from balenawasm.personality import (
    posix_fd,
    posix_file,
    posix_lock,
    posix_message,
    posix_path,
    posix_poll,
    posix_process,
    posix_signal,
    posix_socket,
    posix_sockopt,
    posix_terminal,
)
from balenawasm.personality.syscall import table_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.personality.syscall import Syscall

MODULE: Final = "balenawasm_posix"

TABLE: Final[Mapping[str, Syscall]] = table_of(
    posix_process.SYSCALLS,
    posix_signal.SYSCALLS,
    posix_fd.SYSCALLS,
    posix_file.SYSCALLS,
    posix_lock.SYSCALLS,
    posix_path.SYSCALLS,
    posix_poll.SYSCALLS,
    posix_socket.SYSCALLS,
    posix_message.SYSCALLS,
    posix_sockopt.SYSCALLS,
    posix_terminal.SYSCALLS,
)
"""Import name → system call, for import module `balenawasm_posix`."""
