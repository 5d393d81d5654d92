"""The kernel of one container: it starts guest processes, knows them all and can end them all.

What runs a guest's code is the executor's business (engine.machine); what a guest sees of files is
the namespace's. Everything here may be called from any thread, but for `vfork`, `vfork_exit` and
`execute`: these are calls of the process itself, in its own thread.

vfork: the child runs on its parent's thread, in its memory, until it calls `execute` or
`vfork_exit`; the parent does not run meanwhile. So a fault of the child is its parent's too, a kill
of the parent takes the child with it, and a killed child is first left to reach its end by itself
(see `Process.attend`).
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING, Protocol

from balenawasm.kernel.fd_table import FdEntry
from balenawasm.kernel.outcome import ExecRequest, Exited, ExitRequest, Signaled, Trapped
from balenawasm.kernel.process import Process
from balenawasm.kernel.process_table import ProcessTable
from balenawasm.kernel.program import Program, find_program, load_program
from balenawasm.kernel.session import current
from balenawasm.kernel.workers import WorkerPool
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import O_DIRECTORY, Filetype

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from balenawasm.kernel.file_locks import FileLocks
    from balenawasm.kernel.limits import Limits
    from balenawasm.kernel.process_control import Control
    from balenawasm.kernel.timers import Timers
    from balenawasm.vfs.description import Description
    from balenawasm.vfs.node import Content
    from balenawasm.vfs.path import Namespace
    from balenawasm.vfs.socket import Network

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
        self.processes: ProcessTable = ProcessTable(limits.processes)
        self.log = log
        """Takes one line (or several) about something gone wrong, for the container's log."""
        self.network: Callable[[], Network] | None = None
        """Gives the container's network stack, made when it is first asked for; set it after a
        fork.
        """
        self._file_locks: FileLocks | None = None
        self._executor = executor
        self._workers = WorkerPool(limits.stack_bytes)
        self._control: Control | None = None
        self._timers: Timers | None = None
        self._lock = threading.Lock()

    def spawn(
        self,
        argv: Sequence[bytes],
        environ: Sequence[bytes],
        cwd: bytes,
        fds: Mapping[int, Description | FdEntry],
        parent: Process | None = None,
        preopens: Sequence[bytes] = (b"/",),
        program: Program | None = None,
        *,
        path: bytes | None = None,
        pgid: int | None = None,
        new_session: bool = False,
        reset_signals: int = 0,
        mask: int | None = None,
        prepare: Callable[[Process], None] | None = None,
    ) -> Process:
        """Start a program; its thread runs when this returns.

        `fds` are what it inherits: each description is retained, an entry keeps its rights.
        `preopens` are directories of the namespace that it finds from fd 3 on. `program` is run in
        place of what `argv[0]` names (`run FILE.wasm`: no file of the guest's), or the one at
        `path`, which is not looked for in PATH. `pgid`: None for the parent's group, 0 for one of
        its own, else one to join. It inherits ignored signals and the blocked ones, but those of
        `reset_signals` are at their default, and `mask` replaces the blocked ones. `prepare` is
        called with the process before its code runs. GuestError: EINVAL, E2BIG, EAGAIN (too many
        processes, or the parent or the kernel is ending), EPERM (no such group in the session), and
        what finding the program, the directory or the preopens gives; then nothing was started.
        """
        check_strings(argv, environ)
        pid = self.processes.reserve()
        process = self._new_process(pid, argv, environ, cwd, parent)
        try:
            self._check_directory(process, cwd)
            if program is None and path is not None:
                program = load_program(self.namespace, process, path, cwd=cwd, environ=environ)
            elif program is None:
                program = find_program(self.namespace, process, argv[0], cwd=cwd, environ=environ)
            _take_program(process, program, argv)
            if parent is not None:
                process.executed = True
                process.signals.inherit(parent.signals, exact=False)
            process.signals.forget_handlers(reset_signals)
            if mask is not None:
                process.signals.override_mask(mask)
            self.processes.place(process, pgid, new_session=new_session)
            self._fill_fds(process, fds)
            process.preopens = tuple(preopens) or (parent.preopens if parent is not None else ())
            self._open_preopens(process, preopens)
            if prepare is not None:
                prepare(process)
            self.processes.add(process)
        except BaseException:
            self.processes.release(pid)
            process.fds.close_all()
            raise
        self._start_new(process, program.content)
        return process

    def _start_new(self, process: Process, content: Content) -> None:
        try:
            self._start(process, content)
        except RuntimeError:  # no more threads
            self.processes.remove(process)
            process.finish(Signaled(signal.SIGKILL))
            raise GuestError(Errno.EAGAIN) from None

    def vfork(self, parent: Process) -> Process:
        """Make a child that goes on in the parent's thread and memory; the thread's process is now
        the child. EAGAIN, as for `spawn`.
        """
        pid = self.processes.reserve()
        child = self._new_process(pid, parent.argv, parent.environ, parent.cwd, parent)
        child.executable = parent.executable
        child.comm = parent.comm
        child.sigpipe = parent.sigpipe
        child.preopens = parent.preopens
        child.signals.inherit(parent.signals, exact=True)
        try:
            child.fds.copy_from(parent.fds)
            parent.lend_to(child)
            self.processes.add(child)
        except BaseException:
            self.processes.release(pid)
            child.leave_parent()
            child.fds.close_all()
            raise
        current.process = child
        return child

    def vfork_exit(self, child: Process, code: int) -> None:
        """End a child of vfork: its parent goes on in this thread. ExitRequest for any other
        process.
        """
        parent = child.vfork_parent
        if parent is None:
            raise ExitRequest(code)
        current.process = parent
        child.finish(Exited(code) if child.killed_by is None else child.outcome_of_kill())

    def execute(
        self,
        process: Process,
        path: bytes,
        argv: Sequence[bytes],
        environ: Sequence[bytes],
        cwd: bytes | None = None,
        program: Program | None = None,
    ) -> None:
        """Replace the program of a process (execve): its fds stay, but for those that are closed on
        exec, its handlers go, its pid and family stay. `cwd` replaces its working directory, and
        `program`, already loaded, stands for the one at `path`.

        A child of vfork gets a thread of its own, and its parent goes on in this one. Otherwise
        ExecRequest, which unwinds the guest's code. GuestError, with nothing changed: EINVAL,
        E2BIG, ENOEXEC and what finding the program gives.
        """
        check_strings(argv, environ)
        directory = process.cwd if cwd is None else cwd
        if cwd is not None:
            self._check_directory(process, cwd)
        if program is None:
            program = load_program(self.namespace, process, path, cwd=directory, environ=environ)
        parent = process.vfork_parent
        if parent is None:
            process.unbind_memory()
        else:
            process.leave_parent()
        with process.lock:
            process.signals.forget_handlers()
        process.tell_if_due()
        process.executed = True
        process.sigpipe = False
        process.environ = tuple(environ)
        process.cwd = directory
        _take_program(process, program, argv)
        process.fds.close_on_exec()
        with contextlib.suppress(GuestError):  # gone since it started; there is no way back
            self._open_preopens(process, process.preopens)
        if parent is None:
            raise ExecRequest(program.content)
        current.process = parent
        try:
            self._start(process, program.content)
        except RuntimeError:  # no more threads, and no way back
            process.finish(Signaled(signal.SIGKILL))

    # Timers.

    def set_timer(self, process: Process, value_ns: int, interval_ns: int = 0) -> tuple[int, int]:
        """Set a process's real-time timer (setitimer, alarm): SIGALRM in `value_ns` and every
        `interval_ns`; 0 disarms. Answers what was left before and its interval.
        """
        return self._all_timers().set(process, value_ns, interval_ns)

    def get_timer(self, process: Process) -> tuple[int, int]:
        """What is left of it and its interval; (0, 0) when it is not set."""
        return (0, 0) if self._timers is None else self._timers.get(process)

    def _all_timers(self) -> Timers:
        from balenawasm.kernel.timers import Timers  # noqa: PLC0415 - seldom used

        with self._lock:
            if self._timers is None:
                self._timers = Timers()
            return self._timers

    def locks(self) -> FileLocks:
        """The locks on files."""
        from balenawasm.kernel.file_locks import FileLocks  # noqa: PLC0415 - seldom used

        with self._lock:
            if self._file_locks is None:
                self._file_locks = FileLocks()
            return self._file_locks

    def control(self) -> Control:
        """What guests can have it do through files in /proc."""
        if self._control is None:
            from balenawasm.kernel.process_control import (  # noqa: PLC0415 - seldom used
                Control,
            )

            self._control = Control(self)
        return self._control

    def kill_all(self, signo: int = signal.SIGKILL) -> None:
        """Send a signal to every process, also to those that others start meanwhile."""
        self.processes.signal_all(signo)

    def end_all(self) -> None:
        """Kill every process and start no other: EAGAIN from now on."""
        self.processes.close()
        self.kill_all(signal.SIGKILL)

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

    def _new_process(
        self,
        pid: int,
        argv: Sequence[bytes],
        environ: Sequence[bytes],
        cwd: bytes,
        parent: Process | None,
    ) -> Process:
        return Process(
            pid=pid,
            argv=argv,
            environ=environ,
            cwd=cwd,
            namespace=self.namespace,
            limits=self.limits,
            parent=parent,
            hostname=self.hostname,
            kernel=self,
        )

    def _check_directory(self, process: Process, path: bytes) -> None:
        """ENOENT, ENOTDIR."""
        if path == b"/":
            return
        namespace = self.namespace
        location = namespace.resolve(process, namespace.root, path, follow=True)
        if location.node.filetype != Filetype.DIRECTORY:
            raise GuestError(Errno.ENOTDIR)

    def _fill_fds(self, process: Process, fds: Mapping[int, Description | FdEntry]) -> None:
        for fd, given in fds.items():
            process.fds.put(fd, given.shared() if isinstance(given, FdEntry) else FdEntry(given))

    def _open_preopens(self, process: Process, names: Sequence[bytes]) -> None:
        """Open directories from fd 3 on, unless the process has some already."""
        if any(entry.prestat is not None for entry in process.fds.entries().values()):
            return
        for name in names:
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

    def _start(self, process: Process, content: Content) -> None:
        contents = [content]
        self._workers.submit(lambda: self._run(process, contents))

    def _run(self, process: Process, contents: list[Content]) -> None:
        """Run the one program in `contents`, which is taken out: its code, which may be a copy of
        many megabytes, is not to stay for as long as the guest runs.
        """
        process.begin()
        try:
            self._executor.run(process, contents.pop())
        except BaseException as error:  # whatever it is, this thread serves the next guest too
            import traceback  # noqa: PLC0415 - 2 ms of every start that only a bug is worth

            self.log(f"pid {process.pid}: kernel error\n{traceback.format_exc()}")
            process.finish(Trapped(f"kernel error: {type(error).__name__}"))
        finally:
            process.finish(Trapped("the executor ended without an outcome"))


def _take_program(process: Process, program: Program, argv: Sequence[bytes]) -> None:
    process.executable = program.path
    process.comm = program.name
    process.argv = program.arguments(argv)


def check_strings(argv: Sequence[bytes], environ: Sequence[bytes]) -> None:
    """Raise EINVAL for no arguments or a NUL in one, E2BIG for too many bytes."""
    if not argv or any(b"\0" in text for text in (*argv, *environ)):
        raise GuestError(Errno.EINVAL)
    if sum(len(text) + 1 for text in (*argv, *environ)) > ARGUMENTS_MAX:
        raise GuestError(Errno.E2BIG)
