"""What guests can have the kernel do through files in /proc (docs/guest-files.md): the commands of
/proc/control, pipes, and waiting for a process's end as an open file.

Implements `vfs.filesystems.process_view.ProcessControl`. Every command acts for the process that
gives it: it waits for its own children only, and names only its own fds. Arguments come from
guests: everything is checked here or by what is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from balenawasm.kernel.pipe import PipeEnd, make_pipe
from balenawasm.kernel.spawn_request import number_in, start_requested
from balenawasm.vfs.description import Description
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from balenawasm.kernel.kernel import Kernel
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.node import Caller

    _Command = tuple[int, Callable[[Kernel, Process, list[bytes]], bytes]]

_OK: Final = b"ok"
_NONE: Final = b"none"
_MODE_DIGITS: Final = 5


class Control:
    """The commands of one kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def command(self, caller: Caller, text: bytes) -> bytes:
        """Run `<word> <arguments>`. ENOENT: no such command; EINVAL: other arguments than it takes;
        and its own errors.
        """
        word, *arguments = text.split(b" ")
        count, run = COMMANDS.get(word) or _further_command(word)
        if len(arguments) != count:
            raise GuestError(Errno.EINVAL)
        return run(self._kernel, self._process(caller), arguments)

    def start(self, caller: Caller, request: bytes) -> int:
        """See spawn_request."""
        return start_requested(self._kernel, self._process(caller), request)

    def new_pipe(self, flags: int) -> Description:
        """The reading end of a new pipe."""
        reading, writing = make_pipe()
        reading.flags = writing.flags = flags
        reading.keep_peer(writing)
        return reading

    def pipe_peer(self, caller: Caller, inode: int, flags: int) -> Description:
        """The writing end, once: ENOENT, also for the pipes of others."""
        for entry in self._process(caller).fds.entries().values():
            end = entry.description
            if isinstance(end, PipeEnd) and end.ino == inode:
                peer = end.take_peer()
                peer.flags = flags
                return peer
        raise GuestError(Errno.ENOENT)

    def exit_watch(self, pid: int, flags: int) -> Description:
        """As pidfd_open(2); any process of the container may be watched."""
        try:
            return ExitWatch(self._kernel.processes.get(pid), flags)
        except GuestError:
            raise GuestError(Errno.ENOENT) from None

    def make_fifo(self, caller: Caller, text: bytes) -> None:
        """`<mode in octal> <absolute path>`: EINVAL, and mkfifo(3)'s."""
        mode, separator, path = text.partition(b" ")
        if not separator or not mode.isdigit() or len(mode) > _MODE_DIGITS:
            raise GuestError(Errno.EINVAL)
        if not path.startswith(b"/") or b"8" in mode or b"9" in mode:
            raise GuestError(Errno.EINVAL)
        namespace = self._kernel.namespace
        namespace.make_fifo(caller, namespace.root, path, mode=int(mode, 8) & 0o7777)

    def _process(self, caller: Caller) -> Process:
        return self._kernel.processes.get(caller.pid)


class ExitWatch(Description):
    """An open file that becomes readable when a process has ended. There is nothing to read."""

    writable = False

    def __init__(self, process: Process, flags: int) -> None:
        super().__init__(None, flags)
        self._process = process
        self.host_fd = process.watch_exit()

    def close(self) -> None:
        """Give the host fd back."""
        if self.host_fd >= 0:
            self.host_fd = -1
            self._process.unwatch_exit()

    def read(self, caller: Caller, buffers: Sequence[memoryview]) -> int:
        """EINVAL, as a pidfd of Linux 6.1."""
        raise GuestError(Errno.EINVAL)


# Commands.


def _further_command(word: bytes) -> _Command:
    """The commands for signals and terminals, which few programs use: ENOENT."""
    from balenawasm.kernel import signal_commands, terminal_commands  # noqa: PLC0415 - seldom used

    for commands in (signal_commands.COMMANDS, terminal_commands.COMMANDS):
        if word in commands:
            return commands[word]
    raise GuestError(Errno.ENOENT)


def _wait(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    options = set(arguments[1].split(b",")) - {b""}
    if options - {b"nohang", b"untraced", b"continued"}:
        raise GuestError(Errno.EINVAL)
    found = kernel.processes.wait(
        process,
        _signed(arguments[0]),
        block=b"nohang" not in options,
        untraced=b"untraced" in options,
        continued=b"continued" in options,
    )
    return b"0 0" if found is None else b"%d %d" % (found[0], found[1].wait_status)


def _kill(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    kernel.processes.kill(process, _signed(arguments[0]), number_in(arguments[1]))
    process.check_killed()
    return _OK


def _setpgid(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    kernel.processes.setpgid(process, number_in(arguments[0]), number_in(arguments[1]))
    return _OK


def _named_fd(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    fd, process.asked_fd = process.asked_fd, -1
    return b"%d" % fd if fd in process.fds else _NONE


def _dup2(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    source, target = map(number_in, arguments)
    entry = process.fds.get(source)
    if source != target:
        process.fds.put(target, entry.shared())
    return _OK


def _close(kernel: Kernel, process: Process, arguments: list[bytes]) -> bytes:
    process.fds.remove(number_in(arguments[0]))
    return _OK


def _signed(text: bytes) -> int:
    number = number_in(text.removeprefix(b"-"))
    return -number if text.startswith(b"-") else number


COMMANDS: Final[Mapping[bytes, tuple[int, Callable[[Kernel, Process, list[bytes]], bytes]]]] = {
    b"close": (1, _close),
    b"cputime": (0, lambda k, p, a: b"%d" % p.cpu_time_ns()),
    b"dup2": (2, _dup2),
    b"fd": (0, _named_fd),
    b"getpgid": (1, lambda k, p, a: b"%d" % k.processes.getpgid(p, number_in(a[0]))),
    b"getpid": (0, lambda k, p, a: b"%d" % p.pid),
    b"getppid": (0, lambda k, p, a: b"%d" % p.ppid),
    b"getsid": (1, lambda k, p, a: b"%d" % k.processes.getsid(p, number_in(a[0]))),
    b"kill": (2, _kill),
    b"setpgid": (2, _setpgid),
    b"setsid": (0, lambda k, p, a: b"%d" % k.processes.setsid(p)),
    b"wait": (2, _wait),
}
"""The first word of a command → how many arguments it takes and what it does."""
