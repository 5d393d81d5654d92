"""libwasmtime's C API through ctypes: exactly the functions this project calls.

The shared library is the one inside the installed `wasmtime` wheel. The wheel's Python package is
never imported: that costs 25 to 80 ms at every start, and its host functions cost ten times as much
per call (docs/adr/0001-bind-libwasmtime-directly.md). The structures below mirror C headers, so the
wheel's version is pinned: any other version is refused before a function is called.

Spec: `wasm.h` and `wasmtime/*.h` of Wasmtime 50. An address is a Python int and 0 is NULL.
Ownership is the header's: what a `*_new` function returns is freed by the matching `*_delete`, a
`wasm_byte_vec_t` by `wasm_byte_vec_delete`.

Two handles on one library: through `CDLL`, ctypes gives up the GIL around a call, which a call that
runs guest code, maps files or compiles needs; through `PyDLL` it keeps it, which is cheaper for
calls of nanoseconds.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import POINTER, c_bool, c_char_p, c_int64, c_size_t, c_uint8, c_uint32, c_uint64
from importlib.machinery import PathFinder
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from balenawasm.errors import BalenaWasmError

WASMTIME_VERSION: Final = "50.0.1"
"""The one version whose structures are mirrored here; pyproject.toml pins the same."""

EXTERN_FUNC: Final = 0
EXTERN_MEMORY: Final = 3
WASM_I32: Final = 0
WASM_I64: Final = 1

Address = c_size_t
"""A pointer in a prototype: ctypes hands it over as an int."""


class EngineError(BalenaWasmError):
    """The engine is missing, of the wrong version, or failed in a way that no guest causes."""


class ByteVec(ctypes.Structure):
    """`wasm_byte_vec_t`, also `wasm_name_t` and `wasm_message_t`."""

    _fields_ = (("size", c_size_t), ("data", c_size_t))  # type: ignore[mutable-override]
    size: int
    data: int


class PointerVec(ctypes.Structure):
    """`wasm_importtype_vec_t`, `wasm_frame_vec_t`, `wasm_valtype_vec_t`: a count and an array of
    pointers.
    """

    _fields_ = (("size", c_size_t), ("data", POINTER(c_size_t)))  # type: ignore[mutable-override]
    size: int
    data: Any


class Func(ctypes.Structure):
    """`wasmtime_func_t`."""

    _fields_ = (("store_id", c_uint64), ("private", c_size_t))  # type: ignore[mutable-override]


class _MemoryPrefix(ctypes.Structure):
    _fields_ = (("store_id", c_uint64), ("private1", c_uint32))  # type: ignore[mutable-override]


class Memory(ctypes.Structure):
    """`wasmtime_memory_t`."""

    _fields_ = (("prefix", _MemoryPrefix), ("private2", c_uint32))  # type: ignore[mutable-override]


class Global(ctypes.Structure):
    """`wasmtime_global_t`; here because it gives ExternUnion its size."""

    _fields_ = (  # type: ignore[mutable-override]
        ("store_id", c_uint64),
        ("private1", c_uint32),
        ("private2", c_uint32),
        ("private3", c_uint32),
    )


class _ExternUnion(ctypes.Union):
    _fields_ = (("func", Func), ("global_", Global), ("memory", Memory), ("pointer", c_size_t))  # type: ignore[mutable-override]


class Extern(ctypes.Structure):
    """`wasmtime_extern_t`."""

    _fields_ = (("kind", c_uint8), ("of", _ExternUnion))  # type: ignore[mutable-override]
    kind: int
    of: Any


class Instance(ctypes.Structure):
    """`wasmtime_instance_t`."""

    _fields_ = (("store_id", c_uint64), ("private", c_size_t))  # type: ignore[mutable-override]


HOST_FUNCTION = ctypes.CFUNCTYPE(c_size_t, c_size_t, c_size_t, c_size_t, c_size_t)
"""`wasmtime_func_unchecked_callback_t`: (env, caller, ValRaw array, its length) → 0 or an owned
`wasm_trap_t`.
"""

EPOCH_CALLBACK = ctypes.CFUNCTYPE(c_size_t, c_size_t, c_size_t, c_size_t, c_size_t)
"""(context, data, `uint64_t *` of the next deadline, kind) → 0 or an owned `wasmtime_error_t`."""

VAL_RAW_SIZE: Final = 16
"""`sizeof(wasmtime_val_raw_t)`: one argument or result of a host function."""

_Prototype = tuple[Any, tuple[Any, ...]]

_CONFIG_OPTIONS: dict[str, Any] = {
    "async_stack_size": c_size_t,
    "epoch_interruption": c_bool,
    "max_wasm_stack": c_size_t,
    "memory_may_move": c_bool,
    "memory_reservation": c_uint64,
    "native_unwind_info": c_bool,
    "parallel_compilation": c_bool,
    "wasm_bulk_memory": c_bool,
    "wasm_exceptions": c_bool,
    "wasm_function_references": c_bool,
    "wasm_gc": c_bool,
    "wasm_memory64": c_bool,
    "wasm_multi_memory": c_bool,
    "wasm_multi_value": c_bool,
    "wasm_reference_types": c_bool,
    "wasm_relaxed_simd": c_bool,
    "wasm_simd": c_bool,
    "wasm_tail_call": c_bool,
    "wasm_threads": c_bool,
}
"""`wasmtime_config_<name>_set` → the value's type."""

