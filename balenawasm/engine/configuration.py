"""The one engine configuration of the product, and its fingerprint.

Native code fits only the configuration that it was compiled with, so the compiler process and every
runner make their engine here and nowhere else. Change an option and the fingerprint changes with
it: old native code is then not found, instead of refused or, worse, misread.
"""

from __future__ import annotations

from typing import Final

from balenawasm.digest import sha256_hex
from balenawasm.engine.library import WASMTIME_VERSION, api, machine_name

GUEST_STACK: Final = 4 << 20
"""Bytes of native stack that a guest's own calls may use; beyond it the guest traps with a stack
overflow.
"""

HOST_STACK: Final = 4 << 20
"""Bytes below the guest's share for host calls, which run Python on the same thread's stack."""

THREAD_STACK: Final = GUEST_STACK + HOST_STACK
"""The stack of a thread that runs guests. Address space only: pages that are never touched cost
nothing.
"""

MEMORY_RESERVATION: Final = 1 << 32
"""Bytes of address space per linear memory: all that 32-bit wasm can reach, so that the base never
moves.
"""

_OPTIONS: Final[tuple[tuple[str, bool | int], ...]] = (
    # A kill must reach a guest that computes without calling the kernel. Costs a load and a branch
    # per loop: 9 % of CPython's start, 22 % of a tight loop in it.
    ("epoch_interruption", True),
    # Nothing here is async, yet the engine insists that this is the larger of the two.
    ("async_stack_size", THREAD_STACK),
    ("max_wasm_stack", GUEST_STACK),
    ("memory_reservation", MEMORY_RESERVATION),
    ("memory_may_move", False),
    # Backtraces walk frame pointers and wasm exceptions have their own tables; the system's
    # unwinder is never used.
    ("native_unwind_info", False),
    # What clang, rustc and Go emit today.
    ("wasm_bulk_memory", True),
    ("wasm_multi_value", True),
    ("wasm_reference_types", True),
    ("wasm_simd", True),
    ("wasm_relaxed_simd", True),
    ("wasm_tail_call", True),
    # setjmp and longjmp of C programs, and C++ exceptions (the standard encoding, not the legacy
    # one).
    ("wasm_exceptions", True),
    ("wasm_function_references", True),
    ("wasm_gc", True),
    # Atomic instructions on unshared memory are harmless; shared memories stay refused
    # (`shared_memory` is off).
    ("wasm_threads", True),
    # Preview 1 passes 32-bit pointers, and one memory is what the kernel looks at.
    ("wasm_memory64", False),
    ("wasm_multi_memory", False),
)


def _fingerprint() -> str:
    text = "\n".join(f"{name}={value}" for name, value in _OPTIONS)
    return sha256_hex(text.encode())[:12]


def engine_key() -> str:
    """Names everything that decides whether native code fits: engine version, machine,
    configuration.

    The processor's extensions are missing on purpose: the engine checks them itself when it loads
    native code.
    """
    return f"wasmtime-{WASMTIME_VERSION}-{machine_name()}-{_fingerprint()}"


def new_engine() -> int:
    """Make an engine (`wasm_engine_t *`, owned). An inconsistent configuration aborts the process:
    tests find that.
    """
    config = api.wasm_config_new()
    for name, value in _OPTIONS:
        getattr(api, f"wasmtime_config_{name}_set")(config, value)
    engine: int = api.wasm_engine_new_with_config(config)
    return engine
