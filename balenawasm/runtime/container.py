"""One running container: its network, its root, its kernel and process 1, all in this process.

`Container.start` makes them from a bundle; then guests run on their own threads until
`Container.finish`. What cannot be started is a StartError with Docker's exit codes: 127 for a
program that is not there, 126 for one that is no WebAssembly module, 125 for everything else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.errors import BalenaWasmError
from balenawasm.kernel.kernel import Kernel
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.program import DEFAULT_PATH, MissingInterpreterError, Program, find_program
from balenawasm.runtime.exitrecord import NOT_EXECUTABLE, NOT_FOUND, StartError
from balenawasm.runtime.preopens import existing_directories
from balenawasm.runtime.rootfs import build_namespace, host_program
from balenawasm.runtime.working_directory import (
    check_working_directory,
    make_working_directory,
)
from balenawasm.vfs.mounts import NOBODY
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from balenawasm.engine.compiler import CompileProgress
    from balenawasm.engine.machine import Machine
    from balenawasm.kernel.network import NetworkStack
    from balenawasm.kernel.network_policy import OutboundPolicy
    from balenawasm.kernel.process import Process
    from balenawasm.runtime import control
    from balenawasm.runtime.bundle import Bundle
    from balenawasm.runtime.home import ContainerPaths
    from balenawasm.vfs.description import Description
    from balenawasm.vfs.path import Namespace

_END_SECONDS = 2.0
"""How long guests get to unwind after SIGKILL before their threads are left behind."""


class Container:
    """A started container. `init` is its process 1."""

    def __init__(
        self,
        bundle: Bundle,
        paths: ContainerPaths,
        machine: Machine,
        *,
        listeners: Sequence[int] = (),
        log: Callable[[str], None],
        dropped_lines: Callable[[], int] = lambda: 0,
    ) -> None:
        """Make network, root and kernel; `listeners` are the published ports' sockets.

        `log` takes lines about the container that its user should see; `dropped_lines` tells how
        many log lines were lost. StartError.
        """
        self.bundle = bundle
        self._dropped_lines = dropped_lines
        self._log = log
        self._machine = machine
        machine.log = log
        with contextlib.ExitStack() as undo:
            try:
                self._network = _LazyNetwork(bundle, paths, listeners, log)
                undo.callback(self._network.close)
                root = build_namespace(bundle, paths, self._network.get)
                self._network.namespace = root.namespace
            except BalenaWasmError as error:
                raise StartError(error.message, hint=error.hint) from error
            except OSError as error:
                raise StartError(f"cannot set up the container: {error}") from error
            limits = bundle.limits
            self._kernel = Kernel(
                namespace=root.namespace,
                executor=machine,
                hostname=bundle.hostname,
                limits=Limits(
                    processes=limits.processes,
                    open_files=limits.open_files,
                    memory_bytes=limits.memory,
                ),
                log=log,
            )
            self._kernel.network = self._network.get
            root.show_processes(self._kernel)
            undo.pop_all()
        self._quota = root.quota
        self._kept_by_cgroup: frozenset[str] = frozenset()
        self._began = time.process_time()
        self.environ = _environment(bundle)
        self.init: Process

    def start(
        self,
        fds: Mapping[int, Description],
        progress: Callable[[CompileProgress], None] | None = None,
    ) -> str | None:
        """Start process 1; `progress` is called while its module is compiled.

        Returns the identity of the program's content (see `vfs.node.Content`). StartError.
        """
        bundle = self.bundle
        if bundle.limits.need_keeping:
            from balenawasm.runtime.host_limits import keep_limits  # noqa: PLC0415 - few have any

            self._kept_by_cgroup = keep_limits(
                bundle, self._machine, self._kernel.kill_all, self._log
            )
        make_working_directory(self._kernel.namespace, bundle.cwd)
        argv, program = self._command()
        try:
            name = os.fsdecode(argv[0])
            self._machine.precompile(program.content, name=name, progress=progress)
        except BalenaWasmError as error:
            raise StartError(error.message, hint=error.hint, code=NOT_EXECUTABLE) from error
        self.init = self._spawn(argv, self.environ, bundle.cwd, fds, program)
        return program.content.identity

    # For the control socket.

    def signal(self, signo: int) -> None:
        """Send a signal to process 1."""
        self.init.signal(signo)

    def signal_terminal(self, process: Process, signo: int) -> None:
        """Send what was typed at a process's terminal to who has that terminal; to the process
        itself when it has none.
        """
        terminal = process.session.terminal
        if terminal is None:
            process.signal(signo)
        else:
            terminal.signal(signo)

    def abandon(self, process: Process) -> None:
        """Nobody sees an exec'd process any more: it is killed. One that has a terminal gets what a
        terminal's end is in Unix: SIGHUP, which it may ignore.
        """
        terminal = process.session.terminal
        if terminal is None:
            process.signal(signal.SIGKILL)
        else:
            for signo in (signal.SIGHUP, signal.SIGCONT):
                process.signal(signo)
                terminal.signal(signo)

    def signal_all(self, signo: int) -> None:
        """Send a signal to every process."""
        self._kernel.kill_all(signo)

    def exec_process(self, request: control.Exec, fds: Mapping[int, Description]) -> Process:
        """Start another process with process 1's environment and more; StartError."""
        cwd = self.bundle.cwd if request.cwd is None else request.cwd
        check_working_directory(self._kernel.namespace, cwd)
        environ = merged_environment((*self.environ, *request.env, b"PWD=" + cwd))
        return self._spawn(request.argv, environ, cwd, fds, None)

    def status(self) -> control.Status:
        """What runs and how much memory it takes."""
        from balenawasm.runtime import control  # noqa: PLC0415 - `run` has no use for it

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        sizes = self._machine.memory_sizes()
        return control.Status(
            id=self.bundle.id,
            processes=tuple(
                control.ProcessStatus(
                    pid=p.pid,
                    argv=p.argv,
                    memory=sizes.get(p, p.memory.view.nbytes),
                    open_files=len(p.fds),
                )
                for p in self._kernel.processes.all()
            ),
            resident=pages * os.sysconf("SC_PAGE_SIZE"),
            log_dropped=self._dropped_lines(),
            cpu_seconds=time.process_time() - self._began,
            storage=self._quota.used if self._quota is not None else None,
            limits=self.bundle.limits,
            kept_by_cgroup=tuple(sorted(self._kept_by_cgroup)),
        )

    def finish(self) -> None:
        """Process 1 has ended: end every other process and give back the network."""
        self._kernel.end_all()
        if not self._kernel.wait_all(_END_SECONDS):
            self._log("some processes did not end in time and were left to the runner's end")
        self._network.close()

    def _command(self) -> tuple[tuple[bytes, ...], Program]:
        """What process 1 is: what the bundle says, or what a shell would only hand it on to."""
        argv = self.bundle.argv
        if argv[0] == b"/bin/sh" and self.bundle.program is None:
            from balenawasm.runtime.plain_words import program_words  # noqa: PLC0415 - shells only

            words = program_words(argv)
            # One that is not there is the shell's to complain about.
            with contextlib.suppress(StartError):
                if words:
                    return words, self._find(words[0])
        return argv, self._find(argv[0])

    def _find(self, name: bytes) -> Program:
        if self.bundle.program is not None:
            return host_program(Path(self.bundle.program))
        try:
            return find_program(
                self._kernel.namespace, NOBODY, name, cwd=self.bundle.cwd, environ=self.environ
            )
        except GuestError as error:
            raise _cannot_start(name, error) from error

    def _spawn(
        self,
        argv: Sequence[bytes],
        environ: Sequence[bytes],
        cwd: bytes,
        fds: Mapping[int, Description],
        program: Program | None,
    ) -> Process:
        def prepare(process: Process) -> None:
            if 0 in fds and fds[0].terminal:
                from balenawasm.kernel.terminal import take_control  # noqa: PLC0415 - only for -t

                take_control(fds[0], process, self._kernel.processes)

        try:
            preopens = existing_directories(self._kernel.namespace, NOBODY, self.bundle.preopens)
            return self._kernel.spawn(
                argv,
                environ,
                cwd,
                fds,
                preopens=(b"/", *preopens),
                program=program,
                prepare=prepare,
            )
        except GuestError as error:
            raise _cannot_start(argv[0] if argv else b"", error) from error


