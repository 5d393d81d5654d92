"""The POSIX door: posix_spawn in one call: a child of vfork that does what the caller lists and
then runs a program.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.kernel import ARGUMENTS_MAX
from balenawasm.kernel.signals import DEFAULT, Kind, members
from balenawasm.personality import linux
from balenawasm.personality.posix_call import read_path, read_strings
from balenawasm.personality.posix_fd import close, dup2
from balenawasm.personality.posix_path import chdir, fchdir, openat
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process

ACTION: Final = struct.Struct("<IIIIII")
"""Kind, fd, then by kind: dup2: target; open: path, length, flags, mode; chdir: path, length."""
ATTRIBUTES: Final = struct.Struct("<IIQQ")
"""Flags (POSIX_SPAWN_*), group, signals put to their default, blocked signals."""
CLOSE, DUP2, OPEN, CHDIR, FCHDIR = range(5)
_ACTIONS_MAX: Final = 4096
_KNOWN: Final = (
    linux.SPAWN_SETPGROUP
    | linux.SPAWN_SETSIGDEF
    | linux.SPAWN_SETSIGMASK
    | linux.SPAWN_SETSID
    | linux.SPAWN_RESETIDS
)
_FAILED: Final = 127


def spawn(
    process: Process,
    path: int,
    length: int,
    argv: int,
    envp: int,
    actions: int,
    count: int,
    attributes: int,
) -> int:
    """Start a program in a new process; answers its pid. An action that fails fails the call."""
    memory = process.memory
    name = read_path(process, path, length)
    arguments = read_strings(memory, argv, ARGUMENTS_MAX)
    variables = read_strings(memory, envp, ARGUMENTS_MAX)
    if count > _ACTIONS_MAX:
        raise GuestError(Errno.EINVAL)
    wanted = list(ACTION.iter_unpack(memory.read(actions, count * ACTION.size)))
    chosen = memory.unpack(ATTRIBUTES, attributes) if attributes else (0, 0, 0, 0)
    if chosen[0] & ~_KNOWN:
        raise GuestError(Errno.EINVAL)
    kernel = process.kernel
    child = kernel.vfork(process)
    try:
        _prepare(child, *chosen)
        for action in wanted:
            _apply(child, *action)
        kernel.execute(child, name, arguments or [b""], variables)
    except BaseException:
        kernel.vfork_exit(child, _FAILED)
        kernel.processes.wait(process, child.pid, block=False)
        raise
    return child.pid


def _prepare(child: Process, flags: int, pgid: int, defaults: int, mask: int) -> None:
    processes = child.kernel.processes
    if flags & linux.SPAWN_SETSID:
        processes.setsid(child)
    if flags & linux.SPAWN_SETPGROUP:
        if pgid >> 31:
            raise GuestError(Errno.EINVAL)
        processes.setpgid(child, 0, pgid)
    if flags & linux.SPAWN_SETSIGMASK:
        child.signals.set_mask(mask)
    if flags & linux.SPAWN_SETSIGDEF:
        for signo in members(defaults):
            if child.signals.action(signo).kind is not Kind.DEFAULT:
                child.signals.set_action(signo, DEFAULT)


def _apply(child: Process, kind: int, fd: int, a: int, b: int, c: int, d: int) -> None:
    if kind == CLOSE:
        if fd in child.fds:  # closing what is not open is no error here
            close(child, fd)
    elif kind == DUP2:
        dup2(child, fd, a)
        child.fds.get(a).cloexec = False
    elif kind == OPEN:
        opened = openat(child, linux.AT_FDCWD, a, b, c, d)
        if opened != fd:
            entry = child.fds.get(opened)
            child.fds.put(fd, entry.shared())
            child.fds.get(fd).cloexec = entry.cloexec
            close(child, opened)
    elif kind == CHDIR:
        chdir(child, a, b)
    elif kind == FCHDIR:
        fchdir(child, fd)
    else:
        raise GuestError(Errno.EINVAL)
