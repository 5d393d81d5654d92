"""A runner: the host process in which one container lives, from its bundle to its exit record.

The guests run on threads; the main thread serves the control socket and otherwise sleeps. Nothing
here may keep the interpreter busy: each host call of a guest needs its lock.

When process 1 ends, everything in the container ends, the outcome is written to `exit.json`, and
the runner's own process ends.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.kernel.outcome import Trapped
from balenawasm.kernel.stream import Stream
from balenawasm.runtime import control
from balenawasm.runtime.compile_notice import compile_notice
from balenawasm.runtime.container import Container
from balenawasm.runtime.control_server import ControlServer
from balenawasm.runtime.exitrecord import ExitRecord, StartError, describe, write_exit_record
from balenawasm.runtime.hostprocess import prepare_for_guests
from balenawasm.runtime.logs import SYSTEM_STREAM, LogStream, LogWriter
from balenawasm.runtime.streams import Streams, null_stream, piped_output, retained

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from balenawasm.engine.compiler import CompileProgress
    from balenawasm.engine.machine import Machine
    from balenawasm.kernel.outcome import Outcome
    from balenawasm.runtime.bundle import Bundle
    from balenawasm.runtime.control import Message
    from balenawasm.runtime.home import ContainerPaths
    from balenawasm.vfs.description import Description


def service_streams(bundle: Bundle, log: Path, pipes: Sequence[int] = ()) -> Streams:
    """Streams of a service: no input, and output to the log file, unless they are ends of `pipes`,
    which the streams own from now on. ControlError when these are not what the bundle says.
    """
    if len(pipes) != bundle.stdin_pipe + bundle.stdout_pipe + bundle.output_pipe:
        raise control.ControlError("the pipes of a service are missing")
    if bundle.output_pipe:
        return piped_output(pipes[-1])
    limits = bundle.log_limits
    writer = LogWriter(
        Path(bundle.log) if bundle.log is not None else log,
        size=limits.file_bytes,
        files=limits.files,
        rate=limits.lines_per_second,
    )
    fds: dict[int, Description] = {
        0: Stream(pipes[0], writable=False) if bundle.stdin_pipe else null_stream(),
        1: Stream(pipes[-1], readable=False) if bundle.stdout_pipe else LogStream(writer, "stdout"),
        2: LogStream(writer, "stderr"),
    }
    if bundle.tty and not pipes:
        from balenawasm.runtime.logged_terminal import LoggedTerminal  # noqa: PLC0415 - seldom used

        fds[0].close()
        fds = dict.fromkeys(range(3), LoggedTerminal(LogStream(writer, "stdout")))
    return retained(Streams(fds, lambda line: _log_system(writer, line), writer))


def run_container(
    bundle: Bundle,
    paths: ContainerPaths,
    machine: Machine,
    streams: Streams,
    *,
    report: Callable[[Message], None],
    listeners: Sequence[int] = (),
) -> ExitRecord:
    """Run a container to its end in this process, and write its exit record.

    `report` gets Progress, then Running and at last Exited, or Failed.
    """
    prepare_for_guests()
    started_at = time.time()
    paths.exit.unlink(missing_ok=True)
    try:
        listener = _listen(paths)
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
    return compile_notice(lambda text: report(control.Progress(id=container_id, text=text)))


def _log_system(writer: LogWriter, text: str) -> None:
    lines = text.encode("utf-8", "replace").splitlines()
    writer.append(SYSTEM_STREAM, [(line, False) for line in lines])
