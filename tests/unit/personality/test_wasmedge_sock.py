"""WasmEdge's socket functions with hostile arguments, and what they refuse."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from preview1_guest import NOWHERE, CallError, Guest

from balenawasm.kernel.dispatch import errno_of
from balenawasm.kernel.network import NetworkStack
from balenawasm.personality.wasmedge_sock import FORMS
from balenawasm.wasi.errno import Errno

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.personality.syscall import Syscall


class Edge(Guest):
    """A guest with a network."""

    def __init__(self, stack: NetworkStack) -> None:
        super().__init__()
        self.process._kernel = SimpleNamespace(network=lambda: stack)  # type: ignore[assignment]

    def ask(self, name: str, *arguments: int, form: int = 0) -> int:
        """One call as the engine makes it; the errno, or a code of WasmEdge's own."""
        syscall: Syscall = FORMS[name][form]
        assert len(arguments) == len(syscall.signature)
        try:
            return syscall.handler(self.process, *(a & 0xFFFF_FFFF for a in arguments))
        except Exception as error:
            found = errno_of(error)
            if found is None:
                raise
            return int(found)

    def socket(self, family: int = 1, kind: int = 2) -> int:
        result = self.alloc(4)
        assert self.ask("sock_open", family, kind, result) == 0
        return self.u32(result)

    def address(self, data: bytes) -> int:
        return self.put(struct.pack("<II", self.put(data), len(data)))


@pytest.fixture
def edge(tmp_path) -> Iterator[Edge]:
    stack = NetworkStack(loopback_directory=tmp_path)
    guest = Edge(stack)
    stack.namespace = guest.namespace
    yield guest
    guest.process.fds.close_all()
    stack.close()


def storage(family: int, data: bytes) -> bytes:
    return struct.pack("<H", family) + data.ljust(126, b"\0")


LOOPBACK = bytes((127, 0, 0, 1))


@pytest.mark.parametrize(
    ("family", "kind", "errno"),
    [(0, 2, Errno.EINVAL), (4, 2, Errno.EINVAL), (1, 0, Errno.EINVAL), (1, 3, Errno.EINVAL)],
)
def test_what_cannot_be_opened(edge, family, kind, errno) -> None:
    assert edge.ask("sock_open", family, kind, edge.alloc(4)) == errno


def test_pointers_outside(edge) -> None:
    fd = edge.socket()
    good = edge.address(LOOPBACK)
    bad = [
        NOWHERE,
        edge.put(struct.pack("<II", NOWHERE, 4)),
        edge.put(struct.pack("<II", 0, 1 << 30)),
    ]
    for pointer in bad[:2]:
        assert edge.ask("sock_bind", fd, pointer, 1) == Errno.EFAULT
        assert edge.ask("sock_connect", fd, pointer, 1) == Errno.EFAULT
    assert edge.ask("sock_bind", fd, bad[2], 1) == Errno.EINVAL
    for length in (0, 3, 5, 127, 129):
        assert edge.ask("sock_bind", fd, edge.address(bytes(length)), 1) == Errno.EINVAL
    assert edge.ask("sock_open", 1, 2, NOWHERE) == Errno.EFAULT
    assert edge.ask("sock_bind", fd, good, 0) == 0
    room, word = edge.address(bytes(16)), edge.alloc(4)
    for arguments in ((NOWHERE, word, word), (room, NOWHERE, word), (room, word, NOWHERE)):
        assert edge.ask("sock_getlocaladdr", fd, *arguments) == Errno.EFAULT
    assert edge.ask("sock_getlocaladdr", fd, room, word, word, form=1 - 1) == 0
    assert edge.ask("sock_getlocaladdr_v2", fd, room, word) == Errno.EINVAL  # 128 bytes only
    assert edge.ask("sock_getsockopt", fd, 0, 1, NOWHERE, edge.put(b"\4\0\0\0")) == Errno.EFAULT
    assert edge.ask("sock_getsockopt", fd, 0, 1, word, NOWHERE) == Errno.EFAULT
    assert edge.ask("sock_setsockopt", fd, 0, 0, NOWHERE, 4) == Errno.EFAULT
    assert edge.ask("sock_setsockopt", fd, 0, 0, word, 1 << 30) == Errno.EINVAL
    assert edge.ask("sock_setsockopt", fd, 0, 0, word, 2) == Errno.EINVAL
    assert edge.ask("sock_setsockopt", fd, 1, 0, word, 4) == Errno.EINVAL
    assert edge.ask("sock_setsockopt", fd, 0, 14, word, 4) == Errno.EINVAL


