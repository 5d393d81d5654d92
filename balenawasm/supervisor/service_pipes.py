"""Pipes between services: one service's standard output is another's standard input.

The supervisor makes each pipe and keeps both of its ends open, so that either side may be restarted
without the other one noticing; a runner gets the end it needs when it is started. No data comes
through here. An end is closed when the service that used it is over: the reader then finds the end
of the input behind what is still in the pipe, the writer EPIPE. Should the service be started
again, the end is opened again from the other one, and what is in the pipe stays. When both ends are
closed the pipe is gone, and the next start of either service makes a new one.

Belongs to the event loop's thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from balenawasm.supervisor.target_state import ProjectTarget, ServiceTarget


class ServicePipes:
    """The pipes of one project."""

    def __init__(self) -> None:
        self._pipes: dict[tuple[str, str], _Pipe] = {}
        """By (writer, reader)."""

    def ends_for(self, service: ServiceTarget) -> tuple[int, ...]:
        """The fds for a container of `service` that is about to start: standard input's, then
        standard output's, as far as they are pipes. They stay ours. OSError.
        """
        fds = []
        if service.stdin_from:
            fds.append(self._pipe(service.stdin_from, service.name).open_read())
        if service.stdout_to:
            fds.append(self._pipe(service.name, service.stdout_to).open_write())
        return tuple(fds)

    def settle(self, target: ProjectTarget | None, over: Collection[str]) -> None:
        """Close the ends of services that are over, and pipes that the target does not have."""
        wanted = {
            (service.stdin_from, service.name)
            for service in (target.services if target is not None else ())
        }
        for (writer, reader), pipe in list(self._pipes.items()):
            if target is not None and (writer, reader) not in wanted:
                pipe.close()
            if writer in over and pipe.written:
                pipe.close_write()
            if reader in over and pipe.read_from:
                pipe.close_read()
            if pipe.read is None and pipe.write is None:
                del self._pipes[writer, reader]

    def close(self) -> None:
        """Close everything."""
        for pipe in self._pipes.values():
            pipe.close()
        self._pipes.clear()

    def _pipe(self, writer: str, reader: str) -> _Pipe:
        pipe = self._pipes.get((writer, reader))
        if pipe is None:
            pipe = self._pipes[writer, reader] = _Pipe()
        return pipe


class _Pipe:
    """One pipe, of which at least one end is open. An end that is closed is None."""

    def __init__(self) -> None:
        self.read: int | None
        self.write: int | None
        self.read, self.write = os.pipe2(os.O_CLOEXEC)
        self.written = self.read_from = False
        """Whether the service at that end has had it: before, it cannot have ended."""

    def open_read(self) -> int:
        """The reading end, opened again if it was closed."""
        if self.read is None:
            self.read = _other_end(self.write, os.O_RDONLY)
        self.read_from = True
        return self.read

    def open_write(self) -> int:
        """The writing end, opened again if it was closed."""
        if self.write is None:
            self.write = _other_end(self.read, os.O_WRONLY)
        self.written = True
        return self.write

    def close_read(self) -> None:
        """The reader is over: writers get EPIPE."""
        if self.read is not None:
            os.close(self.read)
            self.read = None

    def close_write(self) -> None:
        """The writer is over: the reader gets the end of the input."""
        if self.write is not None:
            os.close(self.write)
            self.write = None

    def close(self) -> None:
        """Close both ends."""
        self.close_read()
        self.close_write()


def _other_end(fd: int | None, access: int) -> int:
    """Open the other end of the pipe that `fd` is one of. This never blocks: a pipe without a name
    does not wait for its other side.
    """
    return os.open(f"/proc/self/fd/{fd}", access | os.O_CLOEXEC)
