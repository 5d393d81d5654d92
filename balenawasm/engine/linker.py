"""The host functions of a guest: one table per import module, defined once per machine, unchecked.

"Unchecked" is Wasmtime's word for host functions that get the raw argument slots instead of boxed
values; checked ones cost ten times as much per call. The types are right by construction: the same
signature makes the wasm type that instantiation checks and the layout that the slots are read with.

One set of callbacks serves all guests. The process on whose behalf a call runs is the one that its
thread runs (`current`).

What may not happen: a Python exception leaving a callback. ctypes would print it and the guest
would go on with garbage. So everything a handler raises becomes an errno, or the guest's outcome
and a trap that unwinds it.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import threading
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from balenawasm.engine.library import (
    HOST_FUNCTION,
    VAL_RAW_SIZE,
    WASM_I32,
    WASM_I64,
    EngineError,
    PointerVec,
    api,
    borrow_text,
    take_error,
)
from balenawasm.engine.program_file import InvalidModuleError
from balenawasm.engine.traps import printable, summary
from balenawasm.kernel.dispatch import errno_of
from balenawasm.kernel.outcome import Exited, ExitRequest, Killed, Outcome, Signaled, Trapped
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import CodeType

    from balenawasm.kernel.process import Process
    from balenawasm.personality.syscall import Syscall

Tables: TypeAlias = "Mapping[str, Mapping[str, Syscall]]"
"""Import module → function name → system call."""


class MissingImportsError(InvalidModuleError):
    """A program asks for host functions that no personality here has."""


class _Current(threading.local):
    """What this thread runs."""

    process: Process
    outcome: Outcome | None = None
    """Set by a host call that ends the guest, before it traps."""


current: Final = _Current()

_WITHOUT_RESULT: Final = frozenset(("proc_exit",))
_EXPLANATION_LIMIT: Final = 20

_slots = memoryview((ctypes.c_ubyte * ((1 << 48) - 1)).from_address(0)).cast("B")
"""All of the process's addresses: used only at the argument slots whose address the engine has just
handed over.
"""

_write_result = struct.Struct("<I").pack_into
_keep_alive: list[Any] = []
"""Callback objects. The engine keeps their addresses for as long as any linker lives; so do we, for
ever.
"""


def _layout(signature: str) -> struct.Struct:
    """How the argument slots are read: unsigned, each value at the start of its 16 bytes."""
    padding = {"i": f"I{VAL_RAW_SIZE - 4}x", "q": f"Q{VAL_RAW_SIZE - 8}x"}
    fields = "".join(padding[letter] for letter in signature)
    return struct.Struct("<" + fields)


_TEMPLATE: Final = """
def callback(environment, caller, slots, count):
    try:
        {names}= unpack(memory, slots)
        write_result(memory, slots, handler(current.process{arguments}))
        return 0
    except BaseException as error:
        return fail(error, name, slots)
