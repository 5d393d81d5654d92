"""The machine as this program uses it: one place that puts cache, engine and personalities
together, for the zygote, for `run` and for the builder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from balenawasm.engine.code_cache import CodeCache
from balenawasm.engine.machine import Machine
from balenawasm.personality import preview1

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.engine.linker import FormTables, Tables
    from balenawasm.personality.syscall import Syscall
    from balenawasm.runtime.home import Home

_PREVIEW1: Final = "wasi_snapshot_preview1"
_POSIX: Final = "balenawasm_posix"


class _Doors(Mapping[str, "Mapping[str, Syscall]"]):
    """Every personality's system calls; those but for preview 1's are imported when a program asks
    for them.
    """

    def __getitem__(self, module: str) -> Mapping[str, Syscall]:
        if module == _PREVIEW1:
            return preview1.TABLE
        if module == _POSIX:
            from balenawasm.personality import posix  # noqa: PLC0415 - see the class

            return posix.TABLE
        raise KeyError(module)

    def __iter__(self) -> Iterator[str]:
        return iter((_PREVIEW1, _POSIX))

    def __len__(self) -> int:
        return 2


class _Forms(Mapping[str, "Mapping[str, tuple[Syscall, ...]]"]):
    """WasmEdge's socket functions, in preview 1's module; imported when a program asks for them."""

    def __getitem__(self, module: str) -> Mapping[str, tuple[Syscall, ...]]:
        if module == _PREVIEW1:
            from balenawasm.personality import wasmedge_sock  # noqa: PLC0415 - see the class

            return wasmedge_sock.FORMS
        raise KeyError(module)

    def __iter__(self) -> Iterator[str]:
        return iter((_PREVIEW1,))

    def __len__(self) -> int:
        return 1


TABLES: Final[Tables] = _Doors()
"""Every personality: import module → its system calls."""
FORMS: Final[FormTables] = _Forms()
"""Functions beside them: import module → name → the forms it exists in."""


def new_machine(home: Home) -> Machine:
    """Return a machine with every personality, over the state directory's native code.

    A file `without-accelerator` in the state directory keeps the C accelerator out, for tests.
    """
    accelerated = not (home.root / "without-accelerator").exists()
    return Machine(CodeCache(home.native_code), TABLES, FORMS, accelerated=accelerated)
