"""The machine as this program uses it: one place that puts cache, engine and personalities
together, for the zygote, for `run` and for the builder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from balenawasm.engine.code_cache import CodeCache
from balenawasm.engine.machine import Machine
from balenawasm.personality import preview1

if TYPE_CHECKING:
    from balenawasm.engine.linker import Tables
    from balenawasm.runtime.home import Home

TABLES: Final[Tables] = {"wasi_snapshot_preview1": preview1.TABLE}
"""Every personality: import module → its system calls."""


def new_machine(home: Home) -> Machine:
    """Return a machine with every personality, over the state directory's native code."""
    return Machine(CodeCache(home.native_code), TABLES)
