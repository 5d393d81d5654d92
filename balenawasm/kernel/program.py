"""Finding a program: `argv[0]` through PATH in a namespace, and what kind of file it is.

Execute permission is not asked for: WebAssembly modules come from package registries without it,
and a file system may not have it at all. A file is a program when it starts with the WebAssembly
magic number, or with `#!` and the path of an interpreter that is one.

Scripts as on Linux (execve(2), binfmt_script): the first line counts up to 255 bytes; what follows
the interpreter's path is one argument, blanks and all; an interpreter may be a script itself, four
levels deep at most; its path is not looked for in PATH. `#!/usr/bin/env NAME` and `env -S NAME
ARGUMENT ...` also work where there is no `env`: an image that holds one language has no other
programs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from balenawasm.record import NamedTuple
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from balenawasm.vfs.location import Location
    from balenawasm.vfs.node import Caller, Content, Node
    from balenawasm.vfs.path import Namespace

WASM_MAGIC: Final = b"\0asm"
DEFAULT_PATH: Final = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Docker's, for a process without PATH."""
DIRECTORIES_MAX: Final = 256
"""So many directories of PATH are looked into."""


_SCRIPT_MAGIC: Final = b"#!"
_LINE_MAX: Final = 255
_LEVELS_MAX: Final = 4
_BLANKS: Final = b" \t"
_ENV_PATHS: Final = (b"/usr/bin/env", b"/bin/env")


class MissingInterpreterError(GuestError):
    """A script is there, what its first line names is not: ENOENT, as execve(2) says."""

    def __init__(self, interpreter: bytes) -> None:
        super().__init__(Errno.ENOENT)
        self.interpreter = interpreter


class Program(NamedTuple):
    """A program that was found."""

    path: bytes
    """Absolute, links resolved; for a script its interpreter's."""
    content: Content
    prefix: tuple[bytes, ...] = ()
    """For a script: what stands in front of its arguments, in place of `argv[0]`."""
    name: bytes = b""
    """The last component of the path that was asked for: a link's own name, or a script's."""

    def arguments(self, argv: Sequence[bytes]) -> tuple[bytes, ...]:
        """The arguments that the program gets when `argv` was asked for."""
        return (*self.prefix, *argv[1:]) if self.prefix else tuple(argv)


def find_program(
    namespace: Namespace, caller: Caller, name: bytes, *, cwd: bytes, environ: Sequence[bytes]
) -> Program:
    """Find a program as execvp(3) does.

    ENOENT: nothing there; EACCES: no regular file, or no program and not executable either;
    ENOEXEC: executable, and neither a WebAssembly module nor a script; ELOOP: scripts that
    interpret each other.
    """
    refused: GuestError | None = None
    for candidate in _candidates(caller, name, cwd, environ):
        try:
            return load_program(namespace, caller, candidate, cwd=cwd, environ=environ)
        except GuestError as error:
            if error.errno not in (Errno.ENOENT, Errno.ENOTDIR, Errno.EACCES):
                raise
            telling = error.errno == Errno.EACCES or isinstance(error, MissingInterpreterError)
            if telling or refused is None:
                refused = error
    if refused is not None and refused.errno == Errno.ENOTDIR and b"/" not in name:
        refused = None
    raise refused if refused is not None else GuestError(Errno.ENOENT)


def _candidates(
    caller: Caller, name: bytes, cwd: bytes, environ: Sequence[bytes]
) -> Iterator[bytes]:
    """Where a program may be. A guest chose both: what is found out for each takes time, in which
    it may be killed.
    """
    caller.wait((), 0)
    if not name:
        return
    if b"/" in name:
        yield _below(cwd, name)
        return
    path = next((e[5:] for e in environ if e.startswith(b"PATH=")), DEFAULT_PATH)
    for directory in path.split(b":", DIRECTORIES_MAX)[:DIRECTORIES_MAX]:
        yield _below(cwd, directory + b"/" + name if directory else name)


