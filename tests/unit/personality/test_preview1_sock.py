from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from preview1_guest import NOWHERE, CallError, Guest

from balenawasm.kernel.pipe import make_pipe
from balenawasm.vfs.description import Buffers, Description
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from balenawasm.vfs.node import Caller


class Loop(Description):
    """A socket that is connected to itself and records what is asked of it."""

    filetype = Filetype.SOCKET_STREAM

    def __init__(self) -> None:
        super().__init__()
        self.queue = b""
        self.asked: list[object] = []

    def accept(self, caller: Caller, flags: int) -> Description:
        self.asked.append(flags)
        connection = Loop()
        connection.flags = flags
        return connection

    def recv(self, caller: Caller, buffers: Buffers, *, peek: bool, wait_all: bool) -> int:
        self.asked.append((peek, wait_all))
        count = min(len(buffers[0]), len(self.queue))
        buffers[0][:count] = self.queue[:count]
        if not peek:
            self.queue = self.queue[count:]
        return count

    def send(self, caller: Caller, buffers: Buffers) -> int:
        self.queue += b"".join(buffers)
        return sum(map(len, buffers))

    def shutdown(self, how: int) -> None:
        self.asked.append(how)


def errno(guest: Guest, name: str, *arguments: int) -> Errno:
    with pytest.raises(CallError) as caught:
        guest.call(name, *arguments)
    return caught.value.errno


def test_sending_and_receiving(guest: Guest) -> None:
    loop = Loop()
    fd, result, flags = guest.install(loop), guest.alloc(4), guest.put(b"\xff\xff\xff")
    data = guest.put(b"hello")
    guest.call("sock_send", fd, guest.iovecs((data, 3), (data + 3, 2)), 2, 0, result)
    assert guest.u32(result) == 5
    into = guest.alloc(8)
    vectors = guest.iovecs((into, 8))
    guest.call("sock_recv", fd, vectors, 1, w.RECV_PEEK | w.RECV_WAITALL, result, flags)
    guest.call("sock_recv", fd, vectors, 1, 0, result, flags)
    assert guest.get(into, guest.u32(result)) == b"hello"
    assert guest.get(flags, 3) == b"\0\0\xff"
    assert loop.asked == [(True, True), (False, False)]


def test_bad_pointers_and_flags_have_no_effect(guest: Guest) -> None:
    loop = Loop()
    loop.queue = b"kept"
    fd, good = guest.install(loop), guest.alloc(8)
    vectors = guest.iovecs((good, 4))
    assert errno(guest, "sock_recv", fd, vectors, 1, 0, NOWHERE, good) == Errno.EFAULT
    assert errno(guest, "sock_recv", fd, vectors, 1, 0, good, NOWHERE) == Errno.EFAULT
    assert errno(guest, "sock_recv", fd, vectors, 1, 4, good, good) == Errno.EINVAL
    assert errno(guest, "sock_send", fd, vectors, 1, 0, NOWHERE) == Errno.EFAULT
    assert errno(guest, "sock_send", fd, vectors, 1, 1, good) == Errno.EINVAL
    assert errno(guest, "sock_accept", fd, 0, NOWHERE) == Errno.EFAULT
    for flags in (w.APPEND, w.SYNC, 1 << 9):
        assert errno(guest, "sock_accept", fd, flags, good) == Errno.EINVAL
    for how in (0, 4, 0xFFFF_FFFF):
        assert errno(guest, "sock_shutdown", fd, how) == Errno.EINVAL
    assert (loop.queue, loop.asked) == (b"kept", [])


def test_accepting(guest: Guest) -> None:
    loop = Loop()
    fd, result = guest.install(loop), guest.alloc(4)
    guest.call("sock_accept", fd, w.NONBLOCK, result)
    assert guest.fdstat(guest.u32(result))[:2] == (Filetype.SOCKET_STREAM, w.NONBLOCK)
    while len(guest.process.fds) < 64:
        guest.call("sock_accept", fd, 0, result)
    asked = len(loop.asked)
    assert errno(guest, "sock_accept", fd, 0, result) == Errno.EMFILE
    assert len(loop.asked) == asked, "no connection is taken that has no place"


def test_shutting_down(guest: Guest) -> None:
    loop = Loop()
    fd = guest.install(loop)
    for how in (1, 2, 3):
        guest.call("sock_shutdown", fd, how)
    assert loop.asked == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "right", "arguments"),
    [
        ("sock_accept", w.SOCK_ACCEPT, (0, 1024)),
        ("sock_recv", w.FD_READ, (0, 0, 0, 1024, 1024)),
        ("sock_send", w.FD_WRITE, (0, 0, 0, 1024)),
        ("sock_shutdown", w.SOCK_SHUTDOWN, (1,)),
    ],
)
def test_rights_and_kinds(guest: Guest, name: str, right: int, arguments: tuple[int, ...]) -> None:
    fd = guest.install(Loop(), rights_base=w.RIGHTS_ALL & ~right)
    assert errno(guest, name, fd, *arguments) == Errno.ENOTCAPABLE
    reading, writing = make_pipe()
    for end in (reading, writing):
        assert errno(guest, name, guest.install(end), *arguments) == Errno.ENOTSOCK
    assert errno(guest, name, guest.open(b"f", oflags=w.O_CREAT), *arguments) == Errno.ENOTSOCK
    assert errno(guest, name, 3, *arguments) == Errno.EBADF
