"""Durable writes: a reader, or the machine after a power cut, sees the old file or the new one.

The order is: temporary file in the same directory, write, fsync of the file, rename over the
target, fsync of the directory. POSIX promises that the rename is atomic; only the last fsync makes
it survive a power cut.
Every file that must not be lost goes through here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPORARY_PREFIX = ".tmp-"
"""Names of unfinished files start so; a store may delete them under its exclusive lock."""


def fsync_directory(path: Path) -> None:
    """Make a directory's entries durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class PendingFile:
    """A temporary file that becomes `target` when :meth:`commit` is called."""

    def __init__(self, directory: Path, mode: int) -> None:
        self.path = directory / (TEMPORARY_PREFIX + os.urandom(8).hex())
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        self.file: BinaryIO = os.fdopen(fd, "w+b", buffering=1 << 18)
        self._committed = False

    def commit(self, target: Path, *, durable: bool = True) -> None:
        """Flush, fsync, rename to `target` (same file system) and fsync its directory.

        `durable=False` leaves out both fsyncs: for files that are worthless after a reboot.
        """
        self.file.flush()
        if durable:
            os.fsync(self.file.fileno())
        self.file.close()
        self.path.replace(target)
        self._committed = True
        if durable:
            fsync_directory(target.parent)

    def discard(self) -> None:
        """Close and remove the temporary file unless it was committed; safe to call twice."""
        # A full disk makes the buffered close fail too; the file is unwanted, so that is no news.
        with contextlib.suppress(OSError):
            self.file.close()
        if not self._committed:
            self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def pending_file(directory: Path, *, mode: int = 0o644) -> Iterator[PendingFile]:
    """Yield a PendingFile in `directory`; whatever was not committed is removed on the way out."""
    pending = PendingFile(directory, mode)
    try:
        yield pending
    finally:
        pending.discard()


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Replace `path` by a file with this content, durably. OSError leaves the old file as it was.

    With `durable=False` a reader still sees the old or the new file, but a power cut may lose both.
    """
    with pending_file(path.parent, mode=mode) as pending:
        pending.file.write(data)
        pending.commit(path, durable=durable)


@contextlib.contextmanager
def file_lock(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold an advisory lock (flock) on `path`, creating it; blocks until it is free.

    With `wait` off, a lock that another holder has raises BlockingIOError at once.
    The lock file is never removed: removing it would let two holders lock different inodes.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(fd, operation if wait else operation | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)
