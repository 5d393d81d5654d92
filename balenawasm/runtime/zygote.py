"""The zygote: a small process that has everything a runner needs in memory and forks runners.

    python -m balenawasm.runtime.zygote --home DIR --channel FD

It speaks `balenawasm.runtime.control` with the supervisor over FD: Start forks a runner (one is
kept forked ahead and rehearsed, so that a start costs no fork), Kill ends one. It passes on what
its runners report, and says Exited for a runner that ended without a word. Runners of modules that
were used before start with the native code already mapped.

Invariants: exactly one thread, or no fork; a runner has the zygote's standard streams, its own
channel and the engine's fds, no other; when the supervisor's end of the channel closes, or the
zygote dies, every runner is killed. Guests' data never comes here.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.errors import BalenaWasmError
from balenawasm.runtime import cgroup, control
from balenawasm.runtime.bundle import read_bundle
from balenawasm.runtime.control import Channel
from balenawasm.runtime.exitrecord import KILLED, NOT_STARTED, read_exit_record
from balenawasm.runtime.home import Home
from balenawasm.runtime.hostprocess import (
    close_other_fds,
    die_with_parent,
    open_fds,
    set_name,
    thread_count,
)
from balenawasm.runtime.machine import new_machine
from balenawasm.runtime.rehearsal import forget_rehearsal, prepare_rehearsals, rehearse
from balenawasm.runtime.runner import run_container, service_streams
from balenawasm.vfs.node import Content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balenawasm.engine.machine import Machine
    from balenawasm.runtime.control import Message

_QUIET_MS = 10
"""Idle time after which the next runner is forked ahead and modules are loaded: not while a start
is under way, which wants the processors itself."""


class _Runner:
    """A forked runner; `id` is empty while it waits for a container."""

    def __init__(self, pid: int, channel: Channel) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.channel = channel
        self.id = ""
        self.reported = False
        """Whether the supervisor has been told how it ended, or that it did not start."""
        self.ready = False
        self.stale = False

    def kill(self) -> None:
        """End it at once; it stays to be reaped."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Forget its fds."""
        os.close(self.pidfd)
        self.channel.close()


