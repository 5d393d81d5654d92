"""A guest without code in a kernel that runs no code: a test makes its calls of the POSIX door."""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING

from balenawasm.kernel.dispatch import errno_of
from balenawasm.kernel.guest_memory import GuestMemory
from balenawasm.kernel.kernel import Kernel
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.network import NetworkStack
from balenawasm.kernel.outcome import Exited
from balenawasm.kernel.program import Program
from balenawasm.kernel.session import current
from balenawasm.personality.linux import answer_of
from balenawasm.personality.posix import TABLE
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.node import Content, OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.flags import O_CREAT

if TYPE_CHECKING:
    from pathlib import Path

    from balenawasm.kernel.process import Process

MEMORY = 1 << 20
NOWHERE = 0xFFFF_FF00
"""A pointer outside the memory."""
FDCWD = -100


class _Executor:
    """Runs nothing: process 1 is the test's, every other program ends at once with 3."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def run(self, process: Process, content: Content) -> None:
        if process.pid == 1:
            self.over.wait()
        process.finish(Exited(0 if process.pid == 1 else 3))


class PosixGuest:
    """`guest("openat", FDCWD, "name", …)` calls for the process that is current. Close it.

    Of the arguments, text is a path: its pointer and length. `b"…"` is data: its pointer. The
    answer is as Linux gives it: negative for an errno. `/program` can be executed.
    """

    def __init__(self, directory: Path) -> None:
        namespace = Namespace(Tmpfs(8 << 20).root)
        self.executor = _Executor()
        self.stack = NetworkStack(loopback_directory=directory)
        self.stack.namespace = namespace
        self.logged: list[str] = []
        self.kernel = Kernel(
            namespace=namespace,
            executor=self.executor,
            hostname="box",
            limits=Limits(open_files=64, processes=16),
            log=self.logged.append,
        )
        self.kernel.network = lambda: self.stack
        program = Program(b"/program", Content("program", memoryview(b"\0asm")))
        self.process = self.kernel.spawn([b"program"], [], b"/", {}, program=program, preopens=())
        self.buffer = bytearray(MEMORY)
        self.process.memory = GuestMemory.over(self.buffer)
        current.process = self.process
        self._top = 1024
        self.create("/program", b"\0asm\1\0\0\0", 0o755)

    def close(self) -> None:
        self.kernel.end_all()
        self.executor.over.set()
        assert self.kernel.wait_all(30)
        self.stack.close()
        del current.process

    def create(self, path: str, data: bytes, mode: int = 0o644) -> None:
        namespace = self.kernel.namespace
        _, description = namespace.open(
            self.process,
            namespace.root,
            path.encode(),
            oflags=O_CREAT,
            flags=OpenFlags(write=True),
            follow=True,
            mode=mode,
        )
        description.retain()
        description.write(self.process, [memoryview(data)])
        description.release()

    # Memory.

    def alloc(self, size: int) -> int:
        pointer = (self._top + 15) & ~15
        self._top = pointer + size
        assert self._top <= MEMORY
        return pointer

    def put(self, data: bytes) -> int:
        pointer = self.alloc(len(data))
        self.buffer[pointer : pointer + len(data)] = data
        return pointer

    def strings(self, *texts: bytes) -> int:
        pointers = [self.put(text + b"\0") for text in texts]
        return self.put(struct.pack(f"<{len(pointers) + 1}I", *pointers, 0))

    def unpack(self, layout: str, pointer: int) -> tuple[int, ...]:
        return struct.unpack_from("<" + layout, self.buffer, pointer)

    # Calls.

    def __call__(self, name: str, *arguments: int | str | bytes) -> int:
        values: list[int] = []
        for argument in arguments:
            if isinstance(argument, str):
                path = argument.encode()
                values += [self.put(path), len(path)]
            else:
                values.append(argument if isinstance(argument, int) else self.put(argument))
        return self.raw(name, *values)

    def raw(self, name: str, *values: int) -> int:
        """One call, as the engine makes it: 32- and 64-bit arguments unsigned."""
        syscall = TABLE[name]
        widths = {"i": (1 << 32) - 1, "q": (1 << 64) - 1}
        unsigned = [v & widths[t] for v, t in zip(values, syscall.signature, strict=True)]
        try:
            answer = syscall.handler(current.process, *unsigned)
        except Exception as error:
            found = errno_of(error)
            if found is None:
                raise
            answer = answer_of(found)
        assert 0 <= answer < 1 << 32
        return answer - (1 << 32) if answer >> 31 else answer
