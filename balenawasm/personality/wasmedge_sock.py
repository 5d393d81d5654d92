"""WasmEdge's socket functions, in the import module of WASI preview 1.

They follow WasmEdge's `lib/host/wasi` (commit d516c5d, August 2026) and its Rust package
wasmedge_wasi_socket. Each function has two forms: the first as before WasmEdge 0.12, the second
with larger addresses and, of `sock_accept`, preview 1's own. The second is imported as `…_v2`, or
under the plain name with the second's type: the linker tells the forms by the import's type
(`engine.linker`). Both take addresses of 4, 16 and 128 bytes here.

All answer an errno of WASI; `sock_getaddrinfo` also the codes that WasmEdge has added (77 to 87).
Where WasmEdge gives a port in network order (`sock_recv_from`), it is in host order here.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.fd_table import FdEntry
from balenawasm.personality.preview1_sock import sock_accept as preview1_accept
from balenawasm.personality.preview1_sock import sock_recv, sock_send, socket_entry
from balenawasm.personality.syscall import Handler, Syscall
from balenawasm.personality.wasmedge_address import (
    INET4,
    INET6,
    UNIX,
    Room,
    port_of,
    read_address,
)
from balenawasm.personality.wasmedge_names import sock_getaddrinfo
from balenawasm.vfs import socket as vfs
from balenawasm.vfs.socket import SocketDescription
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.kernel.process import Process
    from balenawasm.vfs.socket import Network

_KINDS: Final = {1: vfs.DGRAM, 2: vfs.STREAM}
_KIND_NUMBERS: Final = {name: number for number, name in _KINDS.items()}
_OPTIONS: Final = (
    "SO_REUSEADDR",
    "SO_TYPE",
    "SO_ERROR",
    "SO_DONTROUTE",
    "SO_BROADCAST",
    "SO_SNDBUF",
    "SO_RCVBUF",
    "SO_KEEPALIVE",
    "SO_OOBINLINE",
    "SO_LINGER",
    "SO_RCVLOWAT",
    "SO_RCVTIMEO",
    "SO_SNDTIMEO",
    "SO_ACCEPTCONN",
)
"""In WasmEdge's numbering."""
_INTEGER: Final = struct.Struct("<i")
_LINGER: Final = struct.Struct("<ii")
_TIMEVAL: Final = struct.Struct("<qq")
_LEVEL: Final = 0


def network_of(process: Process) -> Network:
    """The container's network: ENETDOWN when it has none."""
    network = process.kernel.network
    if network is None:
        raise GuestError(Errno.ENETDOWN)
    return network()


def _socket(process: Process, fd: int, rights: int = 0) -> SocketDescription:
    description = socket_entry(process, fd, rights).description
    if not isinstance(description, SocketDescription):
        raise GuestError(Errno.ENOTSOCK)
    return description


# Connections.


def sock_open(process: Process, family: int, kind: int, result: int) -> int:
    """A new socket's fd."""
    name = _KINDS.get(kind)
    if name is None:
        raise GuestError(Errno.EINVAL)
    process.memory.check(result, 4)
    process.fds.check_room()
    network = network_of(process)
    made: SocketDescription
    if family == UNIX:
        made = network.new_local(name)
    elif family in (INET4, INET6):
        make = network.new_socket if name == vfs.STREAM else network.new_udp
        made = make(0, vfs.INET if family == INET4 else vfs.INET6)
    else:
        raise GuestError(Errno.EINVAL)
    process.memory.write_u32(result, process.fds.add(FdEntry(made)))
    return 0


def sock_bind(process: Process, fd: int, address: int, port: int) -> int:
    """Give a socket its local address."""
    _socket(process, fd).bind(read_address(process, address, port))
    return 0


def sock_listen(process: Process, fd: int, backlog: int) -> int:
    """Start to accept connections."""
    _socket(process, fd).listen(backlog)
    return 0


def sock_accept(process: Process, fd: int, result: int) -> int:
    """Take the next connection: the form without flags."""
    return preview1_accept(process, fd, 0, result)


def sock_connect(process: Process, fd: int, address: int, port: int) -> int:
    """Connect."""
    _socket(process, fd).connect(process, read_address(process, address, port))
    return 0


