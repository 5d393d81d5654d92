"""Advisory locks on files, as flock(2) and fcntl(2) give them, among the processes of one kernel.

A lock of flock belongs to an open file: it is shared by all its fds and goes with the last one. A
record lock belongs to a process and covers a range of bytes: it goes when the process closes any fd
of that file, or ends. The two kinds do not see each other, as on Linux. A file is known by device
and inode number. Other containers' locks on a shared volume are not seen.

Limits: RECORDS_MAX record locks of one process: ENOLCK. Deadlocks are not found; a kill or a signal
ends the wait.

Lock order: `_lock` is innermost; nobody waits while holding it.
"""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING, Final

from balenawasm.record import NamedTuple
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.kernel.process import Process
    from balenawasm.vfs.description import Description

RECORDS_MAX: Final = 1024
END: Final = (1 << 63) - 1
"""Where a range that has no end ends."""


class Record(NamedTuple):
    """A record lock on the bytes from `start` up to, not including, `end`."""

    owner: Process
    start: int
    end: int
    exclusive: bool


class _File:
    """The locks on one file, and who waits for them to change."""

    __slots__ = ("records", "waiters", "whole")

    def __init__(self) -> None:
        self.whole: dict[Description, bool] = {}
        """Open file → exclusive."""
        self.records: list[Record] = []
        self.waiters: set[int] = set()
        """Eventfds."""

    def wake(self) -> None:
        """Have everybody try again."""
        for fd in self.waiters:
            os.eventfd_write(fd, 1)

    def conflict(self, wanted: Record) -> Record | None:
        """A record lock of another process that forbids this one."""
        for held in self.records:
            apart = held.end <= wanted.start or wanted.end <= held.start
            strict = held.exclusive or wanted.exclusive
            if strict and not apart and held.owner is not wanted.owner:
                return held
        return None

    def count(self, owner: Process) -> int:
        """How many record locks of a process there are."""
        return sum(held.owner is owner for held in self.records)

    def clear(self, owner: Process, start: int, end: int) -> None:
        """Take a range out of a process's record locks."""
        kept: list[Record] = []
        for held in self.records:
            if held.owner is not owner or held.end <= start or end <= held.start:
                kept.append(held)
                continue
            if held.start < start:
                kept.append(held._replace(end=start))
            if end < held.end:
                kept.append(held._replace(start=end))
        self.records = kept


_Key = tuple[int, int]


def _key_of(description: Description) -> _Key:
    stat = description.stat()
    return stat.dev, stat.ino


class FileLocks:
    """All locks of one kernel."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[_Key, _File] = {}
        self._keys: dict[Description, _Key] = {}
        """Open files with a lock of flock."""
        self._owners: dict[Process, dict[_Key, int]] = {}
        """Processes that have asked for record locks → how many they hold on which file."""

    # Of open files.

    def lock_file(
        self, caller: Process, description: Description, *, exclusive: bool, block: bool
    ) -> None:
        """flock(2): a lock that is held already is given up first, as on Linux. EAGAIN, EINTR."""
        key = _key_of(description)
        description.at_release = self.unlock_file

        def attempt(file: _File) -> bool:
            if file.whole.pop(description, None) is not None:
                file.wake()
            if any(exclusive or held for held in file.whole.values()):
                return False
            file.whole[description] = exclusive
            self._keys[description] = key
            return True

        self._acquire(caller, key, attempt, block=block)

    def unlock_file(self, description: Description) -> None:
        """Give an open file's lock up, if it has one."""
        with self._lock:
            key = self._keys.pop(description, None)
            file = None if key is None else self._files.get(key)
            if key is not None and file is not None:
                file.whole.pop(description, None)
                self._changed(key, file)

    # Of processes.

    def lock_record(self, description: Description, wanted: Record, *, block: bool) -> None:
        """F_SETLK, or with `block` F_SETLKW, of wanted.owner. EAGAIN, ENOLCK, EINTR."""
        owner = wanted.owner
        key = _key_of(description)
        with self._lock:
            known = owner in self._owners
            counts = self._owners.setdefault(owner, {})
        if not known:
            owner.fds.on_close = lambda closed: self.closed(owner, closed)
            owner.on_exit.append(lambda: self.process_ended(owner))

        def attempt(file: _File) -> bool:
            if file.conflict(wanted) is not None:
                return False
            if sum(counts.values()) >= RECORDS_MAX:
                raise GuestError(Errno.ENOLCK)
            file.clear(owner, wanted.start, wanted.end)
            file.records.append(wanted)
            counts[key] = file.count(owner)
            file.wake()  # an exclusive lock may have become a shared one
            return True

        self._acquire(owner, key, attempt, block=block)

    def unlock_record(self, owner: Process, description: Description, start: int, end: int) -> None:
        """F_UNLCK."""
        self._clear(owner, _key_of(description), start, end)

    def holder(self, description: Description, wanted: Record) -> Record | None:
        """F_GETLK: a lock that is in the way."""
        with self._lock:
            file = self._files.get(_key_of(description))
            return None if file is None else file.conflict(wanted)

    def closed(self, owner: Process, description: Description) -> None:
        """A process has closed, or is closing, an fd: its record locks on that file go."""
        if owner in self._owners:
            self._clear(owner, _key_of(description), 0, END)

    def process_ended(self, owner: Process) -> None:
        """All its record locks go."""
        for key in list(self._owners.get(owner, ())):
            self._clear(owner, key, 0, END)
        with self._lock:
            self._owners.pop(owner, None)

    def _clear(self, owner: Process, key: _Key, start: int, end: int) -> None:
        with self._lock:
            counts = self._owners.get(owner)
            file = self._files.get(key)
            if counts is None or file is None:
                return
            file.clear(owner, start, end)
            counts[key] = file.count(owner)
            if not counts[key]:
                del counts[key]
            self._changed(key, file)

    def _acquire(
        self, caller: Process, key: _Key, attempt: Callable[[_File], bool], *, block: bool
    ) -> None:
        while True:
            with self._lock:
                file = self._files.setdefault(key, _File())
                try:
                    if attempt(file):
                        return
                finally:
                    self._forget_if_empty(key, file)
                if not block:
                    raise GuestError(Errno.EAGAIN)
                fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                file.waiters.add(fd)
            try:
                caller.wait(((fd, select.POLLIN),))
            finally:
                with self._lock:
                    file.waiters.discard(fd)
                    self._forget_if_empty(key, file)
                os.close(fd)

    def _changed(self, key: _Key, file: _File) -> None:
        file.wake()
        self._forget_if_empty(key, file)

    def _forget_if_empty(self, key: _Key, file: _File) -> None:
        if not (file.whole or file.records or file.waiters) and self._files.get(key) is file:
            del self._files[key]
