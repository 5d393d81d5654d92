from __future__ import annotations

import os
import pty
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from kernel_parts import LONG, in_thread

from balenawasm.kernel.fd_table import rights_for
from balenawasm.kernel.outcome import Killed
from balenawasm.kernel.pipe import make_pipe
from balenawasm.kernel.stream import Stream
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import APPEND, FD_SEEK, NONBLOCK, Filetype, Whence

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from balenawasm.kernel.process import Process

MORE_THAN_A_PIPE_HOLDS = 300_000


@pytest.fixture
def pipe() -> Iterator[tuple[Stream, Stream]]:
    ends = make_pipe()
    for end in ends:
        end.retain()
        end.retain()
    yield ends
    for end in ends:
        end.release()
        end.release()


@pytest.fixture(params=["owned", "inherited"])
def any_pipe(request: pytest.FixtureRequest) -> Iterator[tuple[Stream, Stream]]:
    """A pipe of our own, and one that the host gave us and that stays blocking."""
    if request.param == "owned":
        ends = make_pipe()
    else:
        reading, writing = os.pipe()
        ends = Stream.inherited(reading), Stream.inherited(writing)
    yield ends
    for end in ends:
        os.close(end.host_fd)


def buffer(size: int = 16) -> list[memoryview]:
    return [memoryview(bytearray(size))]


def text(data: bytes) -> list[memoryview]:
    return [memoryview(data)]


def test_bytes_go_through(process: Process, any_pipe: tuple[Stream, Stream]) -> None:
    reading, writing = any_pipe
    parts = [memoryview(b"ab"), memoryview(b""), memoryview(b"cd")]
    assert writing.write(process, parts) == 4
    into = [memoryview(bytearray(3)), memoryview(bytearray(3))]
    assert reading.read(process, into) == 4
    assert bytes(into[0]) + bytes(into[1]) == b"abcd\0\0"


def test_a_read_waits(process: Process, any_pipe: tuple[Stream, Stream]) -> None:
    reading, writing = any_pipe
    into = buffer()
    reader = in_thread(lambda: reading.read(process, into))
    time.sleep(0.01)
    os.write(writing.host_fd, b"late")
    assert reader.result(LONG) == 4


def test_a_kill_ends_a_read(process: Process, any_pipe: tuple[Stream, Stream]) -> None:
    reader = in_thread(lambda: any_pipe[0].read(process, buffer()))
    time.sleep(0.01)
    process.signal(signal.SIGTERM)
    assert isinstance(reader.exception(LONG), Killed)


def test_a_kill_ends_a_write(process: Process, any_pipe: tuple[Stream, Stream]) -> None:
    data = text(bytes(MORE_THAN_A_PIPE_HOLDS))
    writer = in_thread(lambda: any_pipe[1].write(process, data))
    time.sleep(0.01)
    process.signal(signal.SIGTERM)
    assert isinstance(writer.exception(LONG), Killed)


def test_a_blocking_write_writes_everything(
    process: Process, any_pipe: tuple[Stream, Stream]
) -> None:
    reading, writing = any_pipe
    data = os.urandom(MORE_THAN_A_PIPE_HOLDS)
    writer = in_thread(
        lambda: writing.write(process, [memoryview(data)[:1000], memoryview(data)[1000:]])
    )
    received = bytearray()
    os.set_blocking(reading.host_fd, True)
    while len(received) < len(data):
        received += os.read(reading.host_fd, 65536)
    assert writer.result(LONG) == len(data)
    assert received == data


def test_nonblocking(process: Process, any_pipe: tuple[Stream, Stream]) -> None:
    reading, writing = any_pipe
    reading.set_flags(NONBLOCK)
    writing.set_flags(NONBLOCK)
    with pytest.raises(GuestError) as caught:
        reading.read(process, buffer())
    assert caught.value.errno == Errno.EAGAIN
    written = []

    def fill() -> None:
        while True:
            written.append(writing.write(process, text(bytes(100_000))))

    with pytest.raises(GuestError) as caught:
        fill()
    assert caught.value.errno == Errno.EAGAIN
    assert sum(written) >= 65536
    assert os.read(reading.host_fd, 10) == bytes(10)


@pytest.mark.parametrize("owned", [True, False])
def test_the_host_keeps_its_own_blocking_mode(owned: bool) -> None:
    reading, writing = os.pipe()
    stream = Stream.inherited(reading, owned=owned)
    stream.set_flags(NONBLOCK)
    assert os.get_blocking(reading)
    stream.close()
    if not owned:
        os.close(reading)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(reading)
    os.close(writing)


