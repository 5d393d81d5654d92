"""The processes of one kernel by pid, their families, and waiting for them.

Spec: POSIX.1-2017 waitpid, kill, setpgid, setsid; where it leaves a choice, Linux. All processes
are one user's: no signal is refused for lack of permission.

An ended process with a living parent stays as a zombie until that parent waits for it or ends; any
other goes at once, for the kernel is the parent of orphans, and the host holds its own processes'
objects itself. Zombies count against the limit, so that a guest that never waits runs into EAGAIN,
not into our memory.

Lock order: the table's lock is taken before a process's own, never while holding one. Signals are
sent and terminals told outside it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.outcome import Change, Continued, Outcome, Stopped
from balenawasm.kernel.session import Session
from balenawasm.kernel.signals import SA_NOCLDSTOP, SA_NOCLDWAIT, Interrupted, Kind
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balenawasm.kernel.process import Process

PID_MAX: Final = 1 << 22
ANY: Final = -1
"""For `wait`: any child; for `kill`: every process."""
_INIT: Final = 1
_SIGCHLD: Final = int(signal.SIGCHLD)
_JOB_CONTROL: Final = frozenset((signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))
_WAIT: Final = select.POLLIN


class ProcessTable:
    """All processes that live or wait to be waited for."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._processes: dict[int, Process] = {}
        self._children: dict[int, dict[int, Process]] = {}
        """By the parent's pid; what it has not waited for."""
        self._reserved: set[int] = set()
        self._last_pid = 0
        self._wrapped = False
        self._closed = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._processes)

    def reserve(self) -> int:
        """A free pid, to be used with `add` or given back with `release`: EAGAIN at the limit."""
        with self._lock:
            if len(self._processes) + len(self._reserved) >= self._limit:
                raise GuestError(Errno.EAGAIN)
            pid = self._last_pid
            while True:
                pid = pid % PID_MAX + 1
                self._wrapped = self._wrapped or pid < self._last_pid
                if not self._is_taken(pid):
                    break
            self._last_pid = pid
            self._reserved.add(pid)
        return pid

    def _is_taken(self, pid: int) -> bool:
        if pid in self._processes or pid in self._reserved:
            return True
        # The number of a group or session outlives its leader.
        return self._wrapped and any(pid in (p.pgid, p.sid) for p in self._processes.values())

    def release(self, pid: int) -> None:
        """Give back a reserved pid that is not going to be used."""
        with self._lock:
            self._reserved.discard(pid)

    def add(self, process: Process) -> None:
        """Enter a process under its reserved pid. EAGAIN after `close`, or when its parent is
        ending: a signal to all would miss it; the pid is still reserved then.
        """
        parent = process.parent
        with self._lock:
            if self._closed:
                raise GuestError(Errno.EAGAIN)
            if parent is not None:
                if parent.killed_by is not None or parent.outcome is not None:
                    raise GuestError(Errno.EAGAIN)
                self._children.setdefault(parent.pid, {})[process.pid] = process
            self._reserved.discard(process.pid)
            self._processes[process.pid] = process
        process.on_change = self._changed
        process.on_exit.append(lambda: self._ended(process))

    def remove(self, process: Process) -> None:
        """Take out a process that could not be started after all; nobody waits for it."""
        with self._lock:
            self._forget(process)

    def close(self) -> None:
        """No process is added from now on."""
        with self._lock:
            self._closed = True

    def get(self, pid: int) -> Process:
        """A process, alive or zombie: ESRCH."""
        process = self._processes.get(pid)
        if process is None:
            raise GuestError(Errno.ESRCH)
        return process

    def all(self) -> list[Process]:
        """Every process, zombies included, by pid."""
        with self._lock:
            return [self._processes[pid] for pid in sorted(self._processes)]

    def children(self, parent: Process) -> list[Process]:
        """The children of a process that it has not waited for yet."""
        with self._lock:
            return list(self._children.get(parent.pid, {}).values())

    # Signals.

    def signal(self, pid: int, signo: int) -> None:
        """Send a signal: ESRCH when there is no such process; a zombie swallows it. EINVAL: no such
        signal.
        """
        self._send((self.get(pid),), signo)

    def signal_group(self, pgid: int, signo: int) -> None:
        """Send a signal to a process group: ESRCH when it has no members, EINVAL."""
        members = self.group(pgid)
        if not members:
            raise GuestError(Errno.ESRCH)
        self._send(members, signo)

    def kill(self, sender: Process, pid: int, signo: int) -> None:
        """Send a signal: `pid` > 0 is a process, 0 the sender's group, -1 all but the sender and
        process 1, below that the group -pid. ESRCH, EINVAL.
        """
        if pid > 0:
            self.signal(pid, signo)
        elif pid == 0:
            self.signal_group(sender.pgid, signo)
        elif pid == ANY:
            others = [p for p in self.all() if p is not sender and p.pid != _INIT]
            if not others:
                raise GuestError(Errno.ESRCH)
            self._send(others, signo)
        else:
            self.signal_group(-pid, signo)

    def signal_all(self, signo: int) -> None:
        """Send a signal to every process, also to those that are being started meanwhile."""
        told: set[Process] = set()
        while new := [process for process in self.all() if process not in told]:
            self._send(new, signo)
            told.update(new)

    def _send(self, processes: Iterable[Process], signo: int) -> None:
        try:
            for process in processes:
                # Nobody could continue it.
                if signo not in _JOB_CONTROL or not self._stays_running(process, signo):
                    process.signal(signo)
        except ValueError:
            raise GuestError(Errno.EINVAL) from None

    def _stays_running(self, process: Process, signo: int) -> bool:
        return process.signals.action(signo).kind is Kind.DEFAULT and self.is_orphaned(process.pgid)

    # Groups and sessions.

    def group(self, pgid: int) -> list[Process]:
        """The members of a process group by pid, zombies included."""
        return [process for process in self.all() if process.pgid == pgid]

    def is_orphaned(self, pgid: int) -> bool:
        """Tell whether no member's parent is in the same session but another group: nobody could
        continue members that stop.
        """
        return not any(p.outcome is None and _has_guardian(p) for p in self.group(pgid))

    def getpgid(self, caller: Process, pid: int) -> int:
        """The group of a process, 0 being the caller: ESRCH."""
        return self._or_caller(caller, pid).pgid

    def getsid(self, caller: Process, pid: int) -> int:
        """The session of a process, 0 being the caller: ESRCH."""
        return self._or_caller(caller, pid).sid

    def _or_caller(self, caller: Process, pid: int) -> Process:
        return caller if pid == 0 else self.get(pid)

    def setpgid(self, caller: Process, pid: int, pgid: int) -> None:
        """Move the caller (0) or a child of its to a group, 0 being the one with its own number.

        EINVAL: a negative group; ESRCH: neither; EACCES: a child that has called exec; EPERM: a
        session's leader, a child in another session, a group that is not in this session.
        """
        if pgid < 0 or pid < 0:
            raise GuestError(Errno.EINVAL)
        with self._lock:
            process = caller if pid in (0, caller.pid) else self._processes.get(pid)
            if process is None or (process is not caller and process.parent is not caller):
                raise GuestError(Errno.ESRCH)
            if process.session is not caller.session or process.sid == process.pid:
                raise GuestError(Errno.EPERM)
            if process is not caller and process.executed:
                raise GuestError(Errno.EACCES)
            self._join(process, pgid or process.pid)

    def place(self, process: Process, pgid: int | None, *, new_session: bool) -> None:
        """Put a process that is being started where posix_spawn's attributes say: EPERM, EINVAL."""
        if new_session:
            process.session = Session(process.pid)
            process.pgid = process.pid
        elif pgid is not None:
            if pgid < 0:
                raise GuestError(Errno.EINVAL)
            with self._lock:
                self._join(process, pgid or process.pid)

    def _join(self, process: Process, pgid: int) -> None:
        if pgid != process.pid and not any(
            p.pgid == pgid and p.session is process.session for p in self._processes.values()
        ):
            raise GuestError(Errno.EPERM)
        process.pgid = pgid

    def setsid(self, caller: Process) -> int:
        """Make the caller the leader of a new session and group: EPERM when a group has its
        number.
        """
        with self._lock:
            if any(process.pgid == caller.pid for process in self._processes.values()):
                raise GuestError(Errno.EPERM)
            caller.session = Session(caller.pid)
            caller.pgid = caller.pid
        return caller.pid

    # Waiting.

    def wait(
        self,
        parent: Process,
        pid: int | None = ANY,
        *,
        block: bool = True,
        untraced: bool = False,
        continued: bool = False,
    ) -> tuple[int, Outcome | Change] | None:
        """waitpid(2): the pid of a child and its outcome, whereupon it is forgotten; with
        `untraced` and `continued` also that it stopped or continued.

        `pid` > 0: this child, 0: of the parent's group, -1 (or None): any, below: of group -pid.
        None is the answer when there is nothing to tell and `block` is False. ECHILD: there is no
        such child; EINTR: a caught signal is due.
        """
        wanted = ANY if pid is None else pid
        events = parent.open_child_events() if block else -1
        while True:
            if events >= 0:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(events)
            found = self._take_change(parent, wanted, untraced=untraced, continued=continued)
            if found is not None or not block:
                return found
            try:
                parent.wait(((events, _WAIT),))
            except Interrupted:
                # SIGCHLD itself: the child that sent it is the answer.
                found = self._take_change(parent, wanted, untraced=untraced, continued=continued)
                if found is None:
                    raise
                return found

    def _take_change(
        self, parent: Process, wanted: int, *, untraced: bool, continued: bool
    ) -> tuple[int, Outcome | Change] | None:
        with self._lock:
            children = [
                child
                for child in self._children.get(parent.pid, {}).values()
                if _is_meant(child, parent, wanted)
            ]
            if not children:
                raise GuestError(Errno.ECHILD)
            for child in children:
                if child.outcome is not None:
                    self._forget(child)
                    parent.children_cpu_ns += child.cpu_used_ns() + child.children_cpu_ns
                    return child.pid, child.outcome
                change = child.change
                if (untraced and isinstance(change, Stopped)) or (
                    continued and isinstance(change, Continued)
                ):
                    child.change = None
                    return child.pid, change
        return None

    def _forget(self, process: Process) -> None:
        """Take it out of the table. Under the lock."""
        if self._processes.get(process.pid) is process:
            del self._processes[process.pid]
        if process.parent is not None:
            siblings = self._children.get(process.parent.pid, {})
            siblings.pop(process.pid, None)
            if not siblings:
                self._children.pop(process.parent.pid, None)

    # What happens to processes.

    def _changed(self, process: Process) -> None:
        """It has stopped or continued."""
        parent = process.parent
        if parent is not None:
            if not parent.signals.action(_SIGCHLD).flags & SA_NOCLDSTOP:
                parent.signal(_SIGCHLD)
            parent.tell_of_child()

    def _ended(self, process: Process) -> None:
        parent = process.parent
        with self._lock:
            bereft = self._orphan_children(process)
            arrangement = None if parent is None else parent.signals.action(_SIGCHLD)
            if (
                parent is None
                or parent.outcome is not None
                or arrangement is None
                or arrangement.kind is Kind.IGNORE
                or arrangement.flags & SA_NOCLDWAIT
            ):
                self._forget(process)
        if parent is not None:
            parent.signal(_SIGCHLD)
            parent.tell_of_child()
        for pgid in bereft:
            self._wake_orphaned(pgid)
        if process.pid == process.sid:
            terminal, process.session.terminal = process.session.terminal, None
            if terminal is not None:
                terminal.hang_up()

    def _orphan_children(self, process: Process) -> set[int]:
        """Leave its children to the kernel; answers the groups that have lost a guardian with it.
        Under the lock.
        """
        bereft = {process.pgid} if _has_guardian(process) else set()
        for child in self._children.pop(process.pid, {}).values():
            child.parent = None
            child.orphaned = True
            if child.outcome is not None:
                self._forget(child)
            elif child.session is process.session and child.pgid != process.pgid:
                bereft.add(child.pgid)
        return bereft

    def _wake_orphaned(self, pgid: int) -> None:
        """POSIX: stopped members of a group that becomes orphaned get SIGHUP and SIGCONT."""
        members = self.group(pgid)
        if any(member.stopped for member in members) and self.is_orphaned(pgid):
            self._send(members, signal.SIGHUP)
            self._send(members, signal.SIGCONT)


def _is_meant(child: Process, parent: Process, wanted: int) -> bool:
    if wanted == ANY:
        return True
    if wanted > 0:
        return child.pid == wanted
    return child.pgid == (-wanted or parent.pgid)


def _has_guardian(process: Process) -> bool:
    """Its parent, in the same session but another group, could continue it."""
    parent = process.parent
    return (
        parent is not None
        and parent.outcome is None
        and parent.session is process.session
        and parent.pgid != process.pgid
    )
