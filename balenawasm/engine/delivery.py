"""Delivery of caught signals: the guest's own handler function is called in the guest's thread, on
the way back from a host call or out of the engine's epoch check, so also within a busy loop.

The guest exports `__balenawasm_signal`, of type (param i32): it gets the signal's number, finds the
handler and calls it, and leaves `errno` as it was. The kernel has put the handler's mask in place.
The handler may end the process or exec.

longjmp out of a handler is an exception that crosses our frames. From a host call it is thrown on
into the guest's code that made the call. At an epoch check the engine offers no way to do that, and
the process ends as trapped.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Final

from balenawasm.engine.callbacks import Guest, new_trap, running
from balenawasm.engine.library import EXTERN_FUNC, api, export_of, take_error
from balenawasm.engine.traps import summary, take_trap
from balenawasm.kernel.outcome import Trapped
from balenawasm.kernel.session import current
from balenawasm.record import NamedTuple

HANDLER: Final = b"__balenawasm_signal"
"""The guest's export that finds and calls a signal's handler."""
_VALUE: Final = struct.Struct("<B7xI52x")
"""A `wasmtime_val_t` of kind i32, with room to spare."""
_Value: Final = ctypes.c_char * _VALUE.size
_Exception: Final = ctypes.c_char * 64


class Delivered(NamedTuple):
    """What came of a delivery."""

    restart: bool
    """Handlers have run, and each wants the interrupted call to be made again."""
    trap: int = 0
    """An owned trap that unwinds the guest, or throws its exception on; 0: it goes on."""


def deliver(*, may_throw: bool = True) -> Delivered:
    """Do what is due for this thread's process: unwind, stop, call handlers. Raises nothing on a
    guest's account.
    """
    process = current.process
    guest = running.guest
    restart: bool | None = None
    while process.due:
        if process.settle_due():
            current.outcome = process.outcome_of_kill()
            return Delivered(False, new_trap())
        if guest is None:  # code that runs while it is being instantiated
            break
        with process.lock:
            delivery = process.signals.begin_delivery()
        if delivery is None:
            break
        restart = delivery.restart and restart is not False
        trap = _call(guest, delivery.signo, may_throw=may_throw)
        with process.lock:
            if trap:
                process.signals.abandon_delivery()
            else:
                process.signals.end_delivery(delivery)
        if trap:
            return Delivered(False, trap)
    return Delivered(bool(restart))


def _call(guest: Guest, signo: int, *, may_throw: bool) -> int:
    """Call the guest's function; 0, or an owned trap to return to the engine."""
    context = guest.context
    function = export_of(context, guest.instance, HANDLER, EXTERN_FUNC)
    if function is None:
        current.outcome = Trapped(f"it catches signals but does not export {HANDLER.decode()}")
        return new_trap()
    trap = ctypes.c_size_t()
    value = _Value.from_buffer_copy(_VALUE.pack(0, signo))
    error = api.wasmtime_func_call(
        context,
        ctypes.byref(function.of.func),
        ctypes.addressof(value),
        1,
        0,
        0,
        ctypes.byref(trap),
    )
    if not error and not trap.value:
        return 0
    message = summary(take_error(error)) if error else take_trap(trap.value)
    if current.outcome is not None:
        return new_trap()
    if api.wasmtime_context_has_exception(context):
        exception = _Exception()
        api.wasmtime_context_take_exception(context, ctypes.addressof(exception))
        if may_throw:
            thrown: int = api.wasmtime_context_set_exception(context, ctypes.addressof(exception))
            return thrown
        message = "longjmp out of a handler that interrupted computation"
    process = current.process
    if process.killed_by is not None:
        current.outcome = process.outcome_of_kill()
    else:
        current.outcome = Trapped(f"in the handler of signal {signo}: {message}")
    return new_trap()
