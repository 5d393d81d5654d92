"""Addresses as WasmEdge's socket functions lay them out in memory.

An address is a record `{buf: u32, buf_len: u32}`; what `buf` points to is 4 bytes (IPv4), 16 bytes
(IPv6) or 128 bytes: a u16 family and the address behind it, for Unix sockets the path. The port is
an argument of its own, in host order.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

from balenawasm.vfs.endpoint import Endpoint, LocalName, checked_local_name, is_inet6
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.socket import Address

INET4: Final = 1
INET6: Final = 2
UNIX: Final = 3
_LENGTHS: Final = {INET4: 4, INET6: 16}
_FAMILIES: Final = {4: INET4, 16: INET6}
_STORAGE: Final = 128
_NAME_MAX: Final = 108
_RECORD: Final = struct.Struct("<II")
_FAMILY: Final = struct.Struct("<H")
_SHOWN_TYPES: Final = {INET4: 4, INET6: 6, UNIX: 3}
"""What the first version's functions tell of the family."""


def read_address(process: Process, pointer: int, port: int) -> Address:
    """The address at `pointer`: EFAULT, EINVAL for another length or family."""
    memory = process.memory
    start, length = memory.unpack(_RECORD, pointer)
    if length == _STORAGE:
        data = memory.read(start, _STORAGE)
        family, data = _FAMILY.unpack_from(data)[0], data[_FAMILY.size :]
    elif length in _FAMILIES:
        family, data = _FAMILIES[length], memory.read(start, length)
    else:
        raise GuestError(Errno.EINVAL)
    if family == UNIX:
        return _local_name(data[:_NAME_MAX])
    if family not in _LENGTHS:
        raise GuestError(Errno.EINVAL)
    kind = socket.AF_INET if family == INET4 else socket.AF_INET6
    return Endpoint(socket.inet_ntop(kind, data[: _LENGTHS[family]]), port & 0xFFFF)


def _local_name(data: bytes) -> LocalName:
    if data.startswith(b"\0"):
        return checked_local_name(data.rstrip(b"\0"))
    return checked_local_name(data.partition(b"\0")[0])


class Room:
    """Where a call will write an address: checked before the call has any effect."""

    def __init__(self, process: Process, pointer: int) -> None:
        """EFAULT, EINVAL."""
        self._memory = process.memory
        self._start: int
        self._length: int
        self._start, self._length = self._memory.unpack(_RECORD, pointer)
        if self._length not in _FAMILIES and self._length != _STORAGE:
            raise GuestError(Errno.EINVAL)
        self._memory.check(self._start, self._length)

    @property
    def is_storage(self) -> bool:
        """Whether it is the large form, which tells the family too."""
        return self._length == _STORAGE

    def write(self, address: Address) -> int:
        """Write an address; answers its family, as the first version's functions tell it.

        ENOMEM when it does not fit, as WasmEdge answers.
        """
        family, data = _packed(address)
        if self.is_storage:
            room = _STORAGE - _FAMILY.size
            data = _FAMILY.pack(family) + data.ljust(room, b"\0")
        elif len(data) > self._length:
            raise GuestError(Errno.ENOMEM)
        self._memory.write(self._start, data)
        return _SHOWN_TYPES[family]


def _packed(address: Address) -> tuple[int, bytes]:
    if isinstance(address, LocalName):
        return UNIX, address.path
    if is_inet6(address.host):
        return INET6, socket.inet_pton(socket.AF_INET6, address.host)
    return INET4, socket.inet_pton(socket.AF_INET, address.host)


def port_of(address: Address | None) -> int:
    """An address's port; 0 for one without."""
    return address.port if isinstance(address, Endpoint) else 0
