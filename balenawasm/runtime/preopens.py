"""Directories that guests are given beside `/`.

An interpreter that carries a file system of its own for `/usr`, say, asks the host only for what
lies below a longer preopened path. So its image names directories to hand over (the label
`io.balenawasm.preopens`): `DIR`, `DIR/*` for each directory in DIR, `!DIR` for one to leave out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.wasi.errno import GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from balenawasm.vfs.node import Caller
    from balenawasm.vfs.path import Namespace

MAXIMUM = 64
"""Preopened directories; the rest is left out, for each costs a start some calls."""


def existing_directories(
    namespace: Namespace, caller: Caller, patterns: Sequence[bytes]
) -> tuple[bytes, ...]:
    """Return the directories that the patterns name and that exist, in their order."""
    left_out = {pattern[1:] for pattern in patterns if pattern.startswith(b"!")}
    found: dict[bytes, None] = {}
    for pattern in patterns:
        if not pattern.startswith(b"!"):
            found.update(dict.fromkeys(_matches(namespace, caller, pattern)))
    return tuple(name for name in found if name not in left_out)[:MAXIMUM]


def _matches(namespace: Namespace, caller: Caller, pattern: bytes) -> Iterator[bytes]:
    parent, star, rest = pattern.rpartition(b"/*")
    directory = parent if star and not rest else pattern
    try:
        location = namespace.resolve(caller, namespace.root, directory or b"/", follow=True)
        if location.node.filetype is not Filetype.DIRECTORY:
            return
        if directory is pattern:
            yield pattern
            return
        entries = namespace.children(caller, location)
    except GuestError:
        return
    for entry in sorted(entries):
        if entry.filetype is Filetype.DIRECTORY:
            yield directory + b"/" + entry.name
