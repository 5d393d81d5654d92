"""LLVM as a service: clang, wasm-ld, ar and the rest as guest processes of one kernel, in-process.

A call of the command line would cost a start for each file; here a guest process costs what LLVM
itself needs, some 20 ms for a small file, and as many run at once as threads call `run`. This
process should do nothing else that computes, for each call of a guest waits for the interpreter;
one that is there for nothing else calls `runtime.hostprocess.prepare_for_guests` first.

The guests see `/usr` (the sysroot), `/tmp` (in memory) and what the caller mounts, and no network.
LLVM here was built with wasi-libc, which knows no working directory: relative paths count from `/`,
so name files by absolute paths.

`clang` compiles one file by itself; what takes several steps, linking above all, it would have to
start programs for, which preview 1 cannot: call `wasm-ld` for that, or see `toolchain/cc`.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from balenawasm.record import NamedTuple
from balenawasm.toolchain.artifacts import ToolchainError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from balenawasm.build.reporter import Reporter
    from balenawasm.runtime.home import Home

_CHUNK = 1 << 16


class CompileError(ToolchainError):
    """A program of LLVM ended with an error; the message has its words."""


class HostMount(NamedTuple):
    """A host directory, and where guests find it."""

    source: Path
    target: str
    read_only: bool = False


class Result(NamedTuple):
    """How a program ended (128 + signal for a killed one), and what it wrote to stdout and stderr
    together.
    """

    status: int
    output: bytes


class Llvm:
    """LLVM's programs over one file tree. May be called from any thread."""

    def __init__(
        self,
        home: Home,
        folder: Path,
        mounts: Iterable[HostMount] = (),
        *,
        notice: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """`folder` is the artifact of `llvm_package`; native code is kept in `home`.

        LLVM is compiled now if its native code is missing, which takes a minute; `notice` gets
        lines about that, and about guests that trapped. Raises StartError, EngineError.
        """
        from balenawasm.toolchain.llvm_kernel import LlvmKernel  # noqa: PLC0415 - see there

        usr = HostMount(folder / "usr", "/usr", read_only=True)
        self._kernel = LlvmKernel(home, folder / "llvm.wasm", (usr, *mounts), notice)

    def run(self, words: Sequence[str], stdin: bytes = b"") -> Result:
        """Run one program, `words[0]`, to its end; blocks. `stdin` is at most what a pipe holds,
        64 KiB.
        """
        source, (reader, writer) = _input(stdin), os.pipe2(os.O_CLOEXEC)
        try:
            process = self._kernel.start(words, source, writer)
        except BaseException:
            for fd in (source, reader, writer):
                os.close(fd)
            raise
        parts = []
        try:
            while part := os.read(reader, _CHUNK):
                parts.append(part)
            outcome = process.wait_exit()
        except BaseException:
            process.signal(signal.SIGKILL)
            raise
        finally:
            os.close(reader)
        status = outcome.status if outcome is not None else 128 + signal.SIGKILL
        if status >= 128:  # what a program does not say itself
            parts.append(f"{words[0]}: {outcome!r}\n".encode())
        return Result(status, b"".join(parts))

    def check(self, words: Sequence[str], stdin: bytes = b"") -> bytes:
        """As `run`; returns the output, CompileError unless the status is 0."""
        done = self.run(words, stdin)
        if done.status != 0:
            raise CompileError(_told(words, done))
        return done.output

    def run_all(self, jobs: Sequence[Sequence[str]], reporter: Reporter | None = None) -> None:
        """Run many programs, as many at once as there are processors.

        CompileError for the first that fails; those that have not begun by then do not.
        """
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only where things are made

        with ThreadPoolExecutor(os.cpu_count() or 1, "llvm") as pool:
            pending = [pool.submit(self.check, words) for words in jobs]
            try:
                for number, future in enumerate(pending, 1):
                    future.result()
                    if reporter is not None:
                        reporter.advance_work(number, len(pending))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def close(self) -> None:
        """End what still runs."""
        self._kernel.close()


def _input(data: bytes) -> int:
    if not data:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        os.set_blocking(writer, False)
        if os.write(writer, data) != len(data):
            raise ToolchainError("the standard input of a compiler is too long")
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return reader


def _told(words: Sequence[str], done: Result) -> str:
    output = done.output.decode(errors="replace").strip()
    return output or f"{' '.join(words)} ended with status {done.status} and said nothing"
