"""The kernel of one container: it starts guest processes, knows them all and can end them all.

What runs a guest's code is the executor's business (engine.machine); what a guest sees of files is
the namespace's. Everything here may be called from any thread.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Protocol

from balenawasm.kernel.fd_table import FdEntry
from balenawasm.kernel.outcome import Trapped
from balenawasm.kernel.process import Process
from balenawasm.kernel.process_table import ProcessTable
from balenawasm.kernel.program import Program, find_program
from balenawasm.kernel.workers import WorkerPool
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import O_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from balenawasm.kernel.limits import Limits
    from balenawasm.vfs.description import Description
    from balenawasm.vfs.node import Content
    from balenawasm.vfs.path import Namespace

FIRST_PREOPEN = 3
ARGUMENTS_MAX = 2 << 20
"""Bytes that arguments and environment may have together, with a NUL each; more are E2BIG."""


class Executor(Protocol):
    """Runs programs."""

    def run(self, process: Process, content: Content) -> None:
        """Instantiate the program and run it in the calling thread until the guest ends, then
        `process.finish(...)`.
        """
        ...


class Kernel:
    """One container's processes over one namespace."""

    def __init__(
        self,
        *,
        namespace: Namespace,
        executor: Executor,
        hostname: str,
        limits: Limits,
        log: Callable[[str], None],
    ) -> None:
        self.namespace = namespace
        self.hostname = hostname
        self.limits = limits
        self.processes = ProcessTable(limits.processes)
        self.log = log
        """Takes one line (or several) about something gone wrong, for the container's log."""
        self._executor = executor
        self._workers = WorkerPool(limits.stack_bytes)

    def spawn(
        self,
        argv: Sequence[bytes],
        environ: Sequence[bytes],
        cwd: bytes,
        fds: Mapping[int, Description | FdEntry],
        parent: Process | None = None,
        preopens: Sequence[bytes] = (b"/",),
        program: Program | None = None,
    ) -> Process:
        """Start a program; its thread runs when this returns.

        `fds` are what it inherits: each description is retained, an entry keeps its rights.
        `preopens` are directories of the namespace that it finds from fd 3 on. `program` is run in
        place of what `argv[0]` names (`run FILE.wasm`: no file of the guest's). GuestError: EINVAL,
        E2BIG, EAGAIN (too many processes), and what finding the program, the directory or the
        preopens gives; then nothing was started.
        """
        _check_strings(argv, environ)
        pid = self.processes.reserve()
        process = Process(
            pid=pid,
            argv=argv,
            environ=environ,
            cwd=cwd,
            namespace=self.namespace,
            limits=self.limits,
            parent=parent,
            hostname=self.hostname,
        )
        try:
            if program is None:
                program = find_program(self.namespace, process, argv[0], cwd=cwd, environ=environ)
            process.executable = program.path
            self._fill_fds(process, fds, preopens)
        except BaseException:
            self.processes.release(pid)
            process.fds.close_all()
            raise
        self.processes.add(process)
        self._workers.submit(lambda: self._run(process, program.content))
        return process

    def kill_all(self, signo: int = signal.SIGKILL) -> None:
        """Send a signal to every process."""
        for process in self.processes.all():
            process.signal(signo)

    def wait_all(self, timeout: float | None = None) -> bool:
        """Block a thread of the host until no process lives, at most `timeout` seconds; tell
        whether none does.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for process in self.processes.all():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if process.wait_exit(left) is None:
                return False
        return all(process.outcome is not None for process in self.processes.all())

    def _fill_fds(
        self,
        process: Process,
        fds: Mapping[int, Description | FdEntry],
        preopens: Sequence[bytes],
    ) -> None:
        for fd, given in fds.items():
            process.fds.put(fd, given.shared() if isinstance(given, FdEntry) else FdEntry(given))
        for name in preopens:
            location, description = self.namespace.open(
                process,
                self.namespace.root,
                name,
                oflags=O_DIRECTORY,
                flags=OpenFlags(),
                follow=True,
                beneath=False,
            )
            process.fds.add(
                FdEntry(description, prestat=name, location=location), lowest=FIRST_PREOPEN
            )

    def _run(self, process: Process, content: Content) -> None:
        process.begin()
        try:
            self._executor.run(process, content)
        except BaseException as error:  # whatever it is, this thread serves the next guest too
            import traceback  # noqa: PLC0415 - 2 ms of every start that only a bug is worth

            self.log(f"pid {process.pid}: kernel error\n{traceback.format_exc()}")
            process.finish(Trapped(f"kernel error: {type(error).__name__}"))
        finally:
            process.finish(Trapped("the executor ended without an outcome"))


def _check_strings(argv: Sequence[bytes], environ: Sequence[bytes]) -> None:
    if not argv or any(b"\0" in text for text in (*argv, *environ)):
        raise GuestError(Errno.EINVAL)
    if sum(len(text) + 1 for text in (*argv, *environ)) > ARGUMENTS_MAX:
        raise GuestError(Errno.E2BIG)
