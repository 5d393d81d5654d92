"""A guest process: what it was started with, its fds and memory, its family, how it waits, stops
and continues, how it is killed, how it ends.

One guest process runs on one host thread; a child of vfork runs on its parent's, with its parent's
memory, until it execs or exits. Everything else may be called from any thread: `signal`,
`wait_exit` and reading the attributes.

A signal that changes what the guest does next reaches it wherever it is: in a blocking call through
an eventfd (or the sleep lock), in computation through `on_due`, where the engine interrupts the
code. `attention` and `due` are set first, so whoever registers, blocks or starts late sees them:
register at `on_due`, open the eventfd, *then* look.

A process stops in its own thread, at its next blocking call or the engine's next check.

Lock order: `lock` is innermost; callbacks run and descriptions close outside it.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final, NoReturn

from balenawasm.kernel.fd_table import FdTable
from balenawasm.kernel.guest_memory import GuestMemory
from balenawasm.kernel.outcome import Change, Continued, Killed, Outcome, Signaled, Stopped
from balenawasm.kernel.session import Hooks, Session
from balenawasm.kernel.signals import DEFAULT, Interrupted, SignalState, default_action
from balenawasm.kernel.waiting import Waiting
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balenawasm.kernel.kernel import Kernel
    from balenawasm.kernel.limits import Limits
    from balenawasm.vfs.description import Description
    from balenawasm.vfs.path import Namespace

_SIGINT: Final = 2
_SIGKILL: Final = 9
_SIGCONT: Final = 18
_REFUSALS_MAX: Final = 16
"""Blocking calls that a killed child of vfork may try before its thread, so its parent, ends."""
_CHECKS_MAX: Final = 200
"""Checks of the engine, one each 5 ms, that it may compute on for the same reason."""


class Process:
    """One guest program in execution. Implements `vfs.node.Caller`."""

    orphaned: bool = False
    """Its parent has ended: the kernel itself waits for it, in process 1's name."""
    executable = b""
    """Absolute path of the program, once it has been found."""
    comm = b""
    """Its short name for /proc, which it may change; empty: that of the program."""
    preopens: tuple[bytes, ...] = ()
    """Directories that its program finds open when it starts."""
    sigpipe = False
    """A host call that answers EPIPE sends SIGPIPE, too."""
    vfork_parent: Process | None = None
    """Whose thread and memory it uses, until it execs or exits."""
    executed = False
    """It has called execve: its parent may not move it to another group any more (POSIX)."""
    children_cpu_ns = 0
    """Processor time of the children it has waited for, and of theirs."""
    outcome: Outcome | None = None
    """How it ended; set after its fds are closed."""
    change: Change | None = None
    """That it stopped or continued, until somebody has waited for that."""
    killed_by: int | None = None
    """The deadly signal it got, if any. The engine makes it the outcome: `Signaled(killed_by)`.
    """
    pending = 0
    """Signals that have arrived and not taken effect; see `SignalState`."""
    attention = False
    """A blocking call has something else to do first."""
    due = False
    """Guest code must not go on before `settle_due` has been called: it was killed or stopped,
    or has handlers to call.
    """
    on_due: Callable[[Process], None] | None = None
    """Called after `due` has become true, in the thread that made it so."""
    on_change: Callable[[Process], None] | None = None
    """Called when it has stopped or continued."""
    _vfork_child: Process | None = None
    _stop_signal = 0
    _stopped = False
    _stops = 0
    _refusals = 0
    _checks = 0
    _exit_fd = -1
    _exit_watchers = 0
    _child_fd = -1
    _cpu_offset = 0
    _cpu_clock = 0
    _cpu_total = 0

    def __init__(
        self,
        *,
        pid: int,
        argv: Sequence[bytes],
        environ: Sequence[bytes],
        cwd: bytes,
        namespace: Namespace,
        limits: Limits,
        parent: Process | None = None,
        hostname: str = "localhost",
        kernel: Kernel | None = None,
    ) -> None:
        self._pid = pid
        self.argv = tuple(argv)
        self.environ = tuple(environ)
        """`NAME=value` each."""
        self.cwd = cwd
        """Absolute path the process was started in; the guest's libc keeps its own afterwards, and
        a personality with a chdir of its own stores here what it was given.
        """
        self.namespace = namespace
        self.limits = limits
        self.hostname = hostname
        self.parent = parent
        """Who may wait for it; None for the host's own and for orphans."""
        self.pgid: int = pid if parent is None else parent.pgid
        self.session: Session = Session(pid) if parent is None else parent.session
        self.started_ns = time.monotonic_ns()
        self.umask: int = 0o022 if parent is None else parent.umask
        self.asked_fd = -1
        """The fd whose attributes were asked for last: how a guest that renumbers its fds names one
        (`process_control`).
        """
        self.fds = FdTable(limits.open_files)
        self.memory = GuestMemory()
        self.signals = SignalState(self)
        self.on_kill = Hooks()
        """Called when a deadly signal arrives, in the sender's thread."""
        self.on_exit = Hooks()
        """Called when it has ended, in its own thread, after `outcome` is set."""
        self.lock: Final = threading.Lock()
        """Guards its state; see the module's docstring."""
        self._kernel = kernel
        self._ended = threading.Event()
        self.waiting = Waiting(self.lock)

    def __repr__(self) -> str:
        return f"<Process {self._pid} {self.argv[:1]!r}>"

    @property
    def pid(self) -> int:
        """Its number in the process table."""
        return self._pid

    @property
    def ppid(self) -> int:
        """Its parent's number: 1 for orphans, 0 for what the host started."""
        parent = self.parent
        return parent.pid if parent is not None else int(self.orphaned)

    @property
    def sid(self) -> int:
        """Its session's number."""
        return self.session.sid

    @property
    def kernel(self) -> Kernel:
        """The kernel it lives in: ENOSYS when in none (tests, tools)."""
        if self._kernel is None:
            raise GuestError(Errno.ENOSYS)
        return self._kernel

    @property
    def stopped(self) -> bool:
        """It has stopped and was not continued yet."""
        return self._stopped

    def holds(self, description: Description) -> bool:
        """Tell whether one of its fds stands for the file description."""
        return self.fds.holds(description)

    # Waiting.

    def wait(
        self, fds: Sequence[tuple[int, int]], timeout_ns: int | None = None
    ) -> list[tuple[int, int]]:
        """Block this process's thread until a host fd is ready or the time is over; see
        `vfs.node.Caller`.

        With fds the time is rounded up to milliseconds. Raises Killed, also when the signal came
        before the call, and Interrupted when a caught signal is due and nothing is ready yet. A
        process that is stopped stops in here; the time goes on.
        """
        if self.attention:
            self.attend(interruptible=False)
            ready = self.waiting.poll(fds, 0, self.attend) if fds else []
            if ready or timeout_ns == 0:
                return ready
            self.attend()
        if fds:
            return self.waiting.poll(fds, timeout_ns, self.attend)
        self.waiting.sleep_for(timeout_ns, self.attend)
        return []

    def check_killed(self) -> None:
        """Raise Killed when a deadly signal has arrived: for long work between blocking calls."""
        if self.killed_by is not None:
            raise Killed

    def attend(self, *, interruptible: bool = True) -> None:
        """Do what signals ask of this process's thread now: Killed, stop, Interrupted."""
        while True:
            if self.killed_by is not None and not self._stopped:
                self._refuse()
            if not self._stop_signal:
                break
            self._halt()
        if interruptible:
            with self.lock:
                interrupted = self.signals.take_interrupt()
                self.reconsider()
            if interrupted:
                raise Interrupted

    def settle_due(self) -> bool:
        """For the engine, when `due`: stop if asked to; tell whether the code must unwind because
        the process was killed. What is due afterwards are handlers.
        """
        while self._stop_signal and self.killed_by is None:
            self._halt()
        if self.killed_by is None:
            return False
        self._checks += 1
        return self._checks > _CHECKS_MAX or not self._is_spared()

    def suspend(self, mask: int) -> NoReturn:
        """Block exactly these signals and wait for a caught one (sigsuspend, pause): Interrupted,
        Killed. The old mask comes back with the handler's return.
        """
        self.signals.swap_mask(mask)
        try:
            while True:
                self.wait(())
        finally:
            self.signals.restore_mask()

    def take_signal(self, signals: int, timeout_ns: int | None) -> int:
        """Wait for one of these signals and take it (sigtimedwait): EAGAIN when the time is over,
        EINTR when another caught one is due.
        """
        deadline = None if timeout_ns is None else time.monotonic_ns() + timeout_ns
        try:
            while True:
                with self.lock:
                    signo = self.signals.await_signals(signals)
                if signo:
                    return signo
                if self.attention:
                    self.attend(interruptible=not self.signals.awaited)
                left = None if deadline is None else deadline - time.monotonic_ns()
                if left is not None and left <= 0:
                    raise GuestError(Errno.EAGAIN)
                self.waiting.sleep(left)
        finally:
            with self.lock:
                self.signals.stop_awaiting()
            self.tell_if_due()

    def _refuse(self) -> None:
        """It was killed: Killed. But a child of vfork cannot be unwound without its parent, so its
        first calls fail with EINTR to let it reach its end by itself.
        """
        self._refusals += 1
        if self._refusals <= _REFUSALS_MAX and self._is_spared():
            raise Interrupted
        raise Killed

    def _is_spared(self) -> bool:
        parent = self.vfork_parent
        while parent is not None:
            if parent.killed_by is not None:
                return False
            parent = parent.vfork_parent
        return self.vfork_parent is not None

    def _halt(self) -> None:
        """Stop this thread until SIGCONT, or SIGKILL."""
        with self.lock:
            signo = self._stop_signal
            if not signo:
                return
            stop = self._stops
            self._stopped = True
            self.change = Stopped(signo)
            self.reconsider()
        self._tell_of_change()
        while self._stop_signal and self._stops == stop:
            self.waiting.sleep(None)
        with self.lock:
            self._stopped = False
            self.reconsider()

    # Signals.

    def signal(self, signo: int) -> bool:
        """Send a signal (Linux number); False when the process has ended. ValueError: no such
        signal.

        0 only asks. The first deadly signal counts; later ones change nothing.
        """
        if signo:
            default_action(signo)
        # Equal only as long as nobody set it: a program that asks for the default gets just that.
        if signo == _SIGINT and self.signals.action(signo) == DEFAULT:
            from balenawasm.kernel.interrupt_words import arm  # noqa: PLC0415 - seldom used

            arm(self)
        continued = False
        with self.lock:
            if self.outcome is not None:
                return False
            if not signo:
                return True
            if signo in (_SIGCONT, _SIGKILL) and self._stop_signal:
                self._stop_signal = 0
                if self._stopped and signo == _SIGCONT:
                    self.change = Continued()
                    continued = True
                self.waiting.wake()
            self.signals.post(signo)
        self.tell_if_due()
        if continued:
            self._tell_of_change()
        return True

    def reconsider(self) -> None:
        """Work out `attention` and `due` anew, and wake the thread if it has to look. Under the
        lock.
        """
        if self._stopped and self._stop_signal:
            self.attention = self.due = False
            return
        must = self.killed_by is not None or self._stop_signal != 0
        signals = self.signals
        self.due = must or bool(signals.deliverable)
        self.attention = must or signals.interrupting or signals.awaited
        self.waiting.expect(attention=self.attention)

    def tell_if_due(self) -> None:
        """After a change, without the lock: interrupt the code if something is due."""
        if not self.due:
            return
        if self.killed_by is not None:
            self.on_kill.fire()
            child = self._vfork_child
            if child is not None:
                child.signal(_SIGKILL)
        on_due = self.on_due  # the process may end meanwhile
        if on_due is not None:
            on_due(self)

    def _tell_of_change(self) -> None:
        on_change = self.on_change
        if on_change is not None:
            on_change(self)

    def doom(self, signo: int) -> None:
        """A deadly signal takes effect; the first counts. Under the lock."""
        if self.killed_by is None:
            self.killed_by = signo

    def ask_to_stop(self, signo: int) -> None:
        """A stop signal takes effect. Under the lock."""
        if not self._stop_signal and self.killed_by is None:
            self._stop_signal = signo
            self._stops += 1

    # Its children, seen by its own thread.

    def open_child_events(self) -> int:
        """A host fd that is readable after something happened to a child; read it, then look at the
        children, then wait for it.
        """
        with self.lock:
            if self._child_fd < 0 and self.outcome is None:
                self._child_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            return self._child_fd

    def tell_of_child(self) -> None:
        """Something happened to a child."""
        with self.lock:
            if self._child_fd >= 0:
                os.eventfd_write(self._child_fd, 1)

    # vfork.

    def lend_to(self, child: Process | None) -> None:
        """Let a child of vfork use this process's thread and memory; None: it does not any more."""
        with self.lock:
            self._vfork_child = child
            self.waiting.lend(lent=child is not None)
            if child is not None:
                child.vfork_parent = self
                child.memory = self.memory
                child.on_due = self.on_due
        if child is not None and self.killed_by is not None:
            child.signal(_SIGKILL)

    def leave_parent(self) -> None:
        """A child of vfork is on its own: it has its own, still empty, memory."""
        parent = self.vfork_parent
        if parent is None:
            return
        parent.lend_to(None)
        with self.lock:
            self.vfork_parent = None
            self.memory = GuestMemory()
            self.on_due = None

    # The end.

    def begin(self) -> None:
        """The calling thread is going to run the guest: its processor time starts here."""
        self._cpu_offset = time.thread_time_ns()
        self._cpu_clock = time.pthread_getcpuclockid(threading.get_ident())

    def cpu_time_ns(self) -> int:
        """Processor time used so far; only meaningful in the process's own thread."""
        return time.thread_time_ns() - self._cpu_offset

    def cpu_used_ns(self) -> int:
        """The same, from any thread; 0 while it has no thread of its own."""
        clock = self._cpu_clock
        if not clock or self.outcome is not None:
            return self._cpu_total
        try:
            return max(0, time.clock_gettime_ns(clock) - self._cpu_offset)
        except OSError:  # the thread has just gone
            return self._cpu_total

    def finish(self, outcome: Outcome) -> None:
        """The guest will never run again: close its fds, tell everybody. The first outcome counts.
        Called by the process's own thread.
        """
        if self._ended.is_set():
            return
        if self._cpu_clock:
            self._cpu_total = max(0, self.cpu_time_ns())
        self.leave_parent()
        self.unbind_memory()
        self.fds.close_all()
        with self.lock:
            if self.outcome is not None:
                return
            self.outcome = outcome
            self._stopped = False
            self.signals.detach()
            self.attention = self.due = False
            self.waiting.close()
            if self._child_fd >= 0:
                os.close(self._child_fd)
                self._child_fd = -1
            if self._exit_fd >= 0:
                os.eventfd_write(self._exit_fd, 1)
        self._ended.set()
        self.on_exit.fire()
        self.on_due = self.on_change = None

    def unbind_memory(self) -> None:
        """Forget the memory before the engine frees it; no signal stores words any more."""
        with self.lock:
            self.memory.unbind()

    def wait_exit(self, timeout: float | None = None) -> Outcome | None:
        """Block a thread of the host until the process has ended, at most `timeout` seconds."""
        self._ended.wait(timeout)
        return self.outcome

    def watch_exit(self) -> int:
        """A host fd, readable once the process has ended; give it back with `unwatch_exit`."""
        with self.lock:
            if self._exit_watchers == 0:
                self._exit_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                if self.outcome is not None:
                    os.eventfd_write(self._exit_fd, 1)
            self._exit_watchers += 1
            return self._exit_fd

    def unwatch_exit(self) -> None:
        """Give back one `watch_exit`."""
        with self.lock:
            self._exit_watchers -= 1
            if self._exit_watchers == 0:
                os.close(self._exit_fd)
                self._exit_fd = -1

    def outcome_of_kill(self) -> Signaled:
        """The outcome of a process that a signal ended; SIGKILL when nobody recorded one."""
        return Signaled(self.killed_by if self.killed_by is not None else _SIGKILL)
