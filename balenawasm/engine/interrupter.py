"""Stops guests that compute: the engine's epoch, moved on only while a kill is pending.

Compiled code compares the engine's epoch with its store's deadline at every loop and call. Past it,
the engine calls `_on_epoch`: a guest that has to die traps, any other gets a new deadline one epoch
ahead. So a machine without kills pays nothing but the comparison, and one kill costs its neighbours
a microsecond each.

Once is not enough: between a guest's look at `killed_by` and its new deadline the epoch may move
unseen. Hence a thread repeats the move every few milliseconds until the doomed guest has gone. It
is started by the first kill, so a process that forks before (the zygote) has none to lose.

Lock order: `_changed` is innermost.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import time
from typing import TYPE_CHECKING, Final

from balenawasm.engine.callbacks import current
from balenawasm.engine.library import EPOCH_CALLBACK, api

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process

_REPEAT_SECONDS: Final = 0.005
_DELTA: Final = 1
_ONE_EPOCH: Final = struct.pack("<Q", _DELTA)


def _on_epoch(context: int, data: int, delta: int, kind: int) -> int:
    """Called by the engine in the guest's thread; leaves `kind` at "continue". No exception may
    leave it.
    """
    try:
        if current.process.killed_by is None:
            ctypes.memmove(delta, _ONE_EPOCH, 8)
            return 0
    except BaseException:  # noqa: S110 - a guest that cannot be judged must not run on
        pass
    error: int = api.wasmtime_error_new(b"killed")
    return error


_epoch_callback: Final = EPOCH_CALLBACK(_on_epoch)


class Interrupter:
    """Interrupts the guests of one engine."""

    def __init__(self, engine: int) -> None:
        self._engine = engine
        self._reset()

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._doomed: set[Process] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, store: int, context: int, process: Process) -> None:
        """Make a store interruptible. From here on a deadly signal to `process` ends its
        computation.
        """
        api.wasmtime_store_epoch_deadline_callback(store, _epoch_callback, 0, 0)
        api.wasmtime_context_set_epoch_deadline(context, _DELTA)
        process.on_kill.append(lambda: self._interrupt(process))

    def forget(self, process: Process) -> None:
        """No more interruptions on its behalf. Called after `process.finish`, so that none is added
        later.
        """
        with self._changed:
            self._doomed.discard(process)

    def _interrupt(self, process: Process) -> None:
        if os.getpid() != self._owner:
            # Forked since: the other process's thread, and perhaps a held lock, are not ours.
            self._reset()
        api.wasmtime_engine_increment_epoch(self._engine)
        with self._changed:
            if process.outcome is not None:
                return
            self._doomed.add(process)
            if self._thread is None:
                self._thread = threading.Thread(target=self._repeat, name="epochs", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _repeat(self) -> None:
        while True:
            with self._changed:
                while not self._doomed:
                    self._changed.wait()
            api.wasmtime_engine_increment_epoch(self._engine)
            time.sleep(_REPEAT_SECONDS)
