"""The POSIX door: socket addresses in Linux's forms: sockaddr_in, sockaddr_in6, sockaddr_un."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

from balenawasm.personality import linux
from balenawasm.personality.posix_call import from_cwd
from balenawasm.vfs.endpoint import Endpoint, LocalName, checked_local_name, is_inet6
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.guest_memory import GuestMemory
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.socket import Address

ADDRESS_MAX: Final = 128
"""Bytes of the largest address: sockaddr_storage."""
_INET: Final = struct.Struct("<H2s4s8x")
_INET6: Final = struct.Struct("<H2s4x16s4x")
_FAMILY: Final = struct.Struct("<H")


def read_address(process: Process, pointer: int, length: int) -> Address | None:
    """An address that the guest gives, None for AF_UNSPEC: EINVAL, EAFNOSUPPORT."""
    if not _FAMILY.size <= length <= ADDRESS_MAX:
        raise GuestError(Errno.EINVAL)
    data = process.memory.read(pointer, length)
    (family,) = _FAMILY.unpack_from(data)
    if family == linux.AF_UNSPEC:
        return None
    if family == linux.AF_UNIX:
        return _local_name(process, data[_FAMILY.size :])
    if family == linux.AF_INET:
        layout, host_family = _INET, socket.AF_INET
    elif family == linux.AF_INET6:
        layout, host_family = _INET6, socket.AF_INET6
    else:
        raise GuestError(Errno.EAFNOSUPPORT)
    if length < layout.size:
        raise GuestError(Errno.EINVAL)
    _, port, packed = layout.unpack_from(data)
    return Endpoint(socket.inet_ntop(host_family, packed), int.from_bytes(port, "big"))


def required_address(process: Process, pointer: int, length: int) -> Address:
    """An address that must be one: EAFNOSUPPORT for AF_UNSPEC."""
    address = read_address(process, pointer, length)
    if address is None:
        raise GuestError(Errno.EAFNOSUPPORT)
    return address


def _local_name(process: Process, name: bytes) -> LocalName:
    if not name or name.startswith(b"\0"):
        return checked_local_name(name)
    path = name.partition(b"\0")[0]
    return checked_local_name(from_cwd(process, path))


def packed_address(address: Address | None) -> bytes:
    """An address in Linux's form; nothing for none."""
    if address is None:
        return b""
    if isinstance(address, LocalName):
        end = b"\0" if address.path and not address.path.startswith(b"\0") else b""
        return _FAMILY.pack(linux.AF_UNIX) + address.path + end
    port = address.port.to_bytes(2, "big")
    if is_inet6(address.host):
        packed = socket.inet_pton(socket.AF_INET6, address.host)
        return _INET6.pack(linux.AF_INET6, port, packed)
    return _INET.pack(linux.AF_INET, port, socket.inet_pton(socket.AF_INET, address.host))


class AddressRoom:
    """Where an address shall be written: checked before the call acts. `pointer` NULL: nowhere.

    The length at `length_pointer` is the room at first, afterwards the address's whole length.
    """

    def __init__(self, memory: GuestMemory, pointer: int, length_pointer: int) -> None:
        self._memory = memory
        self._pointer = pointer
        self._length_pointer = length_pointer
        self._room = 0
        if pointer:
            self._room = min(memory.read_u32(length_pointer), ADDRESS_MAX)
            memory.check(pointer, self._room)

    def write(self, address: Address | None) -> None:
        """Write the address, as much as there is room for."""
        if self._pointer:
            packed = packed_address(address)
            self._memory.write(self._pointer, packed[: self._room])
            self._memory.write_u32(self._length_pointer, len(packed))
