"""The POSIX door: sockets, from their making to their options. Data: `posix_message`."""

from __future__ import annotations

import socket as host_socket
import struct
from typing import TYPE_CHECKING, Final

from balenawasm.personality import linux
from balenawasm.personality.posix_address import AddressRoom, read_address, required_address
from balenawasm.personality.posix_call import posix
from balenawasm.personality.posix_fd import add_pair, new_entry
from balenawasm.vfs.endpoint import LONGEST_NAME, Endpoint, LocalName, is_inet6, numeric
from balenawasm.vfs.socket import ALL, DGRAM, INET, INET6, SEQPACKET, STREAM, SocketDescription
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.socket import Network

HOST: Final = struct.Struct("<I16s")
"""Family and address, an IPv4 one in the first 4 bytes."""
_FD_PAIR: Final = struct.Struct("<II")
_KIND_BITS: Final = 0xF
_KINDS: Final = {
    linux.SOCK_STREAM: STREAM,
    linux.SOCK_DGRAM: DGRAM,
    linux.SOCK_SEQPACKET: SEQPACKET,
}
_FAMILIES: Final = {linux.AF_INET: INET, linux.AF_INET6: INET6}
_PROTOCOLS: Final = {STREAM: linux.IPPROTO_TCP, DGRAM: linux.IPPROTO_UDP}
_LOOKUPS: Final = {linux.AF_UNSPEC: ALL, **_FAMILIES}
_HOW: Final = (w.SHUT_RD, w.SHUT_WR, w.SHUT_RD | w.SHUT_WR)
_HOSTS_MAX: Final = 1024


def network_of(process: Process) -> Network:
    """The container's network: ENETDOWN when it has none."""
    network = process.kernel.network
    if network is None:
        raise GuestError(Errno.ENETDOWN)
    return network()


def socket_at(process: Process, fd: int) -> SocketDescription:
    """The socket behind an fd: ENOTSOCK."""
    description = process.fds.get(fd).description
    if not isinstance(description, SocketDescription):
        raise GuestError(Errno.ENOTSOCK)
    return description


def _kind_and_flags(kind: int) -> tuple[str, int]:
    """STREAM, DGRAM or SEQPACKET, and WASI fdflags, of a `type` argument."""
    if kind & ~(_KIND_BITS | linux.SOCK_NONBLOCK | linux.SOCK_CLOEXEC):
        raise GuestError(Errno.EINVAL)
    name = _KINDS.get(kind & _KIND_BITS)
    if name is None:
        raise GuestError(Errno.EPROTOTYPE)
    return name, w.NONBLOCK if kind & linux.SOCK_NONBLOCK else 0


def socket(process: Process, family: int, kind: int, protocol: int) -> int:
    """A new socket's fd."""
    name, flags = _kind_and_flags(kind)
    process.fds.check_room()
    network = network_of(process)
    if family == linux.AF_UNIX:
        if protocol:
            raise GuestError(Errno.EPROTONOSUPPORT)
        made = network.new_local(name, flags)
    elif family in _FAMILIES:
        if protocol not in (0, _PROTOCOLS.get(name, 0)):
            raise GuestError(Errno.EPROTONOSUPPORT)
        if name == SEQPACKET:
            raise GuestError(Errno.EPROTOTYPE)
        make = network.new_socket if name == STREAM else network.new_udp
        made = make(flags, _FAMILIES[family])
    else:
        raise GuestError(Errno.EAFNOSUPPORT)
    return process.fds.add(new_entry(made, kind))


def socketpair(process: Process, family: int, kind: int, protocol: int, result: int) -> int:
    """Two connected Unix sockets; their fds go to `result`."""
    if family in (linux.AF_INET, linux.AF_INET6):
        raise GuestError(Errno.ENOTSUP)
    if family != linux.AF_UNIX:
        raise GuestError(Errno.EAFNOSUPPORT)
    if protocol:
        raise GuestError(Errno.EPROTONOSUPPORT)
    name, flags = _kind_and_flags(kind)
    process.memory.check(result, _FD_PAIR.size)
    ends = network_of(process).new_local_pair(name, flags)
    process.memory.pack(_FD_PAIR, result, *add_pair(process, ends, kind))
    return 0


def bind(process: Process, fd: int, address: int, length: int) -> int:
    """Give a socket its local address."""
    socket_at(process, fd).bind(required_address(process, address, length))
    return 0


def listen(process: Process, fd: int, backlog: int) -> int:
    """Start to accept connections."""
    socket_at(process, fd).listen(backlog)
    return 0


