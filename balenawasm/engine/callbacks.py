"""What the engine calls when a guest calls the kernel: from argument slots to a handler and back.

One set of callbacks serves all guests. The process on whose behalf a call runs is the one that its
thread runs (`current`).

What may not happen: a Python exception leaving a callback. ctypes would print it and the guest
would go on with garbage. So everything a handler raises becomes an errno, or the guest's outcome
and a trap that unwinds it.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from balenawasm.engine.library import VAL_RAW_SIZE, api
from balenawasm.kernel.dispatch import errno_of
from balenawasm.kernel.outcome import Exited, ExitRequest, Killed, Outcome, Signaled, Trapped

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process
    from balenawasm.personality.syscall import Syscall

Callback = Callable[[int, int, int, int], int]
"""(environment, caller, address of the slots, their number) → 0 or an owned trap."""
Handler = Callable[..., int]
Unpack = Callable[[memoryview, int], tuple[Any, ...]]


class _Current(threading.local):
    """What this thread runs."""

    process: Process
    outcome: Outcome | None = None
    """Set by a host call that ends the guest, before it traps."""


current: Final = _Current()

memory: Final = memoryview((ctypes.c_ubyte * ((1 << 48) - 1)).from_address(0)).cast("B")
"""All of the process's addresses: used only at the argument slots whose address the engine has just
handed over.
"""

write_result: Final = struct.Struct("<I").pack_into


def callback_of(syscall: Syscall) -> Callback:
    """Make the function that the engine calls for a system call."""
    make = _MAKERS[len(syscall.signature)]
    return make(syscall.handler, syscall.name, _layout(syscall.signature).unpack_from)


def _layout(signature: str) -> struct.Struct:
    """How the argument slots are read: unsigned, each value at the start of its 16 bytes."""
    padding = {"i": f"I{VAL_RAW_SIZE - 4}x", "q": f"Q{VAL_RAW_SIZE - 8}x"}
    fields = "".join(padding[letter] for letter in signature)
    return struct.Struct("<" + fields)


# One maker for each number of parameters, all alike: a handler is called with plain positional
# arguments because unpacking a tuple into the call costs another 80 ns, a fifth of the whole call.
# They are written out because generating them cost each start a millisecond.


def _of_0(handler: Handler, name: str, unpack: Unpack) -> Callback:
    def callback(_environment: int, _caller: int, slots: int, _count: int) -> int:
        try:
            write_result(memory, slots, handler(current.process))
            return 0
        except BaseException as error:
            return _fail(error, name, slots)

    return callback


def _of_1(handler: Handler, name: str, unpack: Unpack) -> Callback:
    def callback(_environment: int, _caller: int, slots: int, _count: int) -> int:
        try:
            (a0,) = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0))
            return 0
        except BaseException as error:
            return _fail(error, name, slots)

    return callback


def _of_2(handler: Handler, name: str, unpack: Unpack) -> Callback:
    def callback(_environment: int, _caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1 = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0, a1))
            return 0
        except BaseException as error:
            return _fail(error, name, slots)

    return callback


def _of_3(handler: Handler, name: str, unpack: Unpack) -> Callback:
    def callback(_environment: int, _caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1, a2 = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0, a1, a2))
            return 0
        except BaseException as error:
            return _fail(error, name, slots)

    return callback


def _of_4(handler: Handler, name: str, unpack: Unpack) -> Callback:
    def callback(_environment: int, _caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1, a2, a3 = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0, a1, a2, a3))
            return 0
        except BaseException as error:
            return _fail(error, name, slots)

    return callback


def _of_5(handler: Handler, name: str, unpack: Unpack) -> Callback:
    def callback(_environment: int, _caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1, a2, a3, a4 = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0, a1, a2, a3, a4))
            return 0
        except BaseException as error:
            return _fail(error, name, slots)

    return callback


def _of_6(handler: Handler, name: str, unpack: Unpack) -> Callback:
    def callback(_environment: int, _caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1, a2, a3, a4, a5 = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0, a1, a2, a3, a4, a5))
            return 0
        except BaseException as error:
            return _fail(error, name, slots)

    return callback


def _of_7(handler: Handler, name: str, unpack: Unpack) -> Callback:
    def callback(_environment: int, _caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1, a2, a3, a4, a5, a6 = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0, a1, a2, a3, a4, a5, a6))
            return 0
        except BaseException as error:
            return _fail(error, name, slots)

    return callback


def _of_9(handler: Handler, name: str, unpack: Unpack) -> Callback:
    def callback(_environment: int, _caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1, a2, a3, a4, a5, a6, a7, a8 = unpack(memory, slots)
            write_result(
                memory, slots, handler(current.process, a0, a1, a2, a3, a4, a5, a6, a7, a8)
            )
            return 0
        except BaseException as error:
            return _fail(error, name, slots)

    return callback


_MAKERS: Final = {
    0: _of_0,
    1: _of_1,
    2: _of_2,
    3: _of_3,
    4: _of_4,
    5: _of_5,
    6: _of_6,
    7: _of_7,
    9: _of_9,
}
"""By the number of parameters; a system call with another number needs one more."""


def _fail(error: BaseException, name: str, slots: int) -> int:
    """Turn what a handler raised into an errno, or into an outcome and a trap. Raises nothing,
    whatever happens.
    """
    try:
        errno = errno_of(error)
        if errno is not None:
            write_result(memory, slots, errno)
            return 0
        current.outcome = _outcome_of(error, name)
    except BaseException:
        current.outcome = Trapped(f"bug in the kernel, in {name}")
    trap: int = api.wasmtime_trap_new(b"the process ended", 17)
    return trap


def _outcome_of(error: BaseException, name: str) -> Outcome:
    if isinstance(error, ExitRequest):
        return Exited(error.code)
    if isinstance(error, Killed):
        signaled: Signaled = current.process.outcome_of_kill()
        return signaled
    import traceback  # noqa: PLC0415 - 2 ms of every start that only a bug is worth

    lines = "".join(traceback.format_exception(error))
    return Trapped(f"bug in the kernel, in {name}: {type(error).__name__}: {error}\n{lines}")
