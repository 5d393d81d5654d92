"""`balenawasm run`: one container in the foreground, its standard streams ours, no supervisor.

The caller's process forks one child, the runner, and only waits: so signals can be passed on, the
container's files removed, and the exit code told, whatever becomes of the runner. With nothing to
import but what the runner needs anyway this costs a fork over running the module directly.

Stopping: SIGINT, SIGTERM and SIGHUP reach the guest's process 1; a second SIGINT or SIGTERM kills.
If this process is killed outright, the kernel kills the runner with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING

from balenawasm.errors import BalenaWasmError
from balenawasm.record import NamedTuple
from balenawasm.runtime import control
from balenawasm.runtime.bundle import Bundle, Layer, Limits, Mount, Network, Published
from balenawasm.runtime.exitrecord import NOT_STARTED, StartError
from balenawasm.runtime.hostprocess import die_with_parent
from balenawasm.runtime.machine import new_machine
from balenawasm.runtime.ports import PublishedPort, bind_ports
from balenawasm.runtime.runner import passed_streams, run_container
from balenawasm.runtime.scratch import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from balenawasm.runtime.control import Channel, Message
    from balenawasm.runtime.home import ContainerPaths, Home
    from balenawasm.runtime.ports import BoundPort

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH)
_INSISTED = (signal.SIGINT, signal.SIGTERM)
_ADDRESS = "10.0.0.2"


class RunSpec(NamedTuple):
    """What `run` shall run: an image's `layers` (lowest first) or one wasm file, `program`.

    `mounts`: binds and volumes have host paths here; one with the target `/` replaces the root of a
    `program`. `allow` are grants for outside connections. `memory` is in bytes.
    """

    argv: tuple[bytes, ...]
    layers: tuple[Layer, ...] = ()
    program: Path | None = None
    env: tuple[bytes, ...] = ()
    cwd: bytes = b"/"
    mounts: tuple[Mount, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    allow: tuple[str, ...] = ()
    hostname: str = ""
    stdin: bool = False
    tty: bool = False
    memory: int | None = None
    preopens: tuple[bytes, ...] = ()


def run_foreground(
    home: Home,
    spec: RunSpec,
    *,
    progress: Callable[[str], None],
    notice: Callable[[str], None],
) -> int:
    """Run a container to its end; returns process 1's exit code as Docker counts (128 + signal).

    `progress` takes lines about slow preparations, `notice` lines that the user should see (a trap,
    a denied connection); the latter is called in the child and must only write. Ports are bound
    first: PortInUseError. StartError carries the exit code 125, 126 or 127.
    """
    container_id = f"run-{os.getpid()}-{os.urandom(4).hex()}"
    paths = home.container(container_id)
    network = home.network(container_id)
    bound = bind_ports(spec.ports)
    try:
        bundle = _bundle(spec, container_id, network, len(bound)).check()
        return _fork_and_wait(home, bundle, paths, bound, progress, notice)
    finally:
        for port in bound:
            port.close()
        for scratch in (paths.directory, paths.run, network):
            # Removing must not hide what happened; what stays is swept by the next supervisor.
            with contextlib.suppress(OSError):
                remove_tree(scratch)


def _bundle(spec: RunSpec, container_id: str, network: Path, listeners: int) -> Bundle:
    published = tuple(
        Published(container_port=port.container_port, listener=number)
        for number, port in enumerate(spec.ports[:listeners])
    )
    return Bundle(
        id=container_id,
        layers=spec.layers,
        program=str(spec.program.absolute()) if spec.program is not None else None,
        argv=spec.argv,
        env=spec.env,
        cwd=spec.cwd,
        mounts=spec.mounts,
        network=Network(
            address=_ADDRESS,
            directory=str(network),
            hosts_file=str(network / "hosts"),
            published=published,
            allow=spec.allow,
        ),
        hostname=spec.hostname or container_id,
        limits=Limits(memory=spec.memory),
        stdin=spec.stdin,
        tty=spec.tty,
        preopens=spec.preopens,
    )


def _fork_and_wait(
    home: Home,
    bundle: Bundle,
    paths: ContainerPaths,
    bound: tuple[BoundPort, ...],
    progress: Callable[[str], None],
    notice: Callable[[str], None],
) -> int:
    ours, theirs = control.make_pair()
    reports, reports_child = control.make_pair()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    with _collected_signals() as wake:
        pid = os.fork()
        if pid == 0:
            code = NOT_STARTED
            try:
                die_with_parent(parent)
                _leave_signals_to_parent(wake)
                ours.close()
                reports.close()
                code = _run_in_child(home, bundle, paths, bound, theirs, reports_child, notice)
            except BaseException:  # a forked child must never unwind into the parent's stack
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stderr.flush()
                os._exit(code)
        theirs.close()
        reports_child.close()
        try:
            waiter = _Waiter(pid, ours, reports, wake, progress)
            return waiter.wait()
        finally:
            ours.close()
            reports.close()


def _run_in_child(
    home: Home,
    bundle: Bundle,
    paths: ContainerPaths,
    bound: tuple[BoundPort, ...],
    client: Channel,
    reports: Channel,
    notice: Callable[[str], None],
) -> int:
    def report(message: Message) -> None:
        if isinstance(message, (control.Progress, control.Failed)):
            reports.send(message)

    streams = passed_streams(
        stdin=bundle.stdin, tty=bundle.tty, log=lambda line: _shown(line, notice)
    )
    record = run_container(
        bundle,
        paths,
        new_machine(home),
        streams,
        report=report,
        listeners=[port.socket.fileno() for port in bound],
        control_socket=False,
        client=client,
    )
    return record.code & 0xFF


def _shown(line: str, notice: Callable[[str], None]) -> None:
    with contextlib.suppress(OSError):
        notice(line)


class _Waiter:
    """The parent's wait for its runner: passes signals on and reads reports."""

    def __init__(
        self,
        pid: int,
        control_channel: Channel,
        reports: Channel,
        wake: socket.socket,
        progress: Callable[[str], None],
    ) -> None:
        self._pid = pid
        self._control = control_channel
        self._reports = reports
        self._wake = wake
        self._progress = progress
        self._insisted = 0
        self._failed: control.Failed | None = None

    def wait(self) -> int:
        """Return the runner's exit code; StartError when it reported that it could not start."""
        pidfd = os.pidfd_open(self._pid)
        poll = select.poll()
        for fd in (pidfd, self._wake.fileno(), self._reports.fileno()):
            poll.register(fd, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll()}
                if self._wake.fileno() in ready:
                    for signo in self._wake.recv(64):
                        self._pass_on(signo)
                if self._reports.fileno() in ready and not self._take_report():
                    poll.unregister(self._reports)
                if pidfd in ready:
                    break
        finally:
            os.close(pidfd)
        while self._take_report():
            pass
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        if self._failed is not None:
            failed = self._failed
            raise StartError(failed.message, hint=failed.hint, code=failed.code)
        return status if status >= 0 else 128 - status

    def _pass_on(self, signo: int) -> None:
        """Send a signal to process 1; the second request to end kills, the third the runner."""
        self._insisted += signo in _INSISTED
        message = control.Signal(signal=signo)
        if self._insisted > 1:
            message = control.Signal(signal=signal.SIGKILL, target=control.Target.ALL)
        if self._insisted > 2:
            os.kill(self._pid, signal.SIGKILL)
        # A runner that is just ending does not listen any more, and need not.
        with contextlib.suppress(BalenaWasmError):
            self._control.send(message)

    def _take_report(self) -> bool:
        try:
            received = self._reports.receive()
        except BalenaWasmError:
            received = None
        if received is None:
            return False
        message, fds = received
        control.close_all(fds)
        if isinstance(message, control.Progress):
            self._progress(message.text)
        elif isinstance(message, control.Failed):
            self._failed = message
        return True


@contextlib.contextmanager
def _collected_signals() -> Iterator[socket.socket]:
    """Have the signals to pass on written to a socket as bytes instead of taking effect."""
    wake, written = socket.socketpair()
    written.setblocking(False)
    before = {signo: signal.signal(signo, _do_nothing) for signo in _FORWARDED}
    fd_before = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
    try:
        yield wake
    finally:
        signal.set_wakeup_fd(fd_before)
        for signo, handler in before.items():
            signal.signal(signo, handler)
        wake.close()
        written.close()


def _do_nothing(_signo: int, _frame: FrameType | None) -> None:
    """Only to be woken; the number arrives through the wake-up fd."""


def _leave_signals_to_parent(wake: socket.socket) -> None:
    """In the child: a terminal signals both of us, and the guest must get it once."""
    signal.set_wakeup_fd(-1)
    for signo in _FORWARDED:
        signal.signal(signo, signal.SIG_IGN)
    wake.close()
