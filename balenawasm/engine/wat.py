"""WebAssembly text to binary, by the engine's own assembler: for tests, benchmarks and tiny
built-in modules.
"""

from __future__ import annotations

import ctypes

from balenawasm.engine.library import ByteVec, EngineError, api, take_bytes, take_error


def wat_to_wasm(text: str) -> bytes:
    """Assemble one module; EngineError carries the assembler's message with line and column."""
    source = text.encode()
    out = ByteVec()
    error = api.wasmtime_wat2wasm(source, len(source), ctypes.byref(out))
    if error:
        raise EngineError(take_error(error))
    return take_bytes(out)