def test_end_of_file_and_broken_pipe(process: Process) -> None:
    reading, writing = make_pipe()
    for end in (reading, writing):
        end.retain()
    writing.release()
    assert reading.read(process, buffer()) == 0
    reading.release()
    reading, writing = make_pipe()
    for end in (reading, writing):
        end.retain()
    reading.release()
    with pytest.raises(BrokenPipeError):
        writing.write(process, text(b"x"))
    writing.release()


def test_a_write_that_breaks_half_way_says_how_much(process: Process) -> None:
    reading, writing = make_pipe()
    for end in (reading, writing):
        end.retain()
    data = text(bytes(MORE_THAN_A_PIPE_HOLDS))
    writer = in_thread(lambda: writing.write(process, data))
    time.sleep(0.01)
    reading.release()
    assert 0 < writer.result(LONG) < MORE_THAN_A_PIPE_HOLDS
    writing.release()


def test_the_wrong_end(process: Process, pipe: tuple[Stream, Stream]) -> None:
    reading, writing = pipe
    for attempt in (
        lambda: reading.write(process, text(b"x")),
        lambda: writing.read(process, buffer()),
    ):
        with pytest.raises(GuestError) as caught:
            attempt()
        assert caught.value.errno == Errno.EBADF


def test_streams_have_no_offset(process: Process, pipe: tuple[Stream, Stream]) -> None:
    for attempt in (
        lambda: pipe[0].seek(0, Whence.CUR),
        lambda: pipe[0].pread(process, buffer(), 0),
        lambda: pipe[1].pwrite(process, text(b"x"), 0),
    ):
        with pytest.raises(GuestError) as caught:
            attempt()
        assert caught.value.errno == Errno.ESPIPE
    with pytest.raises(GuestError) as caught:
        pipe[1].truncate(0)
    assert caught.value.errno == Errno.EINVAL


def test_each_stream_is_an_object_of_its_own(pipe: tuple[Stream, Stream]) -> None:
    one, two = (end.stat() for end in pipe)
    assert one.dev == two.dev
    assert one.ino != two.ino
    assert one.filetype == Filetype.UNKNOWN


def test_a_file_as_standard_output(process: Process, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old ")
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    stream = Stream.inherited(fd, owned=True)
    assert (stream.filetype, stream.flags) == (Filetype.REGULAR_FILE, APPEND)
    assert not stream.readable
    assert stream.write(process, text(b"new")) == 3
    assert stream.stat().size == 7
    stream.sync(data_only=True)
    stream.sync(data_only=False)
    stream.truncate(5)
    stream.close()
    assert path.read_bytes() == b"old n"


def test_a_file_as_standard_input_seeks(process: Process, tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"0123456789")
    fd = os.open(path, os.O_RDONLY)
    stream = Stream.inherited(fd, owned=True)
    into = buffer(3)
    assert stream.seek(4, Whence.SET) == 4
    assert stream.read(process, into) == 3
    assert bytes(into[0]) == b"456"
    assert stream.pread(process, into, 0) == 3
    assert bytes(into[0]) == b"012"
    assert stream.seek(0, Whence.END) == 10
    stream.close()


def test_only_a_terminal_looks_like_one() -> None:
    ours, theirs = pty.openpty()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        terminal, device = Stream.inherited(theirs), Stream.inherited(null)
        assert terminal.filetype == device.filetype == Filetype.CHARACTER_DEVICE
        assert not rights_for(terminal) & FD_SEEK
        assert rights_for(device) & FD_SEEK
    finally:
        for fd in (ours, theirs, null):
            os.close(fd)


def test_two_writers_do_not_mix_small_writes(process: Process, pipe: tuple[Stream, Stream]) -> None:
    reading, writing = pipe
    lines = 500

    def write(letter: bytes) -> None:
        for _ in range(lines):
            writing.write(process, text(letter * 99 + b"\n"))

    writers = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    received = bytearray()
    os.set_blocking(reading.host_fd, True)
    while len(received) < 2 * lines * 100:
        received += os.read(reading.host_fd, 65536)
    for writer in writers:
        writer.join(LONG)
    assert set(bytes(received).splitlines()) == {b"a" * 99, b"b" * 99}
