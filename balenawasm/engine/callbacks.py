"""What the engine calls when a guest calls the kernel: from argument slots to a handler and back.

One set of callbacks serves all guests. The process on whose behalf a call runs is the one that its
thread runs (`current`).

What may not happen: a Python exception leaving a callback. ctypes would print it and the guest
would go on with garbage. So everything a handler raises becomes an errno, or the guest's outcome
and a trap that unwinds it.

Caught signals are delivered on the way back of the calls that say so (`Syscall.delivers`), and when
a call ends with EINTR; with SA_RESTART the call is then made again. No other call looks.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from balenawasm.engine.library import VAL_RAW_SIZE, Instance, api
from balenawasm.kernel.dispatch import errno_of
from balenawasm.kernel.guest_memory import ADDRESS_SPACE
from balenawasm.kernel.outcome import (
    ExecRequest,
    Exited,
    ExitRequest,
    Killed,
    Outcome,
    Signaled,
    Trapped,
)
from balenawasm.kernel.session import current
from balenawasm.wasi.errno import Errno

if TYPE_CHECKING:
    from balenawasm.engine.delivery import Delivered
    from balenawasm.personality.syscall import Syscall

Callback = Callable[[int, int, int, int], int]
"""(environment, caller, address of the slots, their number) → 0 or an owned trap."""
Unpack = Callable[[memoryview, int], tuple[Any, ...]]


class Guest:
    """The running code of this thread, as far as delivering signals needs it."""

    __slots__ = ("context", "instance", "store")

    def __init__(self, store: int, context: int, instance: Instance) -> None:
        self.store = store
        self.context = context
        self.instance = instance


class _Running(threading.local):
    guest: Guest | None = None


running: Final = _Running()

_AGAIN: Final = -1
"""Answered by a callback that `_interrupted` has called, never to the engine: call it again."""
_SIGPIPE: Final = 13

memory: Final = ADDRESS_SPACE
"""Used only at the argument slots whose address the engine has just handed over."""

write_result: Final = struct.Struct("<I").pack_into


def callback_of(syscall: Syscall) -> Callback:
    """Make the function that the engine calls for a system call."""
    make = _MAKERS[len(syscall.signature)]
    callback = make(syscall, _layout(syscall.signature).unpack_from)
    return _delivering(callback) if syscall.delivers else callback


def _layout(signature: str) -> struct.Struct:
    """How the argument slots are read: unsigned, each value at the start of its 16 bytes."""
    padding = {"i": f"I{VAL_RAW_SIZE - 4}x", "q": f"Q{VAL_RAW_SIZE - 8}x"}
    fields = "".join(padding[letter] for letter in signature)
    return struct.Struct("<" + fields)


# One maker for each number of parameters, all alike: a handler is called with plain positional
# arguments because unpacking a tuple into the call costs another 80 ns, a fifth of the whole call.
# They are written out because generating them cost each start a millisecond.


def _of_0(call: Syscall, unpack: Unpack) -> Callback:
    handler = call.handler

    def callback(_environment: int, caller: int, slots: int, _count: int) -> int:
        try:
            write_result(memory, slots, handler(current.process))
            return 0
        except BaseException as error:
            return _fail(error, call, callback, caller, slots)

    return callback


def _of_1(call: Syscall, unpack: Unpack) -> Callback:
    handler = call.handler

    def callback(_environment: int, caller: int, slots: int, _count: int) -> int:
        try:
            (a0,) = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0))
            return 0
        except BaseException as error:
            return _fail(error, call, callback, caller, slots)

    return callback


def _of_2(call: Syscall, unpack: Unpack) -> Callback:
    handler = call.handler

    def callback(_environment: int, caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1 = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0, a1))
            return 0
        except BaseException as error:
            return _fail(error, call, callback, caller, slots)

    return callback


def _of_3(call: Syscall, unpack: Unpack) -> Callback:
    handler = call.handler

    def callback(_environment: int, caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1, a2 = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0, a1, a2))
            return 0
        except BaseException as error:
            return _fail(error, call, callback, caller, slots)

    return callback


def _of_4(call: Syscall, unpack: Unpack) -> Callback:
    handler = call.handler

    def callback(_environment: int, caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1, a2, a3 = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0, a1, a2, a3))
            return 0
        except BaseException as error:
            return _fail(error, call, callback, caller, slots)

    return callback


def _of_5(call: Syscall, unpack: Unpack) -> Callback:
    handler = call.handler

    def callback(_environment: int, caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1, a2, a3, a4 = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0, a1, a2, a3, a4))
            return 0
        except BaseException as error:
            return _fail(error, call, callback, caller, slots)

    return callback


def _of_6(call: Syscall, unpack: Unpack) -> Callback:
    handler = call.handler

    def callback(_environment: int, caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1, a2, a3, a4, a5 = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0, a1, a2, a3, a4, a5))
            return 0
        except BaseException as error:
            return _fail(error, call, callback, caller, slots)

    return callback


def _of_7(call: Syscall, unpack: Unpack) -> Callback:
    handler = call.handler

    def callback(_environment: int, caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1, a2, a3, a4, a5, a6 = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0, a1, a2, a3, a4, a5, a6))
            return 0
        except BaseException as error:
            return _fail(error, call, callback, caller, slots)

    return callback


def _of_8(call: Syscall, unpack: Unpack) -> Callback:
    handler = call.handler

    def callback(_environment: int, caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1, a2, a3, a4, a5, a6, a7 = unpack(memory, slots)
            write_result(memory, slots, handler(current.process, a0, a1, a2, a3, a4, a5, a6, a7))
            return 0
        except BaseException as error:
            return _fail(error, call, callback, caller, slots)

    return callback


def _of_9(call: Syscall, unpack: Unpack) -> Callback:
    handler = call.handler

    def callback(_environment: int, caller: int, slots: int, _count: int) -> int:
        try:
            a0, a1, a2, a3, a4, a5, a6, a7, a8 = unpack(memory, slots)
            write_result(
                memory, slots, handler(current.process, a0, a1, a2, a3, a4, a5, a6, a7, a8)
            )
            return 0
        except BaseException as error:
            return _fail(error, call, callback, caller, slots)

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
    8: _of_8,
    9: _of_9,
}
"""By the number of parameters; a system call with another number needs one more."""


def _delivering(callback: Callback) -> Callback:
    """The same, with handlers of caught signals called on the way back."""

    def delivering(environment: int, caller: int, slots: int, count: int) -> int:
        result = callback(environment, caller, slots, count)
        if result == 0 and current.process.due:
            return _deliver().trap
        return result

    return delivering


def _fail(error: BaseException, call: Syscall, callback: Callback, caller: int, slots: int) -> int:
    """Turn what a handler raised into an errno, or into an outcome and a trap. Raises nothing,
    whatever happens.
    """
    try:
        errno = errno_of(error)
        if errno is Errno.EINTR:
            return _interrupted(call, callback, caller, slots)
        if errno is not None:
            if errno is Errno.EPIPE and current.process.sigpipe:
                current.process.signal(_SIGPIPE)
            write_result(memory, slots, call.encode(errno) & 0xFFFF_FFFF)
            return 0
        current.outcome = _outcome_of(error, call.name)
    except BaseException:
        current.outcome = Trapped(f"bug in the kernel, in {call.name}")
    return new_trap()


def _interrupted(call: Syscall, callback: Callback, caller: int, slots: int) -> int:
    """A call ended with EINTR: deliver, then make it again if all the handlers want that.

    A call made from here has no caller, and asks for its repetition: so however often a call is
    interrupted, the stack does not grow.
    """
    done = _deliver()
    if done.trap:
        return done.trap
    if not (done.restart and call.restarts):
        write_result(memory, slots, call.encode(Errno.EINTR) & 0xFFFF_FFFF)
        return 0
    result = _AGAIN
    while result == _AGAIN and caller:
        result = callback(0, 0, slots, 0)
    return result


def _deliver() -> Delivered:
    from balenawasm.engine.delivery import deliver  # noqa: PLC0415 - few guests catch signals

    return deliver()


def new_trap() -> int:
    """A trap that unwinds the guest, owned by whom it is given to; `current.outcome` says why."""
    trap: int = api.wasmtime_trap_new(b"the process ended", 17)
    return trap


def _outcome_of(error: BaseException, name: str) -> Outcome:
    if isinstance(error, ExitRequest):
        return Exited(error.code)
    if isinstance(error, ExecRequest):
        current.replacement = error.content
        return Exited(0)
    if isinstance(error, Killed):
        signaled: Signaled = current.process.outcome_of_kill()
        return signaled
    import traceback  # noqa: PLC0415 - 2 ms of every start that only a bug is worth

    lines = "".join(traceback.format_exception(error))
    return Trapped(f"bug in the kernel, in {name}: {type(error).__name__}: {error}\n{lines}")
