"""Runs the commands of RUN: each in a container of its own, in a runner process of its own.

The builder never runs a guest itself. It starts a zygote with the first command and keeps it for
the build; after that a command costs a fork. The zygote ends with its channel, and takes its
runners along: so nothing runs on when the builder is killed. Files of a command are named like
those of `run` and swept like them.

To be used by one thread.
"""

from __future__ import annotations

import contextlib
import os
import select
from typing import TYPE_CHECKING

from balenawasm.errors import BalenaWasmError
from balenawasm.record import NamedTuple
from balenawasm.runtime import control
from balenawasm.runtime.bundle import Bundle, write_bundle
from balenawasm.runtime.scratch import remove_tree
from balenawasm.runtime.sweep import RUN_PREFIX, sweep_runs
from balenawasm.runtime.zygote_process import start_zygote

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from balenawasm.runtime.control import Channel
    from balenawasm.runtime.home import ContainerPaths, Home

_LONGEST_LINE = 64 << 10
"""Bytes after which a line is passed on although it has not ended."""
_READ = 64 << 10


class CommandError(BalenaWasmError):
    """Commands cannot be run at all: it is no fault of theirs."""


class CommandEnd(NamedTuple):
    """How a command ended: `code` as Docker counts. `started` False: there was no program to start,
    and `reason` says why. Else `reason` says in words how it ended.
    """

    code: int
    reason: str
    hint: str | None = None
    started: bool = True


class Place(NamedTuple):
    """Where one command's container has its files, for as long as its upper directory is needed."""

    id: str
    paths: ContainerPaths
    network: Path


class CommandRunner:
    """Runs the commands of one build, one at a time; `close` ends what still runs."""

    def __init__(self, home: Home | None) -> None:
        """`home` None is for builds without commands."""
        self._home = home
        self._zygote: tuple[subprocess.Popen[bytes], Channel] | None = None

    def prepare(self) -> None:
        """Begin to get ready; returns at once. A command is coming and other work goes first."""
        if self._home is not None and self._zygote is None:
            sweep_runs(self._home)
            # What a command makes is the same whoever builds: the guests' own umask counts.
            self._zygote = start_zygote(self._home, own_session=True, umask=0)

    def close(self) -> None:
        """End the zygote and every command, and wait until they are gone."""
        if self._zygote is None:
            return
        process, channel = self._zygote
        self._zygote = None
        channel.close()
        process.wait()

    @contextlib.contextmanager
    def place(self) -> Iterator[Place]:
        """A place for one command; its files are removed at the end, after what still runs."""
        if self._home is None:
            raise CommandError("commands need a state directory to run in")
        name = f"{RUN_PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
        place = Place(name, self._home.container(name), self._home.network(name))
        try:
            yield place
        except BaseException:
            self.close()
            raise
        finally:
            for path in (place.paths.directory, place.paths.run, place.network):
                # Removing must not hide what happened; what stays is swept later.
                with contextlib.suppress(OSError):
                    remove_tree(path)

    def run(self, place: Place, bundle: Bundle, show: Callable[[str], None]) -> CommandEnd:
        """Run a command to its end; `show` takes each line of its output.

        `bundle` has the place's id and an `output_pipe`. Raises ControlError, BundleError, OSError.
        """
        self.prepare()
        write_bundle(place.paths, bundle)
        assert self._zygote is not None  # noqa: S101 - prepare made it
        channel = self._zygote[1]
        output, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                channel.send(control.Start(id=place.id), [theirs])
            finally:
                os.close(theirs)
            return _follow(channel, output, _Lines(show))
        finally:
            os.close(output)


class _Lines:
    """Cuts output into lines."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._rest = b""

    def add(self, data: bytes) -> None:
        """Take some more output."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._show(line.decode(errors="replace"))
        if len(self._rest) > _LONGEST_LINE:
            self.end()

    def end(self) -> None:
        """There is no more, or it has been long enough."""
        if self._rest:
            self._show(self._rest.decode(errors="replace"))
        self._rest = b""


def _follow(channel: Channel, output: int, lines: _Lines) -> CommandEnd:
    """Pass output on until the command has ended and its runner, which holds the pipe, is gone."""
    end: CommandEnd | None = None
    poll = select.poll()
    poll.register(output, select.POLLIN)
    poll.register(channel, select.POLLIN)
    open_output = True
    while open_output or end is None:
        for fd, _ in poll.poll():
            if fd == output:
                data = os.read(output, _READ)
                lines.add(data)
                if not data:
                    open_output = False
                    poll.unregister(output)
            else:
                end = _next_news(channel, lines) or end
    lines.end()
    return end


def _next_news(channel: Channel, lines: _Lines) -> CommandEnd | None:
    """Take one message of the zygote; returns the command's end, if it is that."""
    received = channel.receive()
    if received is None:
        raise CommandError("the process that runs commands has ended unexpectedly")
    message, fds = received
    control.close_all(fds)
    if isinstance(message, control.Progress):
        lines.end()
        lines.add(f"balenawasm: {message.text}\n".encode())
    elif isinstance(message, control.Failed):
        return CommandEnd(message.code, message.message, message.hint, started=False)
    elif isinstance(message, control.Exited):
        return CommandEnd(message.code, message.reason)
    return None