"""


@functools.cache
def _callback_code(parameters: int) -> CodeType:
    """The code that makes a callback for a handler with this many parameters.

    Its source is generated so that the handler is called with plain positional arguments: unpacking
    a tuple into the call costs another 80 ns, a fifth of the whole call.
    """
    names = [f"a{index}" for index in range(parameters)]
    source = _TEMPLATE.format(
        names="".join(f"{name}, " for name in names) or "() ",
        arguments="".join(f", {name}" for name in names),
    )
    return compile(source, f"<host function of {parameters}>", "exec")


def _callback(syscall: Syscall) -> Callable[..., int]:
    """Make the function that the engine calls."""
    namespace: dict[str, Any] = {
        "current": current,
        "fail": _fail,
        "handler": syscall.handler,
        "memory": _slots,
        "name": syscall.name,
        "unpack": _layout(syscall.signature).unpack_from,
        "write_result": _write_result,
    }
    exec(_callback_code(len(syscall.signature)), namespace)  # noqa: S102 - our own template
    function: Callable[..., int] = namespace["callback"]
    return function


def _fail(error: BaseException, name: str, slots: int) -> int:
    """Turn what a handler raised into an errno, or into an outcome and a trap. Raises nothing,
    whatever happens.
    """
    try:
        errno = errno_of(error)
        if errno is not None:
            _write_result(_slots, slots, errno)
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


class ImportName(NamedTuple):
    """One import of a module."""

    module: str
    name: str


class Linker:
    """Connects programs to host functions. Any thread may link."""

    def __init__(self, engine: int, tables: Tables) -> None:
        self._tables = tables
        self._defined: set[str] = set()
        self._lock = threading.Lock()
        self._linker: int = api.wasmtime_linker_new(engine)

    def link(self, module: int, name: str) -> int:
        """Resolve a module's imports: an owned `wasmtime_instance_pre_t`.

        `name` is what the user calls the program. MissingImportsError names what nobody provides;
        InvalidModuleError says which import has the wrong type.
        """
        instance_pre = ctypes.c_size_t()
        with self._lock:
            error = self._resolve(module, instance_pre)
            # A table is defined when the first program asks for it.
            if error and self._define_for(imports_of(module)):
                api.wasmtime_error_delete(error)
                error = self._resolve(module, instance_pre)
            if not error:
                return instance_pre.value
        reason = take_error(error)
        missing = [i for i in imports_of(module) if i.name not in self._tables.get(i.module, ())]
        if missing:
            raise _missing_imports(name, missing)
        raise InvalidModuleError(
            f"{name} cannot be linked: {summary(reason)}",
            hint="it was built for another version of the interface",
        )

    def _resolve(self, module: int, out: ctypes.c_size_t) -> int:
        error: int = api.wasmtime_linker_instantiate_pre(self._linker, module, ctypes.byref(out))
        return error

    def _define_for(self, imports: Sequence[ImportName]) -> bool:
        """Define the tables these imports name; tells whether there was a new one."""
        wanted = {i.module for i in imports} & set(self._tables) - self._defined
        for module in wanted:
            for name, syscall in self._tables[module].items():
                self._define(module.encode(), name.encode(), syscall)
            self._defined.add(module)
        return bool(wanted)

    def _define(self, module: bytes, name: bytes, syscall: Syscall) -> None:
        callback = HOST_FUNCTION(_callback(syscall))
        _keep_alive.append(callback)
        results = "" if syscall.name in _WITHOUT_RESULT else "i"
        parameters, returned = _value_types(syscall.signature), _value_types(results)
        function_type = api.wasm_functype_new(ctypes.byref(parameters), ctypes.byref(returned))
        error = api.wasmtime_linker_define_func_unchecked(
            self._linker, module, len(module), name, len(name), function_type, callback, 0, 0
        )
        api.wasm_functype_delete(function_type)
        if error:
            raise EngineError(f"cannot define host function {name.decode()}: {take_error(error)}")


def imports_of(module: int) -> list[ImportName]:
    """All imports of a module, in its order."""
    vector = PointerVec()
    api.wasmtime_module_imports(module, ctypes.byref(vector))
    try:
        return list(_read_imports(vector))
    finally:
        api.wasm_importtype_vec_delete(ctypes.byref(vector))


def _read_imports(vector: PointerVec) -> Iterator[ImportName]:
    for index in range(vector.size):
        entry = vector.data[index]
        yield ImportName(
            borrow_text(api.wasm_importtype_module(entry)) or "",
            borrow_text(api.wasm_importtype_name(entry)) or "",
        )


def _missing_imports(name: str, missing: list[ImportName]) -> MissingImportsError:
    shown = [f"{printable(i.module)}.{printable(i.name)}" for i in missing[:_EXPLANATION_LIMIT]]
    if len(missing) > _EXPLANATION_LIMIT:
        shown.append(f"… {len(missing) - _EXPLANATION_LIMIT} more")
    return MissingImportsError(
        f"{name} imports what this system does not provide: {', '.join(shown)}",
        hint="build it for wasm32-wasip1 without extensions of another runtime",
    )


def _value_types(letters: str) -> PointerVec:
    """A `wasm_valtype_vec_t` whose ownership goes to `wasm_functype_new`."""
    kinds = [WASM_I32 if letter == "i" else WASM_I64 for letter in letters]
    types = (ctypes.c_size_t * len(kinds))(*(api.wasm_valtype_new(kind) for kind in kinds))
    vector = PointerVec()
    api.wasm_valtype_vec_new(ctypes.byref(vector), len(kinds), types)
    return vector
