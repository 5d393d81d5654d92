"""Whether there is an accelerator, and what Python tells it. What it does: tests/conformance."""

from __future__ import annotations

import ctypes.util
from pathlib import Path

import pytest

from balenawasm.engine import accelerator
from balenawasm.engine.accelerator import FastProcess, load
from balenawasm.kernel.fd_table import FdEntry
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.pipe import make_pipe
from balenawasm.kernel.process import Process
from balenawasm.vfs.description import FAST_STREAM
from balenawasm.wasi.flags import NONBLOCK


def test_without_a_library_there_is_none(tmp_path: Path) -> None:
    assert load(tmp_path / "missing.so") is None
    (tmp_path / "text.so").write_text("no library")
    assert load(tmp_path / "text.so") is None


def test_a_library_of_another_kind_is_not_used() -> None:
    other = ctypes.util.find_library("m")
    assert other is not None
    assert load(Path(other)) is None


def test_the_one_that_was_built_fits() -> None:
    if not accelerator.LIBRARY.exists():
        pytest.skip("the accelerator has not been built (no C compiler?)")
    assert load() is not None


@pytest.fixture
def process() -> Process:
    return Process(pid=1, argv=[b"p"], environ=[], cwd=b"/", namespace=None, limits=Limits())  # type: ignore[arg-type]


def test_what_an_fd_stands_for_is_learned_and_forgotten(process: Process) -> None:
    fast = process.fds.fast = FastProcess()
    reading, writing = make_pipe()
    fd = process.fds.add(FdEntry(reading), lowest=40)
    fast.learn(fd, process)
    slot = fast._array[fd]
    file = accelerator.FastFile.from_address(slot.file)
    assert (file.kind, file.fd, file.readable, file.writable) == (
        FAST_STREAM,
        reading.host_fd,
        1,
        0,
    )
    assert slot.rights == process.fds.get(fd).rights_base
    reading.flags = NONBLOCK
    assert file.flags == NONBLOCK
    process.fds.put(fd, FdEntry(writing))
    assert fast._array[fd].file == 0
    fast.learn(fd, process)
    assert fast._array[fd].file != 0
    process.fds.remove(fd)
    assert fast._array[fd].file == 0
    fast.learn(fd, process)
    fast.learn(1 << 31, process)
    assert fast._array[fd].file == 0


def test_attention_and_the_eventfd_are_told(process: Process) -> None:
    fast = FastProcess()
    with process.lock:
        process.waiting.show_to(fast, attention=process.attention)
    assert (fast.attention, fast.wake_fd) == (0, -1)
    reading, writing = make_pipe()
    assert process.wait([(writing.host_fd, 4)]) == [(writing.host_fd, 4)]
    assert fast.wake_fd >= 0
    process.signal(15)
    assert fast.attention
    reading.close()
    writing.close()