class Zygote:
    """The zygote's loop over the supervisor's channel and its runners'."""

    def __init__(self, home: Home, supervisor: Channel) -> None:
        self._home = home
        self._supervisor = supervisor
        before = open_fds()
        self._machine = new_machine(home)
        self._engine_fds = open_fds() - before
        """Fds that the engine keeps, for instance to map a module's data anew for each guest."""
        self._runners: dict[int, _Runner] = {}
        self._spare: _Runner | None = None
        self._forks_ahead = True
        self._poll = select.poll()
        self._poll.register(supervisor, select.POLLIN)
        self._to_load: set[str] = set()
        self._loaded: set[str] = set()

    def run(self) -> None:
        """Serve until the supervisor is gone, then kill and reap every runner."""
        prepare_rehearsals(self._home)
        gc.collect()
        gc.freeze()
        try:
            while self._serve_events():
                pass
        finally:
            self._end_all()

    def _serve_events(self) -> bool:
        """Wait for something and handle it; False when the supervisor is gone."""
        busy = (self._spare is None and self._forks_ahead) or bool(self._to_load)
        events = self._poll.poll(_QUIET_MS if busy else None)
        if not events:
            self._prepare()
            return True
        for fd, _ in events:
            if fd == self._supervisor.fileno():
                if not self._serve_supervisor():
                    return False
            elif (runner := self._runners.get(fd)) is not None:
                self._serve_runner(runner, fd)
        return True

    def _serve_supervisor(self) -> bool:
        received = self._supervisor.receive()
        if received is None:
            return False
        message, fds = received
        try:
            if isinstance(message, control.Start):
                self._start(message, fds)
            elif isinstance(message, control.Kill):
                for runner in self._runners.values():
                    if runner.id == message.id:
                        runner.kill()
        finally:
            control.close_all(fds)
        return True

    def _start(self, message: control.Start, fds: Sequence[int]) -> None:
        runner = self._spare
        # A stale one has been killed, and is the spare until its end is seen.
        if runner is not None and runner.ready and not runner.stale:
            self._spare = None
        else:
            runner = self._fork(rehearsing=False)
        self._forks_ahead = True
        runner.id = message.id
        try:
            runner.channel.send(message, fds)
        except control.ControlError as error:
            # Its end is noticed, and reported as Exited, like that of any other runner.
            sys.stderr.write(f"zygote: runner {runner.pid}: {error.message}\n")

    def _serve_runner(self, runner: _Runner, fd: int) -> None:
        if fd == runner.channel.fileno():
            self._pass_on(runner)
            return
        # What it said before it ended comes before the news of its end.
        while self._pass_on(runner):
            pass
        _, status = os.waitpid(runner.pid, 0)
        self._forget(runner)
        if runner is self._spare:
            self._spare = None
            # One that failed by itself must not be replaced at once, for ever.
            self._forks_ahead = runner.stale
        elif not runner.reported:
            self._supervisor.send(self._how_it_ended(runner, status))

    def _pass_on(self, runner: _Runner) -> bool:
        """Pass one message on to the supervisor; False when there is none."""
        try:
            received = runner.channel.receive()
        except BlockingIOError:
            return False
        except BalenaWasmError:
            runner.kill()
            received = None
        if received is None:
            with contextlib.suppress(KeyError):
                self._poll.unregister(runner.channel)
            return False
        message, fds = received
        control.close_all(fds)
        if isinstance(message, control.Loaded):
            if message.identity not in self._loaded:
                self._to_load.add(message.identity)
        elif isinstance(message, control.Ready):
            runner.ready = True
        elif isinstance(message, (control.Running, control.Progress)):
            self._supervisor.send(message)
        elif isinstance(message, (control.Failed, control.Exited)):
            runner.reported = True
            self._supervisor.send(message)
        return True

    def _how_it_ended(self, runner: _Runner, status: int) -> control.Exited:
        record = read_exit_record(self._home.container(runner.id).exit)
        if record is not None:
            return control.Exited(id=runner.id, code=record.code, reason=record.reason)
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            reason = f"the runner was killed by {signal.Signals(number).name}"
            if cgroup.was_out_of_memory(runner.id):
                reason = "out of memory: the container used more than its memory limit allows"
            code = KILLED if number == signal.SIGKILL else NOT_STARTED
            return control.Exited(id=runner.id, code=code, reason=reason)
        return control.Exited(
            id=runner.id, code=NOT_STARTED, reason="the runner failed; see the supervisor's log"
        )

    def _prepare(self) -> None:
        """Use a quiet moment: load what runners used, then fork the next one ahead."""
        if self._to_load:
            identity = self._to_load.pop()
            self._loaded.add(identity)
            # Loading needs no content: the cache knows the module by its identity. If it has been
            # swept from the cache, the next runner compiles it as it would have anyway.
            before = open_fds()
            with contextlib.suppress(BalenaWasmError):
                self._machine.load(Content(identity, memoryview(b"")))
                gc.freeze()
                if self._spare is not None:
                    self._spare.stale = True
                    self._spare.kill()
            self._engine_fds |= open_fds() - before
        elif self._spare is None and self._forks_ahead:
            self._spare = self._fork(rehearsing=True)

    def _fork(self, *, rehearsing: bool) -> _Runner:
        if thread_count() != 1:
            raise RuntimeError("the zygote has more than one thread and cannot fork")
        ours, theirs = control.make_pair()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_runner(theirs, ours, parent, rehearsing=rehearsing)
        theirs.close()
        ours.socket.setblocking(False)
        runner = _Runner(pid, ours)
        self._runners[runner.pidfd] = self._runners[ours.fileno()] = runner
        self._poll.register(runner.pidfd, select.POLLIN)
        self._poll.register(ours, select.POLLIN)
        return runner

    def _become_runner(
        self, channel: Channel, zygote: Channel, parent: int, *, rehearsing: bool
    ) -> None:
        """The forked child's life; never returns."""
        code = NOT_STARTED
        try:
            os.setsid()
            die_with_parent(parent)
            set_name("balenawasm-run")
            zygote.close()
            self._supervisor.close()
            for runner in set(self._runners.values()):
                runner.close()
            close_other_fds({channel.fileno(), *self._engine_fds})
            if rehearsing:
                rehearse(self._home, self._machine)
                channel.send(control.Ready())
            code = run_next(self._home, self._machine, channel)
        except BaseException:  # the child of a fork must never unwind into the parent's stack
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _forget(self, runner: _Runner) -> None:
        for fd in (runner.pidfd, runner.channel.fileno()):
            self._runners.pop(fd, None)
            with contextlib.suppress(KeyError):
                self._poll.unregister(fd)
        self._clean_up(runner)

    def _end_all(self) -> None:
        runners = set(self._runners.values())
        for runner in runners:
            runner.kill()
        for runner in runners:
            os.waitpid(runner.pid, 0)
            self._clean_up(runner)

    def _clean_up(self, runner: _Runner) -> None:
        runner.close()
        if runner.id:
            cgroup.remove(runner.id)
        # Also of one that had got its container: it may have been killed before it turned to that.
        forget_rehearsal(self._home, runner.pid)


def run_next(home: Home, machine: Machine, channel: Channel) -> int:
    """Wait for a container to run, run it, and return its exit code."""
    received = channel.receive()
    if received is None:
        return 0
    message, fds = received
    if not isinstance(message, control.Start):
        raise control.ControlError(f"{type(message).__name__} is not for a waiting runner")
    paths = home.container(message.id)
    try:
        bundle = read_bundle(paths.bundle)
        published = bundle.network.published if bundle.network is not None else ()
        listeners = fds[: len(published)]
        streams = service_streams(bundle, paths.log, fds[len(published) :])
    except (OSError, BalenaWasmError) as error:
        channel.send(control.Failed(id=message.id, message=f"cannot read the bundle: {error}"))
        return NOT_STARTED

    def report(news: Message) -> None:
        if isinstance(news, (control.Exited, control.Failed)):
            # When the end is reported, the published ports are free again, as far as we go.
            control.close_all(listeners)
        channel.send(news)

    record = run_container(
        bundle,
        paths,
        machine,
        streams,
        report=report,
        listeners=listeners,
    )
    return record.code & 0xFF


def main() -> None:
    """Serve the supervisor at the channel named on the command line."""
    # By hand: importing argparse takes a twelfth of the time until the first runner.
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    set_name("balenawasm-zyg")
    channel = Channel(socket.socket(fileno=int(options["--channel"])))
    Zygote(Home(Path(options["--home"])), channel).run()


if __name__ == "__main__":
    main()