# Data.


def sock_recv_from(
    process: Process,
    fd: int,
    iovecs: int,
    count: int,
    address: int,
    flags: int,
    size_result: int,
    flags_result: int,
) -> int:
    """Receive a datagram, or from a stream, and tell the sender's address."""
    return _receive(process, fd, (iovecs, count), address, flags, None, size_result, flags_result)


def sock_recv_from_v2(
    process: Process,
    fd: int,
    iovecs: int,
    count: int,
    address: int,
    flags: int,
    port_result: int,
    size_result: int,
    flags_result: int,
) -> int:
    """Receive and tell the sender's address and port."""
    return _receive(
        process, fd, (iovecs, count), address, flags, port_result, size_result, flags_result
    )


def _receive(
    process: Process,
    fd: int,
    vectors: tuple[int, int],
    address: int,
    flags: int,
    port_result: int | None,
    size_result: int,
    flags_result: int,
) -> int:
    opened = _socket(process, fd, w.FD_READ)
    if flags & ~(w.RECV_PEEK | w.RECV_WAITALL):
        raise GuestError(Errno.EINVAL)
    memory = process.memory
    buffers = memory.iovecs(*vectors)
    room = Room(process, address)
    memory.check(size_result, 4)
    memory.check(flags_result, 2)
    if port_result is not None:
        memory.check(port_result, 2)
    peek = vfs.MSG_PEEK if flags & w.RECV_PEEK else 0
    wait_all = vfs.MSG_WAITALL if flags & w.RECV_WAITALL else 0
    received = opened.receive(process, buffers, peek | wait_all)
    for passed in received.passed:
        passed.release()
    sender = received.address
    if sender is None and opened.family != vfs.UNIX:
        sender = opened.remote()
    if sender is not None:
        room.write(sender)
    if port_result is not None:
        memory.write_u16(port_result, port_of(sender))
    memory.write_u32(size_result, received.size)
    memory.write_u16(flags_result, w.RECV_DATA_TRUNCATED if received.truncated else 0)
    return 0


def sock_send_to(
    process: Process,
    fd: int,
    iovecs: int,
    count: int,
    address: int,
    port: int,
    flags: int,
    result: int,
) -> int:
    """Send a datagram to an address."""
    opened = _socket(process, fd, w.FD_WRITE)
    if flags:
        raise GuestError(Errno.EINVAL)
    memory = process.memory
    buffers = memory.iovecs(iovecs, count)
    memory.check(result, 4)
    destination = read_address(process, address, port)
    memory.write_u32(result, opened.send_to(process, buffers, destination))
    return 0


# Questions.


def sock_getlocaladdr(process: Process, fd: int, address: int, kind: int, port: int) -> int:
    """The local address, its family (4 or 6) and port."""
    return _name(process, _socket(process, fd).local(), address, kind, port)


def sock_getlocaladdr_v2(process: Process, fd: int, address: int, port: int) -> int:
    """The local address in the large form, and the port."""
    return _large_name(process, _socket(process, fd).local(), address, port)


def sock_getpeeraddr(process: Process, fd: int, address: int, kind: int, port: int) -> int:
    """The peer's address, its family (4 or 6) and port."""
    return _name(process, _socket(process, fd).remote(), address, kind, port)


def sock_getpeeraddr_v2(process: Process, fd: int, address: int, port: int) -> int:
    """The peer's address in the large form, and the port."""
    return _large_name(process, _socket(process, fd).remote(), address, port)


def _name(process: Process, found: vfs.Address, address: int, kind: int, port: int) -> int:
    process.memory.check(kind, 4)
    process.memory.check(port, 4)
    process.memory.write_u32(kind, Room(process, address).write(found))
    process.memory.write_u32(port, port_of(found))
    return 0


def _large_name(process: Process, found: vfs.Address, address: int, port: int) -> int:
    process.memory.check(port, 4)
    room = Room(process, address)
    if not room.is_storage:
        raise GuestError(Errno.EINVAL)
    room.write(found)
    process.memory.write_u32(port, port_of(found))
    return 0


# Options.


