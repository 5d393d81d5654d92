"""The kernel in which LLVM's programs run, over a file tree of host directories.

Apart from `llvm`, for the engine takes 40 ms to load and most builds find all artifacts made.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from balenawasm.kernel.kernel import Kernel
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.stream import Stream
from balenawasm.runtime.compile_notice import compile_notice
from balenawasm.runtime.machine import new_machine
from balenawasm.runtime.rootfs import host_program, mount_at
from balenawasm.vfs.filesystems.dev import DevFs
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.path import Namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from balenawasm.kernel.process import Process
    from balenawasm.runtime.home import Home
    from balenawasm.toolchain.llvm import HostMount

_TEMPORARY_BYTES = 1 << 30
_ENVIRONMENT = (b"PATH=/usr/bin", b"TMPDIR=/tmp", b"PWD=/")
_END_SECONDS = 2.0


class LlvmKernel:
    """Starts the programs of one module."""

    def __init__(
        self, home: Home, module: Path, mounts: Iterable[HostMount], notice: Callable[[str], None]
    ) -> None:
        """See `llvm.Llvm`; `module` is the host file with all programs."""
        machine = new_machine(home)
        machine.log = notice
        self._program = host_program(module)
        machine.precompile(self._program.content, name="LLVM", progress=compile_notice(notice))
        namespace = Namespace(Tmpfs(_TEMPORARY_BYTES, mode=0o755).root)
        mount_at(namespace, b"/tmp", Tmpfs(_TEMPORARY_BYTES, mode=0o1777).root, b"tmpfs")
        mount_at(namespace, b"/dev", DevFs().root, b"devtmpfs")
        for mount in mounts:
            node = HostDirectory(mount.source, read_only=mount.read_only).root
            mount_at(namespace, os.fsencode(mount.target), node, b"bind")
        self._kernel = Kernel(
            namespace=namespace,
            executor=machine,
            hostname="toolchain",
            limits=Limits(),
            log=notice,
        )

    def start(self, words: Sequence[str], source: int, sink: int) -> Process:
        """Start a program; the host fds become its standard input, and output and error. They are
        closed when it has ended.
        """
        output = Stream(sink)
        return self._kernel.spawn(
            [os.fsencode(word) for word in words],
            _ENVIRONMENT,
            b"/",
            {0: Stream(source, writable=False), 1: output, 2: output},
            program=self._program,
        )

    def close(self) -> None:
        """End what still runs."""
        self._kernel.end_all()
        with contextlib.suppress(OSError):
            self._kernel.wait_all(_END_SECONDS)
