"""`balenawasm run`: one container in the foreground, its standard streams ours, no supervisor.

The command's own process is the runner: a fork would cost a tenth of a start and protect nobody,
for this process has no other container. The guests run on their own threads; the main one sleeps
until process 1 has ended or a signal comes.

Stopping: SIGINT, SIGTERM, SIGHUP and SIGQUIT reach the guest's process 1; a second SIGINT or
SIGTERM kills every guest, a third ends this process as it is. Files of a `run` that was killed
outright are removed by the next one that ends, and by the supervisor.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from balenawasm.kernel.outcome import Trapped
from balenawasm.record import NamedTuple
from balenawasm.runtime.bundle import (
    DEFAULT_LIMITS,
    Bundle,
    Layer,
    Limits,
    Mount,
    Network,
    Published,
)
from balenawasm.runtime.compile_notice import compile_notice
from balenawasm.runtime.container import Container
from balenawasm.runtime.hostprocess import prepare_for_guests
from balenawasm.runtime.machine import new_machine
from balenawasm.runtime.ports import PublishedPort, bind_ports
from balenawasm.runtime.scratch import remove_tree
from balenawasm.runtime.streams import passed_streams
from balenawasm.runtime.sweep import RUN_PREFIX, sweep_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from balenawasm.kernel.outcome import Outcome
    from balenawasm.runtime.home import ContainerPaths, Home
    from balenawasm.runtime.ports import BoundPort

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH)
_INSISTED = (signal.SIGINT, signal.SIGTERM)
_TYPED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH)
"""What a terminal of the container's own sends (terminal_relay): for who reads from it."""
_WAKE = 0
"""The byte that is no signal."""
_PATIENCE = 2
"""How many requests to end it takes until nobody is asked any more."""
_ADDRESS = "10.0.0.2"


class RunSpec(NamedTuple):
    """What `run` shall run: an image's `layers` (lowest first) or one wasm file, `program`.

    `mounts`: binds and volumes have host paths here; one with the target `/` replaces the root of a
    `program`. `allow` are grants for outside connections.
    """

    argv: tuple[bytes, ...]
    layers: tuple[Layer, ...] = ()
    program: Path | None = None
    env: tuple[bytes, ...] = ()
    cwd: bytes = b"/"
    mounts: tuple[Mount, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    allow: tuple[str, ...] = ()
    network: str = "bridge"
    hostname: str = ""
    stdin: bool = False
    tty: bool = False
    limits: Limits = DEFAULT_LIMITS
    preopens: tuple[bytes, ...] = ()
    bare_environment: bool = False


def run_foreground(
    home: Home,
    spec: RunSpec,
    *,
    progress: Callable[[str], None],
    notice: Callable[[str], None],
) -> int:
    """Run a container to its end; returns process 1's exit code as Docker counts (128 + signal).

    `progress` takes lines about slow preparations, `notice` lines that the user should see (a trap,
    a denied connection); the latter is called in guests' threads. Ports are bound first:
    PortInUseError. StartError carries the exit code 125, 126 or 127. To be called in the main
    thread, for signals arrive there.
    """
    container_id = f"{RUN_PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
    paths = home.container(container_id)
    network = home.network(container_id)
    bound = bind_ports(spec.ports)
    try:
        bundle = _bundle(spec, container_id, network, len(bound)).check()
        outcome = _run(home, bundle, paths, bound, progress, notice)
    finally:
        for port in bound:
            port.close()
        for scratch in (paths.directory, paths.run, network):
            # Removing must not hide what happened; what stays is swept later.
            with contextlib.suppress(OSError):
                remove_tree(scratch)
    _sweep_others(home)
    return outcome.status & 0xFF


def _bundle(spec: RunSpec, container_id: str, network: Path, listeners: int) -> Bundle:
    published = tuple(
        Published(container_port=port.container_port, listener=number, protocol=port.protocol)
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
            mode=spec.network,
        ),
        hostname=spec.hostname or container_id,
        limits=spec.limits,
        stdin=spec.stdin,
        tty=spec.tty,
        preopens=spec.preopens,
        bare_environment=spec.bare_environment,
    )


def _run(
    home: Home,
    bundle: Bundle,
    paths: ContainerPaths,
    bound: tuple[BoundPort, ...],
    progress: Callable[[str], None],
    notice: Callable[[str], None],
) -> Outcome:
    prepare_for_guests()

    def log(line: str) -> None:
        with contextlib.suppress(OSError):
            notice(line)

    streams = passed_streams(stdin=bundle.stdin, tty=bundle.tty, log=log)
    listeners = [port.socket.fileno() for port in bound]
    try:
        with _collected_signals(typed=bundle.tty) as inbox:
            container = Container(bundle, paths, new_machine(home), listeners=listeners, log=log)
            try:
                container.start(streams.fds, compile_notice(progress))
                container.init.on_exit.append(inbox.wake)
                _pass_on_signals(container, inbox)
            finally:
                container.finish()
    finally:
        streams.close()
    return container.init.outcome or Trapped("process 1 has no outcome")


def _pass_on_signals(container: Container, inbox: _Inbox) -> None:
    """Give signals to process 1 until it has ended; the second request to end kills every guest,
    the third us.
    """
    insisted = 0
    while container.init.outcome is None:
        for signo in inbox.read():
            if container.bundle.tty and signo in _TYPED:
                container.signal_terminal(container.init, signo)
                continue
            if container.bundle.tty and signo == signal.SIGHUP:
                # The terminal is gone. A shell waits for its job in the foreground, which Linux
                # would tell when the shell has gone.
                container.signal_terminal(container.init, signo)
            insisted += signo in _INSISTED
            if signo == _WAKE:
                continue
            if insisted > _PATIENCE:
                signal.signal(signo, signal.SIG_DFL)
                os.kill(os.getpid(), signo)
            elif insisted == _PATIENCE:
                container.signal_all(signal.SIGKILL)
            else:
                container.signal(signo)


class _Inbox:
    """What the main thread waits for, as bytes in a pipe: signal numbers, and `_WAKE`."""

    def __init__(self) -> None:
        self._read, self.written = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.written, False)

    def read(self) -> bytes:
        """Wait for something, and return all that is there."""
        return os.read(self._read, 64)

    def wake(self) -> None:
        """Have `read` return. From any thread."""
        with contextlib.suppress(BlockingIOError):  # what is there wakes as well
            os.write(self.written, bytes((_WAKE,)))

    def close(self) -> None:
        """Close both ends."""
        os.close(self._read)
        os.close(self.written)


@contextlib.contextmanager
def _collected_signals(*, typed: bool) -> Iterator[_Inbox]:
    """Have the signals to pass on written to an inbox instead of taking effect."""
    inbox = _Inbox()
    signals = {*_FORWARDED, *_TYPED} if typed else _FORWARDED
    before = {signo: signal.signal(signo, _do_nothing) for signo in signals}
    fd_before = signal.set_wakeup_fd(inbox.written, warn_on_full_buffer=False)
    try:
        yield inbox
    finally:
        signal.set_wakeup_fd(fd_before)
        for signo, handler in before.items():
            signal.signal(signo, handler)
        inbox.close()


def _do_nothing(_signo: int, _frame: FrameType | None) -> None:
    """Only to be woken; the number arrives through the inbox."""


def _sweep_others(home: Home) -> None:
    """Remove the files of `run`s that were killed, should there be any."""
    with contextlib.suppress(OSError):
        if any(path.name.startswith(RUN_PREFIX) for path in home.containers.iterdir()):
            sweep_runs(home)
