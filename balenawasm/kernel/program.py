"""Finding a program: `argv[0]` through PATH in a namespace, and what kind of file it is.

Execute permission is not asked for: WebAssembly modules come from package registries without it,
and a file system may not have it at all. A file is a program when it starts with the WebAssembly
magic number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from balenawasm.record import NamedTuple
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from balenawasm.vfs.node import Caller, Content
    from balenawasm.vfs.path import Namespace

WASM_MAGIC: Final = b"\0asm"
DEFAULT_PATH: Final = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Docker's, for a process without PATH."""


class Program(NamedTuple):
    """A program that was found."""

    path: bytes
    """Absolute, links resolved."""
    content: Content


def find_program(
    namespace: Namespace, caller: Caller, name: bytes, *, cwd: bytes, environ: Sequence[bytes]
) -> Program:
    """Find a program as execvp(3) does.

    ENOENT: nothing there; EACCES: no regular file; ENOEXEC: no WebAssembly module (scripts: not
    yet).
    """
    refused: GuestError | None = None
    for candidate in _candidates(name, cwd, environ):
        try:
            return _load(namespace, caller, candidate)
        except GuestError as error:
            if error.errno not in (Errno.ENOENT, Errno.ENOTDIR, Errno.EACCES):
                raise
            if error.errno == Errno.EACCES or refused is None:
                refused = error
    if refused is not None and refused.errno == Errno.ENOTDIR and b"/" not in name:
        refused = None
    raise refused if refused is not None else GuestError(Errno.ENOENT)


def _candidates(name: bytes, cwd: bytes, environ: Sequence[bytes]) -> Iterator[bytes]:
    if not name:
        return
    if b"/" in name:
        yield _below(cwd, name)
        return
    path = next((e[5:] for e in environ if e.startswith(b"PATH=")), DEFAULT_PATH)
    for directory in path.split(b":"):
        yield _below(cwd, directory + b"/" + name if directory else name)


def _below(cwd: bytes, path: bytes) -> bytes:
    return path if path.startswith(b"/") else cwd.rstrip(b"/") + b"/" + path


def _load(namespace: Namespace, caller: Caller, path: bytes) -> Program:
    location = namespace.resolve(caller, namespace.root, path, follow=True)
    if location.node.filetype != Filetype.REGULAR_FILE:
        raise GuestError(Errno.EACCES)
    content = location.node.content()
    if bytes(content.data[:4]) != WASM_MAGIC:
        raise GuestError(Errno.ENOEXEC)
    return Program(location.path(), content)
