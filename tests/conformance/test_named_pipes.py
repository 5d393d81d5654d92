"""Named pipes, the same on every writable file system: what fifo(7) says of opening them."""

from __future__ import annotations

import gc
import os
import select
import threading
from typing import TYPE_CHECKING

import pytest
from filesystem_suite import BOTH, READ, WRITABLE, WRITE, Files

from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import NONBLOCK, Filetype

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from balenawasm.vfs.description import Description

SECONDS = 30


class Interrupted(BaseException):
    """The caller was killed while it waited."""


class Opener:
    """A process that opens a pipe on a thread of its own."""

    pid = 1

    def __init__(self, files: Files, path: bytes, flags: OpenFlags) -> None:
        self.waits = threading.Event()
        self.result: Description | None = None
        self.failure: BaseException | None = None
        self._kill_read, self._kill_write = os.pipe()
        self._thread = threading.Thread(target=self._run, args=(files, path, flags))
        self._thread.start()

    def _run(self, files: Files, path: bytes, flags: OpenFlags) -> None:
        try:
            self.result = files.namespace.open(
                self, files.start, path, oflags=0, flags=flags, follow=True
            )[1]
        except BaseException as error:
            self.failure = error

    def wait(
        self, fds: Sequence[tuple[int, int]], timeout_ns: int | None = None
    ) -> list[tuple[int, int]]:
        self.waits.set()
        poll = select.poll()
        poll.register(self._kill_read, select.POLLIN)
        for fd, mask in fds:
            poll.register(fd, mask)
        ready = poll.poll(SECONDS * 1000)
        if any(fd == self._kill_read for fd, _ in ready):
            raise Interrupted
        return ready

    def holds(self, description: Description) -> bool:
        return False

    def kill(self) -> None:
        os.write(self._kill_write, b"x")

    def join(self) -> None:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self.kill()
        self.join()
        if self.result is not None:
            self.result.retain()
            self.result.release()
        os.close(self._kill_read)
        os.close(self._kill_write)


@pytest.fixture(params=WRITABLE)
def files(request, tmp_path) -> Iterator[Files]:
    files = Files(WRITABLE[request.param](tmp_path, {}))
    files.namespace.make_fifo(NOBODY, files.start, b"p", mode=0o640)
    yield files
    files.close_all()


@pytest.fixture
def opener(files: Files):
    made = []

    def start(flags: OpenFlags, path: bytes = b"p") -> Opener:
        made.append(Opener(files, path, flags))
        return made[-1]

    yield start
    for one in made:
        one.close()


def received(description: Description, caller: Opener) -> bytes:
    buffer = bytearray(1 << 17)
    return bytes(buffer[: description.read(caller, [memoryview(buffer)])])


def test_it_is_a_file_of_its_own_kind(files: Files) -> None:
    stat = files.namespace.stat(NOBODY, files.start, b"p", follow=True)
    assert (stat.filetype, stat.size) == (Filetype.UNKNOWN, 0)
    listed = {e.name: e.filetype for e in files.root.entries(NOBODY)}
    assert listed[b"p"] is Filetype.UNKNOWN
    for name, errno in ((b"p", Errno.EEXIST), (b"no/p", Errno.ENOENT), (b"p/q", Errno.ENOTDIR)):
        with pytest.raises(GuestError) as raised:
            files.namespace.make_fifo(NOBODY, files.start, name, mode=0o600)
        assert raised.value.errno is errno
    files.namespace.rename(NOBODY, files.start, b"p", files.start, b"moved")
    files.namespace.unlink(NOBODY, files.start, b"moved")


@pytest.mark.parametrize("first", [READ, WRITE])
def test_opening_waits_for_the_other_side(opener, first: OpenFlags) -> None:
    waiting = opener(first)
    assert waiting.waits.wait(SECONDS)
    assert waiting.result is None
    other = opener(WRITE if first is READ else READ)
    waiting.join()
    other.join()
    reader, writer = (waiting, other) if first is READ else (other, waiting)
    assert writer.result.write(writer, [memoryview(b"he"), memoryview(b"llo")]) == 5
    assert received(reader.result, reader) == b"hello"


def test_non_blocking_opening(files: Files, opener) -> None:
    with pytest.raises(GuestError) as raised:
        files.open(b"p", OpenFlags(read=False, write=True, fdflags=NONBLOCK))
    assert raised.value.errno is Errno.ENXIO
    reader = files.open(b"p", OpenFlags(fdflags=NONBLOCK))
    assert reader.read(NOBODY, [memoryview(bytearray(1))]) == 0  # nobody writes
    writer = files.open(b"p", OpenFlags(read=False, write=True, fdflags=NONBLOCK))
    with pytest.raises(GuestError) as raised:
        reader.read(NOBODY, [memoryview(bytearray(1))])
    assert raised.value.errno is Errno.EAGAIN
    assert 0 < writer.write(NOBODY, [memoryview(bytes(1 << 20))]) < 1 << 20
    files.close(reader)
    with pytest.raises(GuestError) as raised:
        writer.write(NOBODY, [memoryview(b"x")])
    assert raised.value.errno is Errno.EPIPE


def test_what_is_in_it_goes_with_its_last_user(files: Files) -> None:
    both = files.open(b"p", BOTH)
    assert both.write(NOBODY, [memoryview(b"lost")]) == 4
    files.close(both)
    reader = files.open(b"p", OpenFlags(fdflags=NONBLOCK))
    assert reader.read(NOBODY, [memoryview(bytearray(4))]) == 0


@pytest.mark.parametrize("flags", [READ, WRITE])
def test_a_kill_ends_the_wait(files: Files, opener, flags: OpenFlags) -> None:
    gc.collect()  # other tests' directories hold fds until then
    before = len(os.listdir("/proc/self/fd"))
    waiting = opener(flags)
    assert waiting.waits.wait(SECONDS)
    waiting.kill()
    waiting.join()
    assert isinstance(waiting.failure, Interrupted)
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # the kill's own pipe
    with pytest.raises(GuestError):  # nobody is left reading
        files.open(b"p", OpenFlags(read=False, write=True, fdflags=NONBLOCK))


def test_a_large_write_waits_for_its_reader(opener) -> None:
    reader, writer = opener(READ), opener(WRITE)
    reader.join()
    writer.join()
    data = bytes(range(256)) * 4096
    thread = threading.Thread(
        target=lambda: writer.result.write(writer, [memoryview(data), memoryview(b"end")])
    )
    thread.start()
    got = b""
    while len(got) < len(data) + 3:
        got += received(reader.result, reader)
    thread.join(SECONDS)
    assert got == data + b"end"


def test_a_thousand_of_them_cost_no_host_fds(files: Files) -> None:
    gc.collect()  # other tests' directories hold fds until then
    before = len(os.listdir("/proc/self/fd"))
    for number in range(1000):
        files.namespace.make_fifo(NOBODY, files.start, b"p%d" % number, mode=0o600)
    assert len(os.listdir("/proc/self/fd")) <= before + 1
