"""Why guest code stopped, in words for a log: the cause and where in the guest's code it happened.

Function names come from the module's name section, so from a stranger: they are cut and cleaned of
control characters before they reach a terminal.
"""

from __future__ import annotations

import ctypes
import re
from typing import Final

from balenawasm.engine.library import ByteVec, PointerVec, api, borrow_text, take_bytes

_FRAMES_MAX: Final = 20
_CAUSES_MAX: Final = 4
_TEXT_MAX: Final = 160
_TOO_LARGE: Final = re.compile(r"memory minimum size of (\d+) pages exceeds memory limits")
_PAGES_PER_MIB: Final = 16
_NUMBER: Final = re.compile(r"^\s*\d+: ")


def take_trap(trap: int) -> str:
    """Read an owned `wasm_trap_t` and free it: the cause, then the guest's frames line by line,
    innermost first.
    """
    text = ByteVec()
    api.wasm_trap_message(trap, ctypes.byref(text))
    message = take_bytes(text).rstrip(b"\0").decode("utf-8", "replace")
    # What stands before the causes is the engine's own backtrace.
    lines = [
        ": ".join(reversed(_causes(message))) or "trap",
        *(f"    at {frame}" for frame in _frames(trap)),
    ]
    api.wasm_trap_delete(trap)
    return "\n".join(lines)


def printable(text: str) -> str:
    """`text` cut to about a line; characters that a terminal would act upon become `?`."""
    if len(text) > _TEXT_MAX:
        text = text[:_TEXT_MAX] + "…"
    return "".join(c if c.isprintable() else "?" for c in text)


def summary(message: str) -> str:
    """An error of the engine in one line: what failed, then why."""
    head, separator, _ = message.partition("Caused by:")
    lines = [line.strip() for line in head.splitlines() if line.strip()]
    causes = _causes(message) if separator else []
    if too_large := _TOO_LARGE.search(message):
        return (
            f"out of memory: it starts with {int(too_large[1]) / _PAGES_PER_MIB:.3g} MiB, and the "
            "container's memory limit leaves less"
        )
    return ": ".join([*(printable(line) for line in lines[:1]), *causes]) or "unknown error"


def _causes(message: str) -> list[str]:
    """The last paragraph of the engine's message: the causes, numbered if there are several,
    the deepest last.
    """
    paragraph = message.rpartition("Caused by:")[2]
    lines = [_NUMBER.sub("", line).strip() for line in paragraph.splitlines()]
    causes = [printable(line.removeprefix("wasm trap: ")) for line in lines if line]
    return causes[:_CAUSES_MAX]


def _frames(trap: int) -> list[str]:
    vector = PointerVec()
    api.wasm_trap_trace(trap, ctypes.byref(vector))
    frames = [_describe(vector.data[i]) for i in range(min(vector.size, _FRAMES_MAX))]
    api.wasm_frame_vec_delete(ctypes.byref(vector))
    return frames


def _describe(frame: int) -> str:
    name = borrow_text(api.wasmtime_frame_func_name(frame))
    if name is None:
        name = f"function {api.wasm_frame_func_index(frame)}"
    return f"{printable(name)} (offset {api.wasm_frame_module_offset(frame):#x})"
