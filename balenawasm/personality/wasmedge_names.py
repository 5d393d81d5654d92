"""WasmEdge's sock_getaddrinfo: names to addresses, into records that the guest has laid out.

The guest gives a linked list of `addrinfo` records (28 bytes), each with a `sockaddr` record (12
bytes) whose `sa_data` has room for port and address as in C's sockaddr_in or sockaddr_in6 behind
the family; as many are filled in as there are, and as fit.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

from balenawasm.record import NamedTuple
from balenawasm.vfs import socket as vfs
from balenawasm.vfs.endpoint import ANY, ANY6, LOOPBACK, LOOPBACK6, is_inet6, numeric
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process

AI_AGAIN: Final = 78
AI_BADFLAG: Final = 79
AI_FAMILY: Final = 81
AI_MEMORY: Final = 82
AI_NONAME: Final = 84
AI_SERVICE: Final = 85
"""Codes that WasmEdge adds to WASI's errno."""
PASSIVE: Final = 1
CANONNAME: Final = 2
NUMERICHOST: Final = 4
_ALL_FLAGS: Final = (1 << 7) - 1
_ADDRINFO: Final = struct.Struct("<HBBBxxxIIIII")
"""flags, family, socktype, protocol, addrlen, addr, canonname, canonname_len, next."""
_SOCKADDR: Final = struct.Struct("<BxxxII")
"""family, length and address of its data."""
_FAMILIES: Final = {0: vfs.ALL, 1: vfs.INET, 2: vfs.INET6}
_TYPES: Final = {0: ((2, 1), (1, 2)), 1: ((1, 2),), 2: ((2, 1),)}
"""Wanted type → (type, protocol) of the answers: stream is 2, TCP 1."""
_MOST_RESULTS: Final = 256
_LONGEST: Final = 256
_SERVICES: Final = {b"domain": 53, b"http": 80, b"ntp": 123, b"https": 443, b"mqtt": 1883}


class _Answer(NamedTuple):
    family: int
    kind: int
    protocol: int
    data: bytes
    """Behind the family in C's sockaddr."""


def sock_getaddrinfo(
    process: Process,
    node: int,
    node_length: int,
    service: int,
    service_length: int,
    hints: int,
    results: int,
    most: int,
    count_result: int,
) -> int:
    """The addresses of a host and a service."""
    memory = process.memory
    memory.check(count_result, 4)
    if max(node_length, service_length) > _LONGEST:
        return AI_NONAME
    host = memory.read(node, node_length).rstrip(b"\0")
    port_text = memory.read(service, service_length).rstrip(b"\0")
    flags, family, kind, protocol, *_ = memory.unpack(_ADDRINFO, hints)
    if not host and not port_text:
        return AI_NONAME
    if not most:
        return AI_MEMORY
    if flags & ~_ALL_FLAGS or (flags & CANONNAME and not host):
        return AI_BADFLAG
    if family not in _FAMILIES:
        return AI_FAMILY
    if kind not in _TYPES or protocol not in (0, 1, 2):
        return int(Errno.ENOSYS)
    port = _port(port_text)
    if port is None:
        return AI_SERVICE
    try:
        addresses = _addresses(process, host, flags, _FAMILIES[family])
    except GuestError as error:
        return AI_AGAIN if error.errno is Errno.EAGAIN else AI_NONAME
    answers = [
        _answer(address, port, one, of)
        for address in addresses
        for one, of in _TYPES[kind]
        if protocol in (0, of)
    ]
    _fill(process, memory.read_u32(results), answers[: min(most, _MOST_RESULTS)], count_result)
    return 0


def _port(text: bytes) -> int | None:
    if not text:
        return 0
    if text.isdigit() and len(text) <= 5 and int(text) <= 0xFFFF:
        return int(text)
    return _SERVICES.get(text.lower())


def _addresses(process: Process, host: bytes, flags: int, family: str) -> list[str]:
    if not host:
        both = (ANY, ANY6) if flags & PASSIVE else (LOOPBACK, LOOPBACK6)
        return [a for a in both if family == vfs.ALL or is_inet6(a) == (family == vfs.INET6)]
    name = host.decode("ascii", "replace")
    if flags & NUMERICHOST and numeric(name) is None:
        raise GuestError(Errno.ENOENT)
    network = process.kernel.network
    if network is None:
        raise GuestError(Errno.ENOENT)
    return network().lookup(process, name, family)


def _answer(address: str, port: int, kind: int, protocol: int) -> _Answer:
    number = port.to_bytes(2, "big")
    if is_inet6(address):
        packed = socket.inet_pton(socket.AF_INET6, address)
        return _Answer(2, kind, protocol, number + bytes(4) + packed + bytes(4))
    packed = socket.inet_pton(socket.AF_INET, address)
    return _Answer(1, kind, protocol, number + packed + bytes(8))


def _fill(process: Process, record: int, answers: list[_Answer], count_result: int) -> None:
    memory = process.memory
    for index, answer in enumerate(answers):
        flags, _, _, _, _, place, name, _, following = memory.unpack(_ADDRINFO, record)
        _, _, data = memory.unpack(_SOCKADDR, place)
        memory.write(data, answer.data)
        memory.pack(_SOCKADDR, place, answer.family, len(answer.data), data)
        memory.pack(
            _ADDRINFO,
            record,
            flags,
            answer.family,
            answer.kind,
            answer.protocol,
            len(answer.data) + 2,
            place,
            name,
            0,
            following,
        )
        memory.write_u32(count_result, index + 1)
        record = following
    if not answers:
        memory.write_u32(count_result, 0)
