"""What a guest writes to /proc/spawn: the description of a program to start, and its start.

A request is `key=value` fields, each ended by a NUL, so that values may hold any other byte; the
keys are docs/guest-files.md's. It comes from a guest: everything is checked, and its size is capped
by the file it is written to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from balenawasm.kernel.outcome import ExecRequest
from balenawasm.kernel.program import Program, find_program
from balenawasm.kernel.signals import HIGHEST, bit_of
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.kernel.fd_table import FdEntry
    from balenawasm.kernel.kernel import Kernel
    from balenawasm.kernel.process import Process

FDS_VARIABLE: Final = b"BALENAWASM_FDS"
"""Tells a child which fds above 2 it was given: `WANTED=ACTUAL`, joined by commas."""
_NUMBER_DIGITS: Final = 10


class SpawnRequest:
    """A request, as far as it was read; the defaults are those of the contract."""

    def __init__(self) -> None:
        self.arguments: list[bytes] = []
        self.environ: list[bytes] | None = None
        self.programs: list[bytes] = []
        self.cwd: bytes | None = None
        self.fds: dict[int, int] | None = None
        """The child's number → the caller's."""
        self.group: int | None = None
        self.new_session = False
        self.replace = False
        self.reset_signals = 0
        self.mask: int | None = None


def parse_request(document: bytes) -> SpawnRequest:
    """Read a request: EINVAL for what is not one."""
    request = SpawnRequest()
    fields = document.split(b"\0")
    if fields.pop():  # the last field's NUL is missing
        raise GuestError(Errno.EINVAL)
    for field in fields:
        key, separator, value = field.partition(b"=")
        take = _FIELDS.get(key)
        if take is None or not separator:
            raise GuestError(Errno.EINVAL)
        take(request, value)
    if not request.arguments:
        raise GuestError(Errno.EINVAL)
    return request


def start_requested(kernel: Kernel, caller: Process, document: bytes) -> int:
    """Start the program; its pid. With `replace` it takes the caller's place and nothing returns.

    GuestError: EINVAL, EBADF (an fd), and what `Kernel.spawn` and finding the program give.
    """
    request = parse_request(document)
    cwd = _absolute(caller.cwd, request.cwd)
    fds, passed = _child_fds(caller, {0: 0, 1: 1, 2: 2} if request.fds is None else request.fds)
    inherited = request.environ is None
    environ = _environment(caller.environ if request.environ is None else request.environ, cwd)
    if passed:
        environ.append(FDS_VARIABLE + b"=" + passed)
    program = _find(kernel, caller, request, cwd, environ)
    if request.replace:
        _replace(kernel, caller, request, fds, program, environ, cwd)
    del inherited
    return kernel.spawn(
        request.arguments,
        environ,
        cwd,
        fds,
        parent=caller,
        preopens=(),
        program=program,
        pgid=request.group,
        new_session=request.new_session,
        reset_signals=request.reset_signals,
        mask=request.mask,
    ).pid


def _replace(
    kernel: Kernel,
    caller: Process,
    request: SpawnRequest,
    fds: dict[int, FdEntry],
    program: Program,
    environ: list[bytes],
    cwd: bytes,
) -> NoReturn:
    """execve(2): the fds change once nothing can fail any more."""
    held = [entry.description for entry in fds.values()]
    for description in held:
        description.retain()
    try:
        kernel.execute(caller, program.path, request.arguments, environ, cwd)
    except ExecRequest:
        for fd in caller.fds:
            if fd not in fds:
                caller.fds.remove(fd)
        for fd, entry in fds.items():
            caller.fds.put(fd, entry)
        raise
    finally:
        for description in held:
            description.release()
    raise GuestError(Errno.EIO)  # a process that shares its parent's memory has no guest files


def _child_fds(caller: Process, wanted: dict[int, int]) -> tuple[dict[int, FdEntry], bytes]:
    """The child's fd table and what FDS_VARIABLE says of it.

    Directories that the caller found preopened come first: C libraries look for them from fd 3 on
    and stop at the first number that is none. An fd that would be in their way gets the next free
    number behind them.
    """
    table = {
        fd: entry.shared()
        for fd, entry in caller.fds.entries().items()
        if entry.prestat is not None and fd not in (0, 1, 2)
    }
    preopened = set(table)
    moved: list[tuple[int, FdEntry]] = []
    passed: list[bytes] = []
    for number, source in wanted.items():
        if number >= caller.limits.open_files:
            raise GuestError(Errno.EBADF)
        entry = caller.fds.get(source).shared()
        if number in preopened:
            moved.append((number, entry))
            continue
        table[number] = entry
        if number > 2:
            passed.append(b"%d=%d" % (number, number))
    free = max(table, default=2) + 1
    if free + len(moved) > caller.limits.open_files:
        raise GuestError(Errno.EMFILE)
    for number, entry in moved:
        table[free] = entry
        passed.append(b"%d=%d" % (number, free))
        free += 1
    return table, b",".join(passed)


def _find(
    kernel: Kernel, caller: Process, request: SpawnRequest, cwd: bytes, environ: list[bytes]
) -> Program:
    """The first of the programs that is there."""
    failure = Errno.ENOENT
    for name in request.programs or request.arguments[:1]:
        try:
            return find_program(kernel.namespace, caller, name, cwd=cwd, environ=environ)
        except GuestError as error:
            if error.errno not in (Errno.ENOENT, Errno.ENOTDIR):
                failure = error.errno
                if error.errno is not Errno.EACCES:
                    break
    raise GuestError(failure)


def _environment(environ: tuple[bytes, ...] | list[bytes], cwd: bytes) -> list[bytes]:
    """The child's, with its working directory: a preview 1 program learns it in no other way."""
    kept = [e for e in environ if not e.startswith((b"PWD=", FDS_VARIABLE + b"="))]
    return [*kept, b"PWD=" + cwd]


