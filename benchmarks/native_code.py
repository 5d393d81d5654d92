"""The C programs of the benchmarks (c/), compiled for both sides from the same source.

Native with `cc -O2`; for wasm32-wasip1 with the clang that the tests use (tests/c/toolchain.py),
which is fetched at its first use.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parent / "c"


def compile_native(name: str, into: Path, *flags: str) -> Path:
    """Compile c/NAME with the machine's own compiler; the program's path."""
    program = into / "-".join([Path(name).stem, *(flag.strip("-") for flag in flags)])
    words = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", *flags, "-o", str(program)]
    subprocess.run([*words, str(SOURCES / name)], check=True)
    return program


def compile_wasm(name: str, *flags: str) -> Path:
    """Compile c/NAME for wasm32-wasip1; the module's path."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from c.toolchain import CToolchain  # noqa: PLC0415 - a folder of its own, see above

    return CToolchain.ready().compile(SOURCES / name, flags=flags)
