"""Lines that tell somebody who waits that a program is being compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.engine.compiler import CompileProgress

_FIRST_SECONDS = 0.3
"""What is quicker needs no announcement."""


def compile_notice(show: Callable[[str], None]) -> Callable[[CompileProgress], None]:
    """Turn the compiler's ticks into one line a second."""
    next_second = _FIRST_SECONDS

    def tick(progress: CompileProgress) -> None:
        nonlocal next_second
        if progress.elapsed >= next_second:
            next_second = progress.elapsed + 1.0
            show(f"compiling {progress.name} to native code, {progress.elapsed:.0f} s")

    return tick