def merged_environment(entries: Sequence[bytes]) -> tuple[bytes, ...]:
    """Keep the last value of each variable, in the order of first mention."""
    values = {entry.partition(b"=")[0]: entry for entry in entries}
    return tuple(values.values())


def _environment(bundle: Bundle) -> tuple[bytes, ...]:
    """Docker's defaults, then the bundle's own; PWD puts the working directory into effect.

    A bare environment is the bundle's own alone, and PWD only where a C library would guess wrong.
    """
    if bundle.bare_environment:
        place = (b"PWD=" + bundle.cwd,) if bundle.cwd != b"/" else ()
        return merged_environment((*bundle.env, *place))
    return merged_environment(
        (
            b"PATH=" + DEFAULT_PATH,
            b"HOSTNAME=" + bundle.hostname.encode(),
            b"HOME=/root",
            *bundle.env,
            b"PWD=" + bundle.cwd,
        )
    )


class _LazyNetwork:
    """The container's network, made when a guest first asks for it: most commands never do."""

    namespace: Namespace | None = None
    """The file tree, for Unix sockets; set before the first process starts."""

    def __init__(
        self,
        bundle: Bundle,
        paths: ContainerPaths,
        listeners: Sequence[int],
        log: Callable[[str], None],
    ) -> None:
        """Check the bundle's side of it: StartError, BadGrantError."""
        self._bundle = bundle
        self._paths = paths
        self._log = log
        self._published: dict[str, dict[int, list[int]]] = {}
        self._stack: NetworkStack | None = None
        self._lock = threading.Lock()
        if bundle.network is None:
            return
        if bundle.network.allow:
            self._policy()
        for port in bundle.network.published:
            if not 0 <= port.listener < len(listeners):
                raise StartError(f"port {port.container_port}: its listening socket is missing")
            ports = self._published.setdefault(port.protocol, {})
            ports.setdefault(port.container_port, []).append(listeners[port.listener])

    def get(self) -> NetworkStack:
        """The network. OSError when its directories cannot be made."""
        with self._lock:
            if self._stack is None:
                self._stack = self._make()
            return self._stack

    def close(self) -> None:
        """Close it, if it was ever made."""
        if self._stack is not None:
            self._stack.close()

    def _make(self) -> NetworkStack:
        from balenawasm.runtime.network_stack import make_stack  # noqa: PLC0415 - see the class

        stack = make_stack(self._bundle, self._paths, self._published, self._log)
        stack.namespace = self.namespace
        return stack

    def _policy(self) -> OutboundPolicy:
        from balenawasm.kernel.network_policy import OutboundPolicy  # noqa: PLC0415 - see the class

        network = self._bundle.network
        return OutboundPolicy.from_texts(network.allow if network is not None else ())


def _cannot_start(name: bytes, error: GuestError) -> StartError:
    shown = name.decode("utf-8", "replace")
    if isinstance(error, MissingInterpreterError):
        interpreter = error.interpreter.decode("utf-8", "replace")
        return StartError(
            f"cannot start {shown!r}: its interpreter {interpreter!r} is not in the container",
            hint="a script's first line must name a program of the image",
            code=NOT_FOUND,
        )
    if error.errno in (Errno.ENOENT, Errno.ENOTDIR):
        return StartError(
            f"cannot start {shown!r}: there is no such program in the container",
            hint="check the image's CMD and ENTRYPOINT, PATH and the working directory",
            code=NOT_FOUND,
        )
    if error.errno in (Errno.EACCES, Errno.ENOEXEC):
        return StartError(
            f"cannot start {shown!r}: it is not a WebAssembly module",
            hint="a program must be built for wasm32-wasi (WASI preview 1)",
            code=NOT_EXECUTABLE,
        )
    return StartError(f"cannot start {shown!r}: {error.errno.name}")
