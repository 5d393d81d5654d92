"""The fd table of a process: small numbers → entries, each an open file with the rights this fd has
to it.

Three things are kept apart: the *fd* is the number, the *entry* (here) holds what belongs to the
number alone, the *file description* (`vfs.description`) is shared by every fd made from it by dup
or inheritance, in any process.

Rights are WASI's: `rights_base` for the fd itself, `rights_inheriting` for what is opened through
it. They only shrink.

Lock order: a table's lock is innermost; descriptions are closed outside it. Reads take no lock (one
dict look-up).
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from balenawasm.kernel.fast_view import FastView
    from balenawasm.vfs.description import Description
    from balenawasm.vfs.path import Location

# Names of this module for members of an enumeration: looking one up in its class costs 50 ns.
_DIRECTORY: Final = Filetype.DIRECTORY
_REGULAR_FILE: Final = Filetype.REGULAR_FILE
_CHARACTER_DEVICE: Final = Filetype.CHARACTER_DEVICE
_SOCKETS: Final = (Filetype.SOCKET_STREAM, Filetype.SOCKET_DGRAM)

_COMMON: Final = (
    w.FD_FDSTAT_SET_FLAGS | w.FD_FILESTAT_GET | w.FD_FILESTAT_SET_TIMES | w.POLL_FD_READWRITE
)
_READING: Final = w.FD_READ
_SYNCING: Final = w.FD_DATASYNC | w.FD_SYNC
_WRITING: Final = w.FD_WRITE | _SYNCING
_REGULAR_WRITING: Final = _SYNCING | w.FD_ALLOCATE | w.FD_FILESTAT_SET_SIZE
_SEEKING: Final = w.FD_SEEK | w.FD_TELL | w.FD_ADVISE
_SOCKET: Final = w.SOCK_SHUTDOWN | w.SOCK_ACCEPT
DIRECTORY_RIGHTS: Final = (
    w.FD_FDSTAT_SET_FLAGS
    | w.FD_SYNC
    | w.FD_DATASYNC
    | w.FD_ADVISE
    | w.FD_READDIR
    | w.FD_FILESTAT_GET
    | w.FD_FILESTAT_SET_TIMES
    | w.POLL_FD_READWRITE
    | w.PATH_CREATE_DIRECTORY
    | w.PATH_CREATE_FILE
    | w.PATH_LINK_SOURCE
    | w.PATH_LINK_TARGET
    | w.PATH_OPEN
    | w.PATH_READLINK
    | w.PATH_RENAME_SOURCE
    | w.PATH_RENAME_TARGET
    | w.PATH_FILESTAT_GET
    | w.PATH_FILESTAT_SET_SIZE
    | w.PATH_FILESTAT_SET_TIMES
    | w.PATH_SYMLINK
    | w.PATH_REMOVE_DIRECTORY
    | w.PATH_UNLINK_FILE
)
"""Every right that means something for a directory."""


def rights_for(description: Description) -> int:
    """Every right that means something for this open file, given how it was opened.

    A character device without FD_SEEK and FD_TELL is what wasi-libc takes for a terminal: those
    like /dev/null get both.
    """
    filetype = description.filetype
    if filetype is _DIRECTORY:
        return DIRECTORY_RIGHTS
    rights = _COMMON
    if description.readable:
        rights |= _READING
    if description.writable:
        rights |= _WRITING
    if description.seekable:
        rights |= _SEEKING
    if filetype is _REGULAR_FILE:
        rights |= _REGULAR_WRITING if description.writable else _SYNCING
    elif filetype is _CHARACTER_DEVICE:
        if description.host_fd < 0:
            rights |= _SEEKING
    elif filetype in _SOCKETS:
        rights |= _SOCKET
    return rights


class FdEntry:
    """What one fd number stands for."""

    __slots__ = (
        "cloexec",
        "description",
        "location",
        "prestat",
        "rights_base",
        "rights_inheriting",
    )

    def __init__(
        self,
        description: Description,
        *,
        rights_base: int | None = None,
        rights_inheriting: int = w.RIGHTS_ALL,
        prestat: bytes | None = None,
        location: Location | None = None,
        cloexec: bool = False,
    ) -> None:
        self.description = description
        self.cloexec = cloexec
        """Closed by execve (FD_CLOEXEC); belongs to the number, so dup clears it."""
        self.rights_base = rights_for(description) if rights_base is None else rights_base
        self.rights_inheriting = rights_inheriting
        self.prestat = prestat
        """The name under which the guest finds this preopened directory, or None."""
        self.location = location
        """Where the file was opened; directories need it as the start of paths."""

    def require(self, rights: int) -> None:
        """ENOTCAPABLE unless the fd has all of `rights`."""
        if rights & ~self.rights_base:
            raise GuestError(Errno.ENOTCAPABLE)

    def directory(self) -> Location:
        """The directory that paths start at; ENOTDIR when the fd is none."""
        if self.location is None or self.description.filetype is not _DIRECTORY:
            raise GuestError(Errno.ENOTDIR)
        return self.location

    def shared(self, *, cloexec: bool = False) -> FdEntry:
        """A second entry for the same description, for dup and inheritance."""
        return FdEntry(
            self.description,
            rights_base=self.rights_base,
            rights_inheriting=self.rights_inheriting,
            prestat=self.prestat,
            location=self.location,
            cloexec=cloexec,
        )


class FdTable:
    """The open fds of one process. Each entry holds one reference to its description."""

    __slots__ = ("_entries", "_free_from", "_limit", "_lock", "fast", "find", "on_close")

    def __init__(self, limit: int) -> None:
        self._entries: dict[int, FdEntry] = {}
        self.find = self._entries.get
        """The entry of an fd, or None: `get` for the calls that are made a million times a second.
        """
        self.fast: FastView | None = None
        """What native code sees of it; it is told of every change."""
        self._limit = limit
        self.on_close: Callable[[Description], None] | None = None
        """Called when an fd stops standing for an open file, before that is released."""
        self._free_from = 0  # no free number is lower
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._entries))

    def __contains__(self, fd: object) -> bool:
        return fd in self._entries

    def get(self, fd: int) -> FdEntry:
        """The entry of an open fd: EBADF."""
        entry = self._entries.get(fd)
        if entry is None:
            raise GuestError(Errno.EBADF)
        return entry

    def entries(self) -> Mapping[int, FdEntry]:
        """A snapshot of the table."""
        with self._lock:
            return dict(self._entries)

    def holds(self, description: Description) -> bool:
        """Tell whether some fd stands for this description."""
        with self._lock:
            return any(entry.description is description for entry in self._entries.values())

    def add(self, entry: FdEntry, lowest: int = 0) -> int:
        """Put an entry at the lowest free number from `lowest` on: EMFILE.

        The description is retained. When it cannot be added it is closed, unless somebody else has
        it.
        """
        description = entry.description
        description.retain()
        with self._lock:
            entries = self._entries
            fd = max(self._free_from, lowest)
            while fd in entries:
                fd += 1
            if fd < self._limit:
                entries[fd] = entry
                if lowest <= self._free_from:
                    self._free_from = fd + 1
                return fd
        description.release()
        raise GuestError(Errno.EMFILE)

    def forget_fast(self, fd: int) -> None:
        """What `fd` stands for, or its rights, have changed: native code shall ask again."""
        if self.fast is not None:
            self.fast.forget(fd)

    def check_room(self) -> None:
        """EMFILE when the next `add` would fail: ask before an open with side effects."""
        if len(self._entries) >= self._limit:
            raise GuestError(Errno.EMFILE)

    def put(self, fd: int, entry: FdEntry) -> None:
        """Put an entry at exactly `fd`, closing what was there (dup2): EBADF when the number is
        over the limit.
        """
        if not 0 <= fd < self._limit:
            raise GuestError(Errno.EBADF)
        entry.description.retain()
        with self._lock:
            old = self._entries.get(fd)
            self._entries[fd] = entry
            self.forget_fast(fd)
        if old is not None:
            self._let_go(old)

    def remove(self, fd: int) -> None:
        """Close an fd: EBADF."""
        with self._lock:
            entry = self._entries.pop(fd, None)
            if entry is None:
                raise GuestError(Errno.EBADF)
            self._free_from = min(self._free_from, fd)
            self.forget_fast(fd)
        self._let_go(entry)

    def renumber(self, source: int, target: int) -> None:
        """Move `source` over `target`, closing what was there: EBADF when either is not open."""
        with self._lock:
            if source not in self._entries or target not in self._entries:
                raise GuestError(Errno.EBADF)
            if source == target:
                return
            old = self._entries[target]
            self._entries[target] = self._entries.pop(source)
            self._free_from = min(self._free_from, source)
            self.forget_fast(source)
            self.forget_fast(target)
        self._let_go(old)

    def copy_from(self, other: FdTable) -> None:
        """Put in all of another table's fds under their numbers, with their flags (fork)."""
        for fd, entry in other.entries().items():
            self.put(fd, entry.shared(cloexec=entry.cloexec))

    def close_on_exec(self) -> None:
        """Close every fd that is marked so."""
        for fd, entry in self.entries().items():
            if entry.cloexec:
                with contextlib.suppress(OSError, GuestError):
                    self.remove(fd)

    def close_all(self) -> None:
        """Close every fd."""
        with self._lock:
            entries = list(self._entries.values())
            for fd in self._entries if self.fast is not None else ():
                self.forget_fast(fd)
            self._entries.clear()
            self._free_from = 0
        for entry in entries:
            # One that cannot be closed well (a full disk) must not keep the others open.
            with contextlib.suppress(OSError, GuestError):
                self._let_go(entry)

    def _let_go(self, entry: FdEntry) -> None:
        if self.on_close is not None:
            with contextlib.suppress(OSError, GuestError):
                self.on_close(entry.description)
        entry.description.release()
