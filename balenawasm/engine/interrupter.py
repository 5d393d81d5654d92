"""Stops guests that compute: the engine's epoch, moved on only while something is due.

Compiled code compares the engine's epoch with its store's deadline at every loop and call. Past it,
the engine calls `_on_epoch`: a guest that has to die traps, one that is to stop stops there, caught
signals have their handlers called; any other guest gets a new deadline one epoch ahead. So a
machine without signals pays nothing but the comparison, and one signal costs its neighbours a
microsecond each.

Once is not enough: between a guest's look at `due` and its new deadline the epoch may move unseen.
Hence a thread repeats the move every few milliseconds until nothing is due any more. It is started
by the first signal, so a process that forks before (the zygote) has none to lose.

Lock order: `_changed` is innermost.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import time
from typing import TYPE_CHECKING, Final

from balenawasm.engine.library import EPOCH_CALLBACK, api
from balenawasm.kernel.session import current

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.kernel.process import Process

_REPEAT_SECONDS: Final = 0.005
_DELTA: Final = 1
_ONE_EPOCH: Final = struct.pack("<Q", _DELTA)


on_pass: Final[list[Callable[[Process], None]]] = []
"""What else guests do when they pass an epoch, each in its own thread: limits of the container."""


def _on_epoch(context: int, store: int, delta: int, kind: int) -> int:
    """Called by the engine in the guest's thread; leaves `kind` at "continue". No exception may
    leave it.
    """
    try:
        for attend in on_pass:
            attend(current.process)
        if not current.process.due or _attend(context, store):
            ctypes.memmove(delta, _ONE_EPOCH, 8)
            return 0
    except BaseException:  # noqa: S110 - a guest that cannot be judged must not run on
        pass
    error: int = api.wasmtime_error_new(b"killed")
    return error


def _attend(context: int, store: int) -> bool:
    """Do what is due; tell whether the guest may go on.

    The engine takes a store's callback out while it runs and puts it back afterwards. Handlers that
    are called from here need one, too: without, the next epoch would end them.
    """
    from balenawasm.engine.delivery import deliver  # noqa: PLC0415 - few guests catch signals

    api.wasmtime_store_epoch_deadline_callback(store, _epoch_callback, store, 0)
    api.wasmtime_context_set_epoch_deadline(context, _DELTA)
    trap = deliver(may_throw=False).trap
    if trap:
        api.wasm_trap_delete(trap)
    return not trap


_epoch_callback: Final = EPOCH_CALLBACK(_on_epoch)


class Interrupter:
    """Interrupts the guests of one engine."""

    def __init__(self, engine: int) -> None:
        self._engine = engine
        self._reset()

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._due: set[Process] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, store: int, context: int, process: Process) -> None:
        """Make a store interruptible. From here on a signal to `process` interrupts its
        computation.
        """
        api.wasmtime_store_epoch_deadline_callback(store, _epoch_callback, store, 0)
        api.wasmtime_context_set_epoch_deadline(context, _DELTA)
        process.on_due = self._interrupt
        process.tell_if_due()

    def forget(self, process: Process) -> None:
        """No more interruptions on its behalf. Called after `process.finish`, so that none is added
        later.
        """
        with self._changed:
            self._due.discard(process)

    def pass_epoch(self) -> None:
        """Have every guest that computes call what is in `on_pass`, soon."""
        api.wasmtime_engine_increment_epoch(self._engine)

    def _interrupt(self, process: Process) -> None:
        if os.getpid() != self._owner:
            # Forked since: the other process's thread, and perhaps a held lock, are not ours.
            self._reset()
        api.wasmtime_engine_increment_epoch(self._engine)
        with self._changed:
            if process.outcome is not None:
                return
            self._due.add(process)
            if self._thread is None:
                self._thread = threading.Thread(target=self._repeat, name="epochs", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _repeat(self) -> None:
        while True:
            with self._changed:
                self._due = {p for p in self._due if p.due and p.outcome is None}
                while not self._due:
                    self._changed.wait()
            api.wasmtime_engine_increment_epoch(self._engine)
            time.sleep(_REPEAT_SECONDS)