_KEEPS_GIL: dict[str, _Prototype] = {
    **{
        f"wasmtime_config_{name}_set": (None, (Address, kind))
        for name, kind in _CONFIG_OPTIONS.items()
    },
    "wasm_byte_vec_delete": (None, (POINTER(ByteVec),)),
    "wasm_config_new": (Address, ()),
    "wasm_engine_delete": (None, (Address,)),
    "wasm_engine_new_with_config": (Address, (Address,)),
    "wasm_externtype_as_functype_const": (Address, (Address,)),
    "wasm_externtype_kind": (c_uint8, (Address,)),
    "wasm_frame_func_index": (c_uint32, (Address,)),
    "wasm_frame_module_offset": (c_size_t, (Address,)),
    "wasm_frame_vec_delete": (None, (POINTER(PointerVec),)),
    "wasm_functype_delete": (None, (Address,)),
    "wasm_functype_params": (POINTER(PointerVec), (Address,)),
    "wasm_functype_new": (Address, (POINTER(PointerVec), POINTER(PointerVec))),
    "wasm_importtype_module": (POINTER(ByteVec), (Address,)),
    "wasm_importtype_name": (POINTER(ByteVec), (Address,)),
    "wasm_importtype_type": (Address, (Address,)),
    "wasm_importtype_vec_delete": (None, (POINTER(PointerVec),)),
    "wasm_trap_delete": (None, (Address,)),
    "wasm_trap_message": (None, (Address, POINTER(ByteVec))),
    "wasm_trap_trace": (None, (Address, POINTER(PointerVec))),
    "wasm_valtype_new": (Address, (c_uint8,)),
    "wasm_valtype_vec_new": (None, (POINTER(PointerVec), c_size_t, POINTER(c_size_t))),
    "wasmtime_context_has_exception": (c_bool, (Address,)),
    "wasmtime_context_set_exception": (Address, (Address, Address)),
    "wasmtime_context_take_exception": (c_bool, (Address, Address)),
    "wasmtime_context_set_epoch_deadline": (None, (Address, c_uint64)),
    "wasmtime_engine_increment_epoch": (None, (Address,)),
    "wasmtime_error_delete": (None, (Address,)),
    "wasmtime_error_message": (None, (Address, POINTER(ByteVec))),
    "wasmtime_error_new": (Address, (c_char_p,)),
    "wasmtime_frame_func_name": (POINTER(ByteVec), (Address,)),
    "wasmtime_instance_export_get": (
        c_bool,
        (Address, POINTER(Instance), c_char_p, c_size_t, POINTER(Extern)),
    ),
    "wasmtime_instance_pre_delete": (None, (Address,)),
    "wasmtime_linker_allow_shadowing": (None, (Address, c_bool)),
    "wasmtime_linker_define_func_unchecked": (
        Address,
        (Address, c_char_p, c_size_t, c_char_p, c_size_t, Address, HOST_FUNCTION, Address, Address),
    ),
    "wasmtime_linker_delete": (None, (Address,)),
    "wasmtime_linker_instantiate_pre": (Address, (Address, Address, POINTER(c_size_t))),
    "wasmtime_linker_new": (Address, (Address,)),
    "wasmtime_memory_data": (Address, (Address, POINTER(Memory))),
    "wasmtime_memory_data_size": (c_size_t, (Address, POINTER(Memory))),
    "wasmtime_module_imports": (None, (Address, POINTER(PointerVec))),
    "wasmtime_store_context": (Address, (Address,)),
    "wasmtime_store_epoch_deadline_callback": (None, (Address, EPOCH_CALLBACK, Address, Address)),
    "wasmtime_store_limiter": (None, (Address, c_int64, c_int64, c_int64, c_int64, c_int64)),
    "wasmtime_store_new": (Address, (Address, Address, Address)),
    "wasmtime_trap_new": (Address, (c_char_p, c_size_t)),
    "wasmtime_wat2wasm": (Address, (c_char_p, c_size_t, POINTER(ByteVec))),
}
"""Quick calls that run no guest code and do not block."""