def _absolute(base: bytes, path: bytes | None) -> bytes:
    if path is None:
        return base
    if not path:
        raise GuestError(Errno.ENOENT)
    return path if path.startswith(b"/") else base.rstrip(b"/") + b"/" + path


# Fields.


def number_in(text: bytes) -> int:
    """A number of the contract, decimal and not negative: EINVAL."""
    if not text.isdigit() or len(text) > _NUMBER_DIGITS:
        raise GuestError(Errno.EINVAL)
    return int(text)


def _take_fd(request: SpawnRequest, value: bytes) -> None:
    number, separator, source = value.partition(b":")
    if request.fds is None:
        request.fds = {}
    if separator:
        request.fds[number_in(number)] = number_in(source)
    elif value:
        raise GuestError(Errno.EINVAL)


def _take_environ(request: SpawnRequest, value: bytes) -> None:
    if request.environ is None:
        request.environ = []
    if value:
        request.environ.append(value)


def _take_session(request: SpawnRequest, value: bytes) -> None:
    if value != b"new":
        raise GuestError(Errno.EINVAL)
    request.new_session = True


def _take_replace(request: SpawnRequest, value: bytes) -> None:
    if value != b"self":
        raise GuestError(Errno.EINVAL)
    request.replace = True


def _take_group(request: SpawnRequest, value: bytes) -> None:
    request.group = number_in(value)


def _take_cwd(request: SpawnRequest, value: bytes) -> None:
    request.cwd = value


def _signals(value: bytes) -> int:
    signals = 0
    for text in value.split(b",") if value else ():
        signo = number_in(text)
        if not 1 <= signo <= HIGHEST:
            raise GuestError(Errno.EINVAL)
        signals |= bit_of(signo)
    return signals


def _take_reset(request: SpawnRequest, value: bytes) -> None:
    request.reset_signals |= _signals(value)


def _take_mask(request: SpawnRequest, value: bytes) -> None:
    request.mask = _signals(value)


_FIELDS: Final[dict[bytes, Callable[[SpawnRequest, bytes], None]]] = {
    b"arg": lambda request, value: request.arguments.append(value),
    b"cwd": _take_cwd,
    b"env": _take_environ,
    b"fd": _take_fd,
    b"group": _take_group,
    b"program": lambda request, value: request.programs.append(value),
    b"replace": _take_replace,
    b"session": _take_session,
    b"sigdefault": _take_reset,
    b"sigmask": _take_mask,
}
