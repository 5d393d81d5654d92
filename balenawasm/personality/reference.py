"""The reference of system calls, written from their tables: docs/syscalls.md, and the list of
functions in docs/posix-door.md.

`scripts/write-syscalls` renews it; a test compares.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.personality.syscall import Syscall

_HEAD: Final = """\
# System calls

What guests can import, by import module. Written from the tables in `balenawasm/personality` by
`scripts/write-syscalls`; do not edit.

Common to all: a pointer outside the guest's memory is EFAULT, and then nothing was done; an fd that
is not open is EBADF; an fd without the right a call needs is ENOTCAPABLE; unknown flags are EINVAL.
Paths are bytes of up to 4096, names of up to 255 (ENAMETOOLONG); they start at a directory fd and
stay beneath it (EPERM), while the targets of symbolic links may lead anywhere in the container.
A deadly signal interrupts every call that waits.
"""


def markdown(tables: Mapping[str, Mapping[str, Syscall]]) -> str:
    """The whole document."""
    parts = [_HEAD]
    for module, table in tables.items():
        full = sum(syscall.support == "full" for syscall in table.values())
        parts.append(f"\n## `{module}`\n\n{len(table)} functions, {full} of them in full.\n")
        parts.append("\n| function | support | note |\n|---|---|---|\n")
        parts.extend(
            f"| `{name}` | {table[name].support} | {table[name].note} |\n" for name in sorted(table)
        )
    return "".join(parts)


_BEGIN: Final = "<!-- functions: written by scripts/write-syscalls; do not edit -->\n"
_END: Final = "<!-- end of functions -->"


def with_functions(document: str, table: Mapping[str, Syscall]) -> str:
    """A document whose list of functions, between its two comments, is that of the table."""
    head, begin, rest = document.partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not begin or not end:
        raise ValueError("the document has no place for its list of functions")
    lines = [f"\n{len(table)} functions.\n\n| function | what |\n|---|---|\n"]
    for name in sorted(table):
        syscall = table[name]
        call = f"{name}({_parameters(syscall)})"
        what = " ".join((syscall.handler.__doc__ or "").split())
        note = f" *{syscall.note}*" if syscall.note else ""
        lines.append(f"| `{call}` | {what}{note} |\n")
    return "".join((head, begin, *lines, "\n", end, tail))


def _parameters(syscall: Syscall) -> str:
    names = list(inspect.signature(syscall.handler).parameters)[1:]
    pairs = zip(names, syscall.signature, strict=True)
    return ", ".join(name.strip("_") + (": i64" if kind == "q" else "") for name, kind in pairs)
