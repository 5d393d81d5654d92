"""Pipes between guests, or between a guest and the host: two streams over a pipe of the host."""

from __future__ import annotations

import os

from balenawasm.kernel.stream import Stream
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype


class PipeEnd(Stream):
    """One end of a pipe. It may keep the other one until that has an fd, too."""

    def __init__(self, fd: int, *, readable: bool = False, writable: bool = False) -> None:
        super().__init__(fd, filetype=Filetype.UNKNOWN, readable=readable, writable=writable)
        self._peer: list[PipeEnd] = []

    def keep_peer(self, peer: PipeEnd) -> None:
        """Keep the other end for `take_peer`; it closes with this one."""
        self._peer.append(peer)

    def take_peer(self) -> PipeEnd:
        """The other end, which is kept no longer: ENOENT when there is none."""
        try:
            return self._peer.pop()
        except IndexError:
            raise GuestError(Errno.ENOENT) from None

    def close(self) -> None:
        """Close the host fd, and the other end if it is still here."""
        super().close()
        while self._peer:
            self._peer.pop().close()


def make_pipe() -> tuple[PipeEnd, PipeEnd]:
    """A new pipe: (reading end, writing end)."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    return PipeEnd(reading, readable=True), PipeEnd(writing, writable=True)
