"""Parts that the kernel's tests share."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from balenawasm.kernel.limits import Limits
from balenawasm.kernel.process import Process
from balenawasm.vfs.description import Description
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.path import Namespace

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
LONG = 30.0
"""Seconds after which a test that waits has failed."""


def new_process(pid: int = 1, *, parent: Process | None = None, open_files: int = 8) -> Process:
    return Process(
        pid=pid,
        argv=[b"test"],
        environ=[],
        cwd=b"/",
        namespace=Namespace(Tmpfs(1 << 20).root),
        limits=Limits(open_files=open_files),
        parent=parent,
    )


def in_thread(function: Callable[[], T]) -> Future[T]:
    """Run it in a thread of its own; what it raises, also BaseException, is the future's."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


class Counted(Description):
    """A description that counts its closings."""

    closed = 0

    def close(self) -> None:
        self.closed += 1
