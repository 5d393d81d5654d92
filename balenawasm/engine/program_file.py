"""A program file before it is compiled: is it a core wasm module, and how much code does it hold?

Spec: WebAssembly core specification, binary format, "Modules"; component-model `Binary.md` for the
layer field. Only the eight bytes of the preamble and the lengths of sections are looked at;
everything else is the compiler's to judge. The bytes come from an image or a guest: lengths are
checked against the file.
"""

from __future__ import annotations

from typing import Final

from balenawasm.errors import BalenaWasmError

_MAGIC: Final = b"\0asm"
_MODULE: Final = b"\x01\0\0\0"
_COMPONENT_LAYER: Final = b"\x01\0"
_CODE_SECTION: Final = 10
_SECTIONS_MAX: Final = 10_000

CANNOT_EXECUTE: Final = 126
"""The shell's exit status for a file that is there but is no program."""


class NotAProgramError(BalenaWasmError):
    """A file that was to be run is not a WebAssembly module this engine can run."""

    exit_code = CANNOT_EXECUTE


class InvalidModuleError(BalenaWasmError):
    """A file starts like a WebAssembly module but the compiler refuses it."""

    exit_code = CANNOT_EXECUTE


_FOREIGN: Final = (
    (b"\x7fELF", "a native Linux (ELF) executable", "build it for wasm32-wasip1"),
    (b"#!", "a script", "name its interpreter as the program and the script as its argument"),
    (b"(module", "WebAssembly in text form", "assemble it, for instance with wat2wasm"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"MZ", "a Windows executable", "build it for wasm32-wasip1"),
)


def check_preamble(data: memoryview, name: str) -> None:
    """Raise NotAProgramError unless `data` starts like a core module; `name` is what the user calls
    the file.
    """
    start = bytes(data[:8])
    if start[:4] == _MAGIC and start[4:8] == _MODULE:
        return
    if start[:4] == _MAGIC and start[6:8] == _COMPONENT_LAYER:
        raise NotAProgramError(
            f"{name} is a WASI 0.2 component; components are not supported yet",
            hint="build it as a WASI preview 1 program (wasm32-wasip1)",
        )
    if start[:4] == _MAGIC:
        what = "is cut short" if len(start) < 8 else f"has unknown version {start[4:8].hex(' ')}"
        raise NotAProgramError(f"{name} is not a WebAssembly program: its preamble {what}")
    for magic, kind, hint in _FOREIGN:
        if start.startswith(magic):
            raise NotAProgramError(f"{name} is not a WebAssembly program but {kind}", hint=hint)
    what = f"starts with {start.hex(' ')}" if start else "is empty"
    raise NotAProgramError(
        f"{name} is not a WebAssembly program: the file {what}",
        hint="a WebAssembly program starts with the bytes 00 61 73 6d",
    )


def code_size(data: memoryview) -> int:
    """Bytes of the code section, which compile time follows; 0 when there is none or the file is
    malformed.
    """
    position = 8
    for _ in range(_SECTIONS_MAX):
        if position >= len(data):
            return 0
        section = data[position]
        size, position = _leb128_u32(data, position + 1)
        if section == _CODE_SECTION:
            return min(size, len(data) - position)
        position += size
    return 0


def _leb128_u32(data: memoryview, position: int) -> tuple[int, int]:
    """Decode a u32 at `position`; past the end or over five bytes, the rest of the file counts as
    its length.
    """
    value = 0
    for index, byte in enumerate(bytes(data[position : position + 5])):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    return len(data), position