def test_nothing_is_received_when_the_answer_has_no_place(edge) -> None:
    server, client = edge.socket(kind=1), edge.socket(kind=1)
    at = edge.address(LOOPBACK)
    assert edge.ask("sock_bind", server, at, 5353) == 0
    size, flags, port = edge.alloc(4), edge.alloc(4), edge.alloc(4)
    out = edge.iovecs((edge.put(b"hello"), 5))
    assert edge.ask("sock_send_to", client, out, 1, at, 5353, 0, size) == 0
    assert edge.ask("sock_send_to", client, out, 1, at, 5353, 1, size) == Errno.EINVAL
    into, room = edge.iovecs((edge.alloc(10), 10)), edge.address(bytes(128))
    fine = (server, into, 1, room, 0, port, size, flags)
    for index in (1, 3, 5, 6, 7):
        wrong = list(fine)
        wrong[index] = NOWHERE
        assert edge.ask("sock_recv_from_v2", *wrong) == Errno.EFAULT
    assert edge.ask("sock_recv_from_v2", *fine) == 0
    assert edge.u32(size) == 5


def test_unix_names_in_the_large_form(edge) -> None:
    listener, client = edge.socket(3), edge.socket(3)
    at = edge.address(storage(3, b"/s"))
    assert edge.ask("sock_bind_v2", listener, at, 0) == 0
    assert edge.ask("sock_listen_v2", listener, 1) == 0
    assert edge.ask("sock_connect_v2", client, at, 0) == 0
    room, port = edge.address(bytes(128)), edge.alloc(4)
    assert edge.ask("sock_getpeeraddr_v2", client, room, port) == 0
    place = edge.u32(room)
    assert edge.get(place, 5) == b"\3\0/s\0"
    assert edge.ask("sock_bind", edge.socket(), edge.address(storage(9, b"")), 0) == Errno.EINVAL
    assert edge.ask("sock_bind", edge.socket(), at, 0) == Errno.EAFNOSUPPORT


def test_other_fds(edge) -> None:
    edge.create(b"file")
    fd = edge.open(b"file")
    assert edge.ask("sock_listen", fd, 1) == Errno.ENOTSOCK
    assert edge.ask("sock_listen", 77, 1) == Errno.EBADF
    with pytest.raises(CallError):
        edge.call("sock_shutdown", fd, 1)


def test_getaddrinfo_with_hostile_records(edge) -> None:
    hints, count = edge.alloc(28), edge.alloc(4)
    host = edge.path(b"localhost")
    port = edge.path(b"80")
    for results in (NOWHERE, edge.put(struct.pack("<I", NOWHERE))):
        assert edge.ask("sock_getaddrinfo", *host, *port, hints, results, 2, count) == Errno.EFAULT
    record = edge.put(struct.pack("<HBBBxxxIIIII", 0, 0, 0, 0, 0, NOWHERE, 0, 0, 0))
    results = edge.put(struct.pack("<I", record))
    assert edge.ask("sock_getaddrinfo", *host, *port, hints, results, 2, count) == Errno.EFAULT
    # A list that is a ring is written round and round, no further than there are answers.
    data, place = edge.alloc(26), edge.alloc(12)
    edge.process.memory.write(place, struct.pack("<BxxxII", 0, 26, data))
    ring = edge.alloc(28)
    edge.process.memory.write(ring, struct.pack("<HBBBxxxIIIII", 0, 0, 0, 0, 0, place, 0, 0, ring))
    results = edge.put(struct.pack("<I", ring))
    assert edge.ask("sock_getaddrinfo", *host, *port, hints, results, 1 << 31, count) == 0
    assert edge.u32(count) == 4
    assert edge.ask("sock_getaddrinfo", NOWHERE, 9, *port, hints, results, 2, count) == Errno.EFAULT
    assert edge.ask("sock_getaddrinfo", 0, 1 << 30, *port, hints, results, 2, count) == 84


def test_every_form_has_its_own_type() -> None:
    for name, forms in FORMS.items():
        assert len({len(form.signature) for form in forms}) == len(forms), name
        assert all(form.signature == "i" * len(form.signature) for form in forms)
