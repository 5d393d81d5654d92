"""Why guest code stopped, in words for a log: the cause and where in the guest's code it happened.

Function names come from the module's name section, so from a stranger: they are cut and cleaned of
control characters before they reach a terminal.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final

from balenawasm.engine.library import ByteVec, PointerVec, api, borrow_text, take_bytes

_FRAMES_MAX: Final = 24
_NAME_MAX: Final = 160

STACK_OVERFLOW: Final = 0
UNREACHABLE: Final = 9
"""`wasmtime_trap_code_t` values that callers ask for."""


@dataclass(frozen=True, slots=True)
class Trap:
    """One trap. `code` is its `wasmtime_trap_code_t`, or None when a host call made it."""

    cause: str
    code: int | None
    frames: tuple[str, ...]

    @property
    def message(self) -> str:
        """The cause, and the guest's backtrace line by line, innermost first."""
        return "\n".join((self.cause, *(f"    at {frame}" for frame in self.frames)))


def take_trap(trap: int) -> Trap:
    """Read an owned `wasm_trap_t` and free it."""
    text = ByteVec()
    api.wasm_trap_message(trap, ctypes.byref(text))
    # The message ends with a NUL and holds the engine's own backtrace before its last paragraph,
    # the cause.
    lines = take_bytes(text).rstrip(b"\0").decode("utf-8", "replace").splitlines()
    cause = next((line.strip() for line in reversed(lines) if line.strip()), "trap")
    code = ctypes.c_uint8()
    has_code = api.wasmtime_trap_code(trap, ctypes.byref(code))
    frames = _frames(trap)
    api.wasm_trap_delete(trap)
    return Trap(
        printable(cause.removeprefix("wasm trap: ")), code.value if has_code else None, frames
    )


def printable(text: str) -> str:
    """`text` cut to a line's length, every character that a terminal would act upon replaced by
    `?`.
    """
    if len(text) > _NAME_MAX:
        text = text[:_NAME_MAX] + "…"
    return "".join(c if c.isprintable() else "?" for c in text)


def _frames(trap: int) -> tuple[str, ...]:
    vector = PointerVec()
    api.wasm_trap_trace(trap, ctypes.byref(vector))
    frames = [_describe(vector.data[i]) for i in range(min(vector.size, _FRAMES_MAX))]
    api.wasm_frame_vec_delete(ctypes.byref(vector))
    return tuple(frames)


def _describe(frame: int) -> str:
    name = borrow_text(api.wasmtime_frame_func_name(frame))
    if name is None:
        name = f"function {api.wasm_frame_func_index(frame)}"
    return f"{printable(name)} (offset {api.wasm_frame_module_offset(frame):#x})"