_RELEASES_GIL: dict[str, _Prototype] = {
    # The checked call: a stranger's `_start` may have any type, and only this one looks.
    "wasmtime_func_call": (
        Address,
        (Address, POINTER(Func), Address, c_size_t, Address, c_size_t, POINTER(c_size_t)),
    ),
    "wasmtime_instance_pre_instantiate": (
        Address,
        (Address, Address, POINTER(Instance), POINTER(c_size_t)),
    ),
    "wasmtime_module_delete": (None, (Address,)),
    "wasmtime_module_deserialize_file": (Address, (Address, c_char_p, POINTER(c_size_t))),
    "wasmtime_module_new": (Address, (Address, Address, c_size_t, POINTER(c_size_t))),
    "wasmtime_module_serialize": (Address, (Address, POINTER(ByteVec))),
    "wasmtime_store_delete": (None, (Address,)),
}
"""Calls that run guest code, read files, compile, or unmap gigabytes."""


_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def machine_name() -> str:
    """The wheel's word for this machine: `x86_64` or `aarch64`; EngineError on any other."""
    # os.uname instead of platform.machine: importing platform costs 2 ms.
    host = os.uname().machine
    name = _MACHINES.get(host.lower())
    if name is None or sys.maxsize <= 1 << 32:
        raise EngineError(
            f"no WebAssembly engine for this machine ({host})",
            hint="64-bit x86 and 64-bit ARM Linux are supported",
        )
    return name


def find_library() -> Path:
    """The shared library inside the installed wheel; EngineError when it is missing or another
    version.

    The version is read from the name of the wheel's metadata directory, beside the package:
    importing importlib.metadata to ask the same costs 25 ms.
    """
    spec = PathFinder.find_spec("wasmtime")
    if spec is None or spec.origin is None:
        raise EngineError(
            "the Python package wasmtime is not installed",
            hint=f"pip install wasmtime=={WASMTIME_VERSION}",
        )
    package = Path(spec.origin).parent
    if not (package.parent / f"wasmtime-{WASMTIME_VERSION}.dist-info").is_dir():
        found = sorted(package.parent.glob("wasmtime-*.dist-info"))
        version = (
            found[0].name.split("-")[1].removesuffix(".dist") if found else "of unknown version"
        )
        raise EngineError(
            f"the installed Python package wasmtime is {version}; only {WASMTIME_VERSION} fits",
            hint=f"pip install wasmtime=={WASMTIME_VERSION}",
        )
    path = package / f"linux-{machine_name()}" / "_libwasmtime.so"
    if not path.is_file():
        raise EngineError(
            f"the installed wasmtime wheel is not for this machine: it lacks {path.parent.name}",
            hint="pip install --force-reinstall wasmtime on the machine itself",
        )
    return path


def _declare(handle: ctypes.CDLL, prototypes: dict[str, _Prototype], into: SimpleNamespace) -> None:
    for name, (result, arguments) in prototypes.items():
        function = getattr(handle, name)
        function.restype = result
        function.argtypes = arguments
        setattr(into, name, function)


def _load() -> SimpleNamespace:
    path = str(find_library())
    functions = SimpleNamespace()
    try:
        _declare(ctypes.PyDLL(path), _KEEPS_GIL, functions)
        _declare(ctypes.CDLL(path), _RELEASES_GIL, functions)
        # The caller frees the configuration only through the engine; wasm_config_delete is never
        # needed.
    except (OSError, AttributeError) as error:
        raise EngineError(f"cannot load the WebAssembly engine {path}: {error}") from error
    return functions


api: Final = _load()
"""The functions by their C names. Only declared ones are here: an undeclared prototype would
truncate pointers.
"""


def export_of(context: int, instance: Instance, name: bytes, kind: int) -> Extern | None:
    """An export of an instance by its name and EXTERN_*; None when there is none of that kind."""
    item = Extern()
    found = api.wasmtime_instance_export_get(
        context, ctypes.byref(instance), name, len(name), ctypes.byref(item)
    )
    return item if found and item.kind == kind else None


def take_bytes(vector: ByteVec) -> bytes:
    """Copy a byte vector that we own and free it."""
    data = ctypes.string_at(vector.data, vector.size) if vector.size else b""
    api.wasm_byte_vec_delete(ctypes.byref(vector))
    return data


def borrow_text(pointer: ctypes._Pointer[ByteVec] | None) -> str | None:
    """The text of a `wasm_name_t *` that somebody else owns; None for NULL."""
    if not pointer:
        return None
    vector = pointer.contents
    return ctypes.string_at(vector.data, vector.size).decode("utf-8", "replace")


def take_error(error: int) -> str:
    """The message of an owned `wasmtime_error_t`, which is freed: the outermost line and its
    causes.
    """
    message = ByteVec()
    api.wasmtime_error_message(error, ctypes.byref(message))
    api.wasmtime_error_delete(error)
    return take_bytes(message).decode("utf-8", "replace")