def _below(cwd: bytes, path: bytes) -> bytes:
    return path if path.startswith(b"/") else cwd.rstrip(b"/") + b"/" + path


def load_program(
    namespace: Namespace, caller: Caller, path: bytes, *, cwd: bytes, environ: Sequence[bytes]
) -> Program:
    """Load the program at a path, as execve(2) does; the errors of `find_program`. `environ` is for
    scripts that go through `env`.
    """
    prefix: tuple[bytes, ...] = ()
    argument: tuple[bytes, ...] = ()
    asked = path.rpartition(b"/")[2]
    for _level in range(_LEVELS_MAX + 1):
        try:
            location = namespace.resolve(caller, namespace.root, _below(cwd, path), follow=True)
        except GuestError as error:
            if not prefix or error.errno not in (Errno.ENOENT, Errno.ENOTDIR):
                raise
            words = _env_words(argument) if path in _ENV_PATHS else ()
            if not words:
                raise MissingInterpreterError(path) from None
            path, location = _look_up(namespace, caller, words[0], cwd=cwd, environ=environ)
            prefix = (*words, *prefix[2:])
        if location.node.filetype != Filetype.REGULAR_FILE:
            raise GuestError(Errno.EACCES)
        start = _start_of(location.node, caller)
        if start.startswith(WASM_MAGIC):
            return Program(location.path(), location.node.content(), prefix, asked)
        try:
            interpreter, argument = _interpreter(start)
        except GuestError:
            if not location.node.stat().mode & 0o111:
                raise GuestError(Errno.EACCES) from None
            raise
        prefix = (interpreter, *argument, path, *prefix[1:])
        path = interpreter
    raise GuestError(Errno.ELOOP)


def _env_words(argument: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The program and its arguments that `env` would run, nothing for its other uses: `-S` alone of
    the options, no quotes, no variables.
    """
    text = b"".join(argument)
    words = tuple(text[2:].split()) if text.startswith(b"-S") else argument
    return words if words and not words[0].startswith(b"-") and b"=" not in words[0] else ()


def _look_up(
    namespace: Namespace, caller: Caller, name: bytes, *, cwd: bytes, environ: Sequence[bytes]
) -> tuple[bytes, Location]:
    """The regular file that a name means in PATH."""
    for path in _candidates(caller, name, cwd, environ):
        try:
            location = namespace.resolve(caller, namespace.root, path, follow=True)
        except GuestError as error:
            if error.errno not in (Errno.ENOENT, Errno.ENOTDIR, Errno.EACCES):
                raise
        else:
            if location.node.filetype == Filetype.REGULAR_FILE:
                return path, location
    raise MissingInterpreterError(name)


def _start_of(node: Node, caller: Caller) -> bytes:
    """The first bytes of a file: whether the whole of it is worth reading is seen there."""
    buffer = bytearray(_LINE_MAX + 1)
    description = node.open(caller, OpenFlags())
    description.retain()
    try:
        count = description.pread(caller, [memoryview(buffer)], 0)
    finally:
        description.release()
    return bytes(buffer[:count])


def _interpreter(start: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """What a script's first line says: a path, and one argument or none. ENOEXEC: no script, or the
    line is too long to know the path.
    """
    if not start.startswith(_SCRIPT_MAGIC):
        raise GuestError(Errno.ENOEXEC)
    line, newline, _ = start[len(_SCRIPT_MAGIC) : _LINE_MAX].partition(b"\n")
    line = line.partition(b"\0")[0].lstrip(_BLANKS)
    words = line.replace(b"\t", b" ").partition(b" ")
    # Cut off within the path, it would name another file.
    if not words[0] or (len(start) > _LINE_MAX and not newline and not words[1]):
        raise GuestError(Errno.ENOEXEC)
    argument = line[len(words[0]) :].strip(_BLANKS)
    return words[0], (argument,) if argument else ()
