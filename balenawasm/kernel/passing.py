"""Open files on their way through Unix sockets (SCM_RIGHTS), within one container.

A message carries one host fd for all its files: the reading end of a pipe, whose inode number names
them here. When the message is thrown away unread, the host closes that end, and the writing end,
kept here, tells: such files are let go of when the next ones are sent. A pipe that comes from
another container is not known here and is closed: files do not travel between containers.

Limits: MOST_PASSED a message, MOST_ON_THE_WAY messages and MOST_FILES files in all of them: EMFILE.
(Sockets that are on their way through each other are never let go of.) Lock: one, innermost.
"""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING, Final

from balenawasm.record import NamedTuple
from balenawasm.vfs.socket import MOST_PASSED
from balenawasm.wasi.errno import Errno, GuestError, from_oserror

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balenawasm.vfs.description import Description

MOST_ON_THE_WAY: Final = 256
MOST_FILES: Final = 1024


class _Parcel(NamedTuple):
    writing_end: int
    files: tuple[Description, ...]


class PassedFiles:
    """All open files that are on their way in one container."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parcels: dict[int, _Parcel] = {}

    def put(self, files: Sequence[Description]) -> int:
        """Retain the files; answers the host fd that is to be sent.

        Call `os.close` for it when it has been sent, `take` when sending fails.
        """
        if len(files) > MOST_PASSED:
            raise GuestError(Errno.EINVAL)
        self.sweep()
        with self._lock:
            waiting = sum(len(parcel.files) for parcel in self._parcels.values())
            if len(self._parcels) >= MOST_ON_THE_WAY or waiting + len(files) > MOST_FILES:
                raise GuestError(Errno.EMFILE)
            try:
                reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError as error:
                raise GuestError(from_oserror(error)) from None
            for file in files:
                file.retain()
            self._parcels[os.fstat(reading).st_ino] = _Parcel(writing, tuple(files))
        return reading

    def take(self, reading: int) -> tuple[Description, ...]:
        """The files that a received host fd stands for, retained for the caller; the fd is closed.

        Empty when they were taken before, or come from elsewhere.
        """
        with self._lock:
            parcel = self._parcels.pop(os.fstat(reading).st_ino, None)
        os.close(reading)
        if parcel is None:
            return ()
        os.close(parcel.writing_end)
        return parcel.files

    def close(self) -> None:
        """Let go of everything."""
        self.sweep(everything=True)

    def sweep(self, *, everything: bool = False) -> None:
        """Let go of what nobody can receive any more."""
        with self._lock:
            poll = select.poll()
            for parcel in self._parcels.values():
                poll.register(parcel.writing_end, 0)
            dead = {fd for fd, _ in poll.poll(0)} if self._parcels else set()
            gone = [
                number
                for number, parcel in self._parcels.items()
                if everything or parcel.writing_end in dead
            ]
            parcels = [self._parcels.pop(number) for number in gone]
        for parcel in parcels:
            os.close(parcel.writing_end)
            for file in parcel.files:
                file.release()
