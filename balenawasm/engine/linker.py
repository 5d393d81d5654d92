"""The host functions of a guest: one table per import module, defined once per machine, unchecked.

"Unchecked" is Wasmtime's word for host functions that get the raw argument slots instead of boxed
values; checked ones cost ten times as much per call. The types are right by construction: the same
signature makes the wasm type that instantiation checks and the layout that the slots are read with.
"""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from balenawasm.engine.accelerator import address_of
from balenawasm.engine.callbacks import callback_of
from balenawasm.engine.library import (
    HOST_FUNCTION,
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
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from balenawasm.engine.accelerator import Accelerator
    from balenawasm.personality.syscall import Syscall

Tables: TypeAlias = "Mapping[str, Mapping[str, Syscall]]"
"""Import module → function name → system call."""
FormTables: TypeAlias = "Mapping[str, Mapping[str, tuple[Syscall, ...]]]"
"""Import module → function name → the forms it exists in."""
_NO_FORMS: Final[FormTables] = {}


class MissingImportsError(InvalidModuleError):
    """A program asks for host functions that no personality here has."""


_WITHOUT_RESULT: Final = frozenset(("proc_exit",))
_EXPLANATION_LIMIT: Final = 20

_keep_alive: list[Any] = []
"""Callback objects. The engine keeps their addresses for as long as any linker lives; so do we, for
ever.
"""


class ImportName(NamedTuple):
    """One import of a module; `parameters` is how many a function has, -1 for anything else."""

    module: str
    name: str
    parameters: int = -1


class Linker:
    """Connects programs to host functions. Any thread may link."""

    def __init__(
        self,
        engine: int,
        tables: Tables,
        forms: FormTables = _NO_FORMS,
        accelerator: Accelerator | None = None,
    ) -> None:
        """`forms` are further functions of import modules, by module: those that few programs
        import, and those that exist in several forms, of which the import's type picks one.
        """
        self._tables = tables
        self._accelerator = accelerator
        self._forms = forms
        self._defined: set[str] = set()
        self._callbacks: dict[int, Any] = {}
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
            if error and (wanted := self._forms_for(imports_of(module))):
                api.wasmtime_error_delete(error)
                error = self._resolve_with(wanted, module, instance_pre)
            if not error:
                return instance_pre.value
        reason = take_error(error)
        missing = [i for i in imports_of(module) if not self._has(i)]
        if missing:
            raise _missing_imports(name, missing)
        raise InvalidModuleError(
            f"{name} cannot be linked: {summary(reason)}",
            hint="it was built for another version of the interface",
        )

    def _resolve(self, module: int, out: ctypes.c_size_t) -> int:
        error: int = api.wasmtime_linker_instantiate_pre(self._linker, module, ctypes.byref(out))
        return error

    def _has(self, wanted: ImportName) -> bool:
        return any(
            wanted.name in tables.get(wanted.module, ()) for tables in (self._tables, self._forms)
        )

    def _forms_for(self, imports: Sequence[ImportName]) -> dict[ImportName, Syscall]:
        """The form that each import asks for, of functions that the tables lack or have in another
        one.
        """
        wanted: dict[ImportName, Syscall] = {}
        for one in imports:
            forms = self._forms.get(one.module, {}).get(one.name, ())
            usual = self._tables.get(one.module, {}).get(one.name)
            fitting = [form for form in forms if len(form.signature) == one.parameters]
            if fitting and (usual is None or len(usual.signature) != one.parameters):
                wanted[one] = fitting[0]
        return wanted

    def _resolve_with(
        self, wanted: Mapping[ImportName, Syscall], module: int, out: ctypes.c_size_t
    ) -> int:
        """Resolve with these forms in place of the usual functions, which are put back. The lock is
        held, so no other program meets them.
        """
        api.wasmtime_linker_allow_shadowing(self._linker, True)
        try:
            for one, form in wanted.items():
                self._define(one.module.encode(), one.name.encode(), form)
            return self._resolve(module, out)
        finally:
            for one in wanted:
                usual = self._tables.get(one.module, {}).get(one.name)
                if usual is not None:
                    self._define(one.module.encode(), one.name.encode(), usual)
            api.wasmtime_linker_allow_shadowing(self._linker, False)

    def _define_for(self, imports: Sequence[ImportName]) -> bool:
        """Define the tables these imports name; tells whether there was a new one."""
        wanted = {i.module for i in imports} & set(self._tables) - self._defined
        for module in wanted:
            for name, syscall in self._tables[module].items():
                self._define(module.encode(), name.encode(), syscall)
            self._defined.add(module)
        return bool(wanted)

    def _define(self, module: bytes, name: bytes, syscall: Syscall) -> None:
        callback = self._callbacks.get(id(syscall))
        if callback is None:
            callback = self._callbacks[id(syscall)] = HOST_FUNCTION(callback_of(syscall))
            _keep_alive.append((syscall, callback))
        function, environment = callback, 0
        if self._accelerator is not None and syscall.fast:
            function = HOST_FUNCTION(self._accelerator.function(syscall.name))
            environment = address_of(callback)
        results = "" if syscall.name in _WITHOUT_RESULT else "i"
        parameters, returned = _value_types(syscall.signature), _value_types(results)
        function_type = api.wasm_functype_new(ctypes.byref(parameters), ctypes.byref(returned))
        error = api.wasmtime_linker_define_func_unchecked(
            self._linker,
            module,
            len(module),
            name,
            len(name),
            function_type,
            function,
            environment,
            0,
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
            _parameters_of(api.wasm_importtype_type(entry)),
        )


def _parameters_of(extern_type: int) -> int:
    function_type = api.wasm_externtype_as_functype_const(extern_type)
    return api.wasm_functype_params(function_type).contents.size if function_type else -1


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
