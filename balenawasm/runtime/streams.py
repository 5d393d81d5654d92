"""The standard streams of a container's process 1 and of processes that `exec` starts."""

from __future__ import annotations

import contextlib
import os
import select
from typing import TYPE_CHECKING

from balenawasm.kernel.stream import Stream
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balenawasm.runtime.logs import LogWriter
    from balenawasm.vfs.description import Description


class PassedStream(Stream):
    """A stream over an fd that is ours to close while its open file is shared with others.

    That is often a terminal: setting it non-blocking, as Stream does with its own, would surprise
    the sender's shell.
    """

    def close(self) -> None:
        """Close the fd."""
        os.close(self.host_fd)


class Streams(NamedTuple):
    """Process 1's standard streams, and where lines about the container go."""

    fds: dict[int, Description]
    log: Callable[[str], None]
    writer: LogWriter | None

    def dropped_lines(self) -> int:
        """How many lines the log has lost."""
        return self.writer.dropped if self.writer is not None else 0

    def close(self) -> None:
        """Give the streams back, which writes what is left of unfinished log lines."""
        for description in self.fds.values():
            description.release()
        if self.writer is not None:
            self.writer.close()


def standard_streams(streams: Sequence[Stream]) -> dict[int, Description]:
    """Standard input, output and error as a program gets them without a terminal of its own.

    A terminal among the outputs is none to read from: what the user types is for others.
    """
    for stream in streams[1:]:
        stream.readable = False
    return dict(enumerate(streams))


def received_streams(fds: Sequence[int], *, tty: bool) -> dict[int, Description]:
    """Standard streams over fds that came with a message and are theirs from now on."""
    if tty and os.isatty(fds[0]):
        streams = terminal_streams(fds[0])
        for fd in fds:
            os.close(fd)
        return streams
    return standard_streams([PassedStream.inherited(fd) for fd in fds])


def terminal_streams(fd: int) -> dict[int, Description]:
    """Standard streams that are one open terminal, that of the host's `fd`."""
    from balenawasm.kernel.terminal import open_terminal  # noqa: PLC0415 - only for -t

    return dict.fromkeys(range(3), open_terminal(fd))


def passed_streams(*, stdin: bool, tty: bool, log: Callable[[str], None]) -> Streams:
    """Streams of `run`: this process's own; no input unless `stdin`, a terminal if `tty`."""
    if tty and os.isatty(0):
        return retained(Streams(terminal_streams(0), log, None))
    streams = (
        Stream.inherited(0) if stdin else null_stream(),
        Stream.inherited(1),
        Stream.inherited(2),
    )
    return retained(Streams(standard_streams(streams), log, None))


def piped_output(pipe: int) -> Streams:
    """Streams of a build's command: no input, and one pipe, which they own, for both outputs, so
    that what is written keeps its order. Lines about the container go there, too.
    """
    output = Stream(pipe, readable=False)
    fds: dict[int, Description] = {0: null_stream(), 1: output, 2: output}
    return retained(Streams(fds, lambda line: _write_line(pipe, line), None))


def _write_line(pipe: int, line: str) -> None:
    """Write a whole line to a non-blocking pipe; nobody reading is no error."""
    rest = f"balenawasm: {line}\n".encode(errors="replace")
    ready = select.poll()
    ready.register(pipe, select.POLLOUT)
    with contextlib.suppress(OSError):
        while rest:
            ready.poll()
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(pipe, rest) :]


def null_stream() -> Stream:
    """/dev/null."""
    return PassedStream.inherited(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))


def retained(streams: Streams) -> Streams:
    """Keep the descriptions until `Streams.close`."""
    for description in streams.fds.values():
        description.retain()
    return streams
