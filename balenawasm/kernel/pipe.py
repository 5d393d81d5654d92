"""Pipes between guests, or between a guest and the host: two streams over a pipe of the host."""

from __future__ import annotations

import os

from balenawasm.kernel.stream import Stream
from balenawasm.wasi.flags import Filetype


def make_pipe() -> tuple[Stream, Stream]:
    """A new pipe: (reading end, writing end)."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    return (
        Stream(reading, filetype=Filetype.UNKNOWN, writable=False),
        Stream(writing, filetype=Filetype.UNKNOWN, readable=False),
    )
