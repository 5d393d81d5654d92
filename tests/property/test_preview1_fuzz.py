"""Any call with any arguments answers an errno; nothing else ever comes out of a handler."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balenawasm.kernel.outcome import Exited, ExitRequest, Killed
from balenawasm.kernel.pipe import make_pipe
from balenawasm.personality.preview1 import TABLE
from balenawasm.wasi import flags as w

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "personality"))

from preview1_guest import CallError, Guest

if TYPE_CHECKING:
    from collections.abc import Sequence

PATHS = (b"a", b"b", b"d", b"d/e", b"d/../a", b"./l", b"l/e", b"..", b"/", b"", b"a/", b"x\0", b"o")
TABLE_AT, IOVECS_AT, SUBSCRIPTIONS_AT = 64, 4096, 8192
END = 1 << 20


def prepare(guest: Guest) -> None:
    """Memory in which small numbers often mean something."""
    for index, path in enumerate(PATHS):
        guest.buffer[TABLE_AT + 8 * index : TABLE_AT + 8 * index + len(path)] = path
    for index in range(64):
        entry = struct.pack("<II", 16384 + 100 * index, 37 * index)
        guest.buffer[IOVECS_AT + 8 * index : IOVECS_AT + 8 * index + 8] = entry
    for index in range(16):
        record = struct.pack("<QB7xI28x", index, index % 4, index)
        guest.buffer[SUBSCRIPTIONS_AT + 48 * index : SUBSCRIPTIONS_AT + 48 * index + 48] = record
    guest.symlink(b"d", b"l")
    guest.symlink(b"o", b"o")
    guest.on_path("path_create_directory", b"d")
    guest.create(b"a", b"some content")
    for end in make_pipe():
        end.set_flags(w.NONBLOCK)
        guest.install(end)
    guest.open(b"a")
    guest.open(b"d", rights=w.RIGHTS_ALL & ~w.FD_WRITE)


NUMBERS = st.one_of(
    st.integers(0, 16),
    st.sampled_from([TABLE_AT + 8 * index for index in range(len(PATHS))]),
    st.sampled_from([IOVECS_AT, SUBSCRIPTIONS_AT, 16384, 65536, END - 8, END - 1, END]),
    st.sampled_from([0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]),
    st.sampled_from([w.RIGHTS_ALL, w.RIGHTS_ALL & ~w.FD_WRITE, w.FD_READ | w.FD_WRITE]),
    st.integers(0, (1 << 64) - 1),
)
CALLS = st.sampled_from(sorted(TABLE)).flatmap(
    lambda name: st.tuples(st.just(name), st.tuples(*[NUMBERS for _ in TABLE[name].signature]))
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(CALLS, min_size=1, max_size=40))
def test_every_call_answers(calls: Sequence[tuple[str, tuple[int, ...]]]) -> None:
    guest = Guest()
    # It never blocks: what would wait finds its time over.
    guest.process.wait = lambda fds, timeout_ns=None: []  # type: ignore[method-assign]
    prepare(guest)
    try:
        for name, arguments in calls:
            try:
                guest.call(name, *arguments)
            except (CallError, ExitRequest):
                pass
            except Killed:
                guest.process.killed_by = None
            assert len(guest.buffer) == END
    finally:
        guest.process.finish(Exited(0))
