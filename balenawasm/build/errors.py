"""The root of errors that belong to one instruction of a Balenafile."""

from __future__ import annotations

from balenawasm.errors import BalenaWasmError


class InstructionError(BalenaWasmError):
    """An instruction cannot be carried out. It does not know its place: the stage adds it."""
