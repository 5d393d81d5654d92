"""The compiler process: `python -m balenawasm.engine.compile WASM_FD OUT_FD NICE`.

One module per process, so that the compiler's memory (ten times the module and more) goes back to
the system, and so that a compiler that crashes or is killed for want of memory takes nothing with
it. Both files are inherited descriptors; the answer is one line of JSON on stdout: `{"size": …,
"sha256": …}`, or `{"error": "invalid" | "write" | "memory", "message": …}`. Exit status 0 means
that the line was printed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import mmap
import os
import signal
import sys
from pathlib import Path
from typing import Final

from balenawasm.engine.configuration import new_engine
from balenawasm.engine.library import ByteVec, api, take_error

_PR_SET_PDEATHSIG: Final = 1
_CHUNK: Final = 1 << 20
_FIRST_CHOICE_OF_THE_OOM_KILLER: Final = "1000"


class _InvalidError(Exception):
    """The compiler refused the module."""


def main(arguments: list[str]) -> int:
    """Compile; see the module's docstring."""
    wasm_fd, out_fd, niceness = (int(word) for word in arguments)
    _give_way(niceness)
    try:
        answer = _compile(wasm_fd, out_fd)
    except _InvalidError as error:
        answer = {"error": "invalid", "message": str(error)}
    except OSError as error:
        kind = "memory" if error.errno == errno.ENOMEM else "write"
        answer = {"error": kind, "message": os.strerror(error.errno or errno.EIO)}
    except MemoryError:
        answer = {"error": "memory", "message": os.strerror(errno.ENOMEM)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    # The engine's memory goes back with the process; freeing it piece by piece would only take
    # time.
    os._exit(0)


def _give_way(niceness: int) -> None:
    """Yield to running services, for processor and memory, and end with the process that asked."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    if niceness:
        os.nice(niceness)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_CHOICE_OF_THE_OOM_KILLER)


def _compile(wasm_fd: int, out_fd: int) -> dict[str, object]:
    """Compile the module in one file into the other; returns size and digest of the native code."""
    with mmap.mmap(wasm_fd, 0, access=mmap.ACCESS_COPY) as source:
        module = ctypes.c_size_t()
        first = ctypes.c_char.from_buffer(source)
        error = api.wasmtime_module_new(
            new_engine(), ctypes.addressof(first), len(source), ctypes.byref(module)
        )
        del first
    if error:
        raise _InvalidError(take_error(error))
    native = ByteVec()
    error = api.wasmtime_module_serialize(module.value, ctypes.byref(native))
    if error:
        raise _InvalidError(take_error(error))
    view = memoryview((ctypes.c_ubyte * native.size).from_address(native.data)).cast("B")
    digest = hashlib.sha256()
    position = 0
    while position < len(view):
        written = os.write(out_fd, view[position : position + _CHUNK])
        digest.update(view[position : position + written])
        position += written
    return {"size": position, "sha256": digest.hexdigest()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
