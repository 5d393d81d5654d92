"""A runner: the host process in which one container lives, from its bundle to its exit record.

The guests run on threads; the main thread serves the control socket and otherwise sleeps. Nothing
here may keep the interpreter busy: each host call of a guest needs its lock.

When process 1 ends, everything in the container ends, the outcome is written to `exit.json`, and
the runner's own process ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

from balenawasm.kernel.outcome import Trapped
from balenawasm.kernel.stream import Stream
from balenawasm.record import NamedTuple
from balenawasm.runtime import control
from balenawasm.runtime.container import Container
from balenawasm.runtime.control_server import ControlServer, PassedStream, standard_streams
from balenawasm.runtime.exitrecord import ExitRecord, StartError, describe, write_exit_record
from balenawasm.runtime.hostprocess import allow_many_fds
from balenawasm.runtime.logs import LogStream, LogWriter

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from balenawasm.engine.compiler import CompileProgress
    from balenawasm.engine.machine import Machine
    from balenawasm.kernel.outcome import Outcome
    from balenawasm.runtime.bundle import Bundle
    from balenawasm.runtime.control import Channel, Message
    from balenawasm.runtime.home import ContainerPaths
    from balenawasm.vfs.description import Description

SWITCH_INTERVAL = 0.0002
"""Seconds after which a thread gives up the interpreter to a host call that waits for it."""
SYSTEM_STREAM = "system"
"""The log stream of lines that balenawasm itself writes about the container."""


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


def log_streams(path: Path) -> Streams:
    """Streams of a service: no input, output to the log file."""
    writer = LogWriter(path)
    fds: dict[int, Description] = {
        0: _null(),
        1: LogStream(writer, "stdout"),
        2: LogStream(writer, "stderr"),
    }
    return _retained(Streams(fds, lambda line: _log_system(writer, line), writer))


def passed_streams(*, stdin: bool, tty: bool, log: Callable[[str], None]) -> Streams:
    """Streams of `run`: this process's own; no input unless `stdin`, a terminal's if `tty`."""
    streams = (
        Stream.inherited(0) if stdin else _null(),
        Stream.inherited(1),
        Stream.inherited(2),
    )
    return _retained(Streams(standard_streams(streams, tty=tty), log, None))


def run_container(
    bundle: Bundle,
    paths: ContainerPaths,
    machine: Machine,
    streams: Streams,
    *,
    report: Callable[[Message], None],
    listeners: Sequence[int] = (),
    control_socket: bool = True,
    client: Channel | None = None,
) -> ExitRecord:
    """Run a container to its end in this process, and write its exit record.

    `report` gets Progress, then Running and at last Exited, or Failed; `client` is one more control
    connection, which is closed at the end. With `control_socket` others may connect, too.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    allow_many_fds()
    started_at = time.time()
    paths.exit.unlink(missing_ok=True)
    try:
        listener = _listen(paths) if control_socket else None
        container = Container(
            bundle,
            paths,
            machine,
            listeners=listeners,
            log=streams.log,
            dropped_lines=streams.dropped_lines,
        )
        server = ControlServer(container, listener)
        identity = container.start(streams.fds, _progress(bundle.id, report))
    except StartError as error:
        # Without a log somebody waits for the report and shows it.
        if bundle.log is not None:
            streams.log(error.message)
        streams.close()
        record = _record_failure(paths, error, started_at)
        report(_failed(bundle, error))
        return record
    report(control.Running(id=bundle.id, pid=os.getpid()))
    if identity is not None:
        report(control.Loaded(identity=identity))
    if client is not None:
        server.add(client)
    container.init.on_exit.append(lambda: server.call(server.stop))
    server.run()
    outcome = container.init.outcome or Trapped("process 1 has no outcome")
    container.finish()
    streams.close()
    record = _record_end(paths, outcome, started_at)
    exited = control.Exited(id=bundle.id, code=record.code, reason=record.reason)
    server.close(exited)
    report(exited)
    return record


def _failed(bundle: Bundle, error: StartError) -> control.Failed:
    return control.Failed(
        id=bundle.id, message=error.message, hint=error.hint, code=error.exit_code
    )


def _listen(paths: ContainerPaths) -> socket.socket:
    try:
        paths.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        return control.listen(paths.control_socket)
    except OSError as error:
        raise StartError(f"cannot make the control socket in {paths.run}: {error}") from error


def _record_failure(paths: ContainerPaths, error: StartError, started_at: float) -> ExitRecord:
    record = ExitRecord(
        code=error.exit_code,
        reason=error.message,
        started_at=started_at,
        finished_at=time.time(),
    )
    _write_record(paths, record)
    return record


def _record_end(paths: ContainerPaths, outcome: Outcome, started_at: float) -> ExitRecord:
    record = ExitRecord(
        code=outcome.status,
        reason=describe(outcome),
        started_at=started_at,
        finished_at=time.time(),
    )
    _write_record(paths, record)
    return record


def _write_record(paths: ContainerPaths, record: ExitRecord) -> None:
    """Write it if possible: on a full disk whoever started the container is told all the same."""
    with contextlib.suppress(OSError):
        paths.directory.mkdir(mode=0o700, exist_ok=True)
        write_exit_record(paths.exit, record)


def _progress(
    container_id: str, report: Callable[[Message], None]
) -> Callable[[CompileProgress], None]:
    """Turn the compiler's ticks into one message a second."""
    next_second = 0.3  # what is quick needs no announcement

    def tick(progress: CompileProgress) -> None:
        nonlocal next_second
        if progress.elapsed >= next_second:
            next_second = progress.elapsed + 1.0
            text = f"compiling {progress.name} to native code, {progress.elapsed:.0f} s"
            report(control.Progress(id=container_id, text=text))

    return tick


def _null() -> Stream:
    return PassedStream.inherited(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))


def _retained(streams: Streams) -> Streams:
    for description in streams.fds.values():
        description.retain()
    return streams


def _log_system(writer: LogWriter, text: str) -> None:
    lines = text.encode("utf-8", "replace").splitlines()
    writer.append(SYSTEM_STREAM, [(line, False) for line in lines])