def _option(level: int, number: int) -> str:
    if level != _LEVEL or number >= len(_OPTIONS):
        raise GuestError(Errno.EINVAL)
    return _OPTIONS[number]


def sock_getsockopt(
    process: Process, fd: int, level: int, number: int, value: int, size: int
) -> int:
    """An option's value, as much of it as there is room for; then the size it has."""
    opened = _socket(process, fd)
    name = _option(level, number)
    memory = process.memory
    room = memory.read_u32(size)
    memory.check(value, room)
    packed = _pack_option(name, opened.get_option(name))[:room]
    memory.write(value, packed)
    memory.write_u32(size, len(packed))
    return 0


def _pack_option(name: str, text: str) -> bytes:
    if name == "SO_TYPE":
        return _INTEGER.pack(_KIND_NUMBERS.get(text, 0))
    if name == "SO_LINGER":
        on, _, seconds = text.partition(",")
        return _LINGER.pack(int(on), int(seconds))
    if name.endswith("TIMEO"):
        return _TIMEVAL.pack(*divmod(int(text), 1_000_000))
    return _INTEGER.pack(int(text))


def sock_setsockopt(
    process: Process, fd: int, level: int, number: int, value: int, size: int
) -> int:
    """Set an option from its packed value."""
    opened = _socket(process, fd)
    name = _option(level, number)
    if size > _TIMEVAL.size:
        raise GuestError(Errno.EINVAL)
    opened.set_option(name, _option_text(name, process.memory.read(value, size)))
    return 0


def _option_text(name: str, data: bytes) -> str:
    try:
        if name == "SO_LINGER":
            on, seconds = _LINGER.unpack_from(data)
            return f"{int(on != 0)},{max(0, seconds)}"
        if name.endswith("TIMEO"):
            seconds, microseconds = _TIMEVAL.unpack_from(data)
            return str(seconds * 1_000_000 + microseconds)
        return str(_INTEGER.unpack_from(data)[0])
    except struct.error:
        raise GuestError(Errno.EINVAL) from None


# The table.


_FORMS: Final[Mapping[str, tuple[tuple[str, Handler], tuple[str, Handler]]]] = {
    "sock_open": (("iii", sock_open), ("iii", sock_open)),
    "sock_bind": (("iii", sock_bind), ("iii", sock_bind)),
    "sock_listen": (("ii", sock_listen), ("ii", sock_listen)),
    "sock_accept": (("ii", sock_accept), ("iii", preview1_accept)),
    "sock_connect": (("iii", sock_connect), ("iii", sock_connect)),
    "sock_recv": (("iiiiii", sock_recv), ("iiiiii", sock_recv)),
    "sock_recv_from": (("iiiiiii", sock_recv_from), ("iiiiiiii", sock_recv_from_v2)),
    "sock_send": (("iiiii", sock_send), ("iiiii", sock_send)),
    "sock_send_to": (("iiiiiii", sock_send_to), ("iiiiiii", sock_send_to)),
    "sock_getlocaladdr": (("iiii", sock_getlocaladdr), ("iii", sock_getlocaladdr_v2)),
    "sock_getpeeraddr": (("iiii", sock_getpeeraddr), ("iii", sock_getpeeraddr_v2)),
}
"""Name → (signature, handler) of the first form and of the second."""


def _forms() -> dict[str, tuple[Syscall, ...]]:
    table: dict[str, tuple[Syscall, ...]] = {}
    for name, (first, second) in _FORMS.items():
        forms = dict((first, second))
        table[name] = tuple(Syscall(name, types, call) for types, call in forms.items())
        table[name + "_v2"] = (Syscall(name + "_v2", *second),)
    table["sock_getsockopt"] = (Syscall("sock_getsockopt", "iiiii", sock_getsockopt),)
    table["sock_setsockopt"] = (Syscall("sock_setsockopt", "iiiii", sock_setsockopt),)
    table["sock_getaddrinfo"] = (Syscall("sock_getaddrinfo", "iiiiiiii", sock_getaddrinfo),)
    return table


FORMS: Final[Mapping[str, tuple[Syscall, ...]]] = _forms()
"""Import name → its forms, of which the import's type picks one; the first is the default."""