def accept4(process: Process, fd: int, address: int, length: int, flags: int) -> int:
    """Take the next connection; answers its fd."""
    if flags & ~(linux.SOCK_NONBLOCK | linux.SOCK_CLOEXEC):
        raise GuestError(Errno.EINVAL)
    listener = socket_at(process, fd)
    room = AddressRoom(process.memory, address, length)
    process.fds.check_room()
    accepted = listener.accept(process, w.NONBLOCK if flags & linux.SOCK_NONBLOCK else 0)
    accepted_fd = process.fds.add(new_entry(accepted, flags))
    try:
        room.write(accepted.remote())
    except GuestError:  # the peer has gone already
        room.write(None)
    return accepted_fd


def connect(process: Process, fd: int, address: int, length: int) -> int:
    """Connect; AF_UNSPEC takes a datagram socket's peer away."""
    socket_at(process, fd).connect(process, read_address(process, address, length))
    return 0


def shutdown(process: Process, fd: int, how: int) -> int:
    """Close one or both directions."""
    if how > linux.SHUT_RDWR:
        raise GuestError(Errno.EINVAL)
    socket_at(process, fd).shutdown(_HOW[how])
    return 0


def getsockname(process: Process, fd: int, address: int, length: int) -> int:
    """The local address."""
    found = socket_at(process, fd)
    AddressRoom(process.memory, address, length).write(found.local())
    return 0


def getpeername(process: Process, fd: int, address: int, length: int) -> int:
    """The peer's address."""
    found = socket_at(process, fd)
    AddressRoom(process.memory, address, length).write(found.remote())
    return 0


# Names.


def lookup_name(
    process: Process, name: int, length: int, family: int, result: int, count: int
) -> int:
    """The addresses of a host name, at most `count`; answers how many there are."""
    if family not in _LOOKUPS:
        raise GuestError(Errno.EAFNOSUPPORT)
    if length > LONGEST_NAME:
        raise GuestError(Errno.ENAMETOOLONG)
    count = min(count, _HOSTS_MAX)
    target = process.memory.slice(result, count * HOST.size)
    try:
        text = process.memory.read(name, length).decode("ascii")
    except UnicodeDecodeError:
        raise GuestError(Errno.ENOENT) from None
    found = network_of(process).lookup(process, text, _LOOKUPS[family])
    for index, host in enumerate(found[:count]):
        HOST.pack_into(target, index * HOST.size, *_packed_host(host))
    return len(found)


def _packed_host(host: str) -> tuple[int, bytes]:
    if is_inet6(host):
        return linux.AF_INET6, host_socket.inet_pton(host_socket.AF_INET6, host)
    return linux.AF_INET, host_socket.inet_pton(host_socket.AF_INET, host)


def lookup_address(process: Process, address: int, length: int, buffer: int, size: int) -> int:
    """The host name of an address, with a NUL; answers its length with that."""
    wanted = required_address(process, address, length)
    target = process.memory.slice(buffer, min(size, LONGEST_NAME + 1))
    if isinstance(wanted, LocalName) or not isinstance(wanted, Endpoint):
        raise GuestError(Errno.EAFNOSUPPORT)
    host = numeric(wanted.host)
    name = network_of(process).names_of(host or wanted.host)[0].encode() + b"\0"
    if len(name) > len(target):
        raise GuestError(Errno.ERANGE)
    target[: len(name)] = name
    return len(name)


SYSCALLS: Final = (
    posix(
        socket,
        "iii",
        "AF_INET and AF_INET6 with SOCK_STREAM and SOCK_DGRAM; AF_UNIX with SOCK_SEQPACKET too. "
        "SOCK_NONBLOCK, SOCK_CLOEXEC.",
    ),
    posix(socketpair, "iiii", "AF_UNIX only."),
    posix(bind, "iii", "A relative path of AF_UNIX counts, and shows, as an absolute one."),
    posix(listen, "ii", "The queue is always a long one."),
    posix(accept4, "iiii", "SOCK_NONBLOCK, SOCK_CLOEXEC."),
    posix(connect, "iii", "What is outside the network needs a grant: EACCES."),
    posix(shutdown, "ii"),
    posix(getsockname, "iii"),
    posix(getpeername, "iii"),
    posix(
        lookup_name,
        "iiiii",
        "What getaddrinfo is made of: numbers, service names, /etc/hosts, granted names. ENOENT "
        "for no such name, EAGAIN for try later.",
    ),
    posix(lookup_address, "iiii", "What getnameinfo is made of: names inside the network. ENOENT."),
)
