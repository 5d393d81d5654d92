"""Runs the compiler process (engine.compile) for one module and watches it.

Not a pool: compilations are rare, and a fresh process gives all its memory back. How long one takes
follows the size of the code section; the estimate is for a progress display and nothing else.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import balenawasm
from balenawasm.engine.library import EngineError
from balenawasm.engine.program_file import InvalidModuleError, code_size
from balenawasm.engine.traps import printable, summary
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    import subprocess

_MODULE: Final = "balenawasm.engine.compile"
_TICK_SECONDS: Final = 0.1
_TIMEOUT_SECONDS: Final = 900.0
_STARTUP_SECONDS: Final = 0.1
_CODE_BYTES_PER_SECOND: Final = 1_000_000
"""Per processor; measured with CPython and BusyBox on a laptop-class x86-64 core."""


class CompileError(EngineError):
    """A module could not be compiled for a reason that lies outside of it: no memory, no space, no
    time.
    """


class CompileProgress(NamedTuple):
    """How far one compilation is. `expected` is a guess in seconds, None while another process
    compiles.
    """

    name: str
    wasm_bytes: int
    elapsed: float
    expected: float | None
    done: bool = False


Progress = Callable[[CompileProgress], None]


class NativeCode(NamedTuple):
    """What the compiler wrote: bytes and their sha256 in hex."""

    size: int
    sha256: str


def compile_module(
    source: int, target: int, name: str, *, niceness: int, progress: Progress
) -> NativeCode:
    """Compile the module in the file `source` into the file `target` (descriptors); blocks.

    Raises InvalidModuleError with the compiler's own words, CompileError, and OSError when the
    target cannot be written.
    """
    import subprocess  # noqa: PLC0415 - nearly every start finds its native code

    command = [sys.executable, "-m", _MODULE, str(source), str(target), str(niceness)]
    process = subprocess.Popen(
        command,
        # `-m` looks in the current directory first: make that the one this package was found in.
        cwd=Path(balenawasm.__path__[0]).parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(source, target),
    )
    try:
        output, complaint = _watch(process, name, source, progress)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
    answer = _answer(process.returncode, output, complaint, name)
    return _native_code(answer, name)


def _watch(
    process: subprocess.Popen[bytes], name: str, source: int, progress: Progress
) -> tuple[bytes, bytes]:
    import subprocess  # noqa: PLC0415 - as above

    size = os.fstat(source).st_size
    expected = _expected_seconds(source)
    started = time.monotonic()
    while True:
        elapsed = time.monotonic() - started
        progress(CompileProgress(name, size, elapsed, expected))
        if elapsed > _TIMEOUT_SECONDS:
            raise CompileError(
                f"compiling {name} took longer than {_TIMEOUT_SECONDS:.0f} s and was stopped",
                hint="the module is unusually large, or the machine is very busy",
            )
        try:
            result = process.communicate(timeout=_TICK_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        progress(CompileProgress(name, size, time.monotonic() - started, expected, done=True))
        return result


def _expected_seconds(source: int) -> float:
    with mmap.mmap(source, 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
        code = code_size(view)
    return _STARTUP_SECONDS + code / (_CODE_BYTES_PER_SECOND * len(os.sched_getaffinity(0)))


def _answer(status: int, output: bytes, complaint: bytes, name: str) -> dict[str, Any]:
    try:
        answer = json.loads(output)
    except ValueError:
        answer = None
    if status == 0 and isinstance(answer, dict):
        return answer
    if status == -signal.SIGKILL:
        raise CompileError(
            f"the compiler was killed while compiling {name}, probably for want of memory",
            hint="free some memory, add swap, or compile on a larger machine of the same kind",
        )
    how = f"signal {-status}" if status < 0 else f"status {status}"
    last = complaint.decode("utf-8", "replace").strip().splitlines()[-1:] or [""]
    raise CompileError(
        f"the compiler ended with {how} while compiling {name}: {printable(last[0])}"
    )


def _native_code(answer: dict[str, Any], name: str) -> NativeCode:
    kind = answer.get("error")
    if kind is None:
        return NativeCode(int(answer["size"]), str(answer["sha256"]))
    message = str(answer.get("message", ""))
    if kind == "invalid":
        raise InvalidModuleError(
            f"{name} is not a valid WebAssembly program: {summary(message)}",
            hint="the file is damaged, or was built with features this engine does not have",
        )
    if kind == "memory":
        raise CompileError(
            f"not enough memory to compile {name}", hint="free some memory or add swap"
        )
    raise OSError(errno.ENOSPC, message)
