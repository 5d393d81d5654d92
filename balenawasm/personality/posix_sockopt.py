"""The POSIX door: socket options: Linux's numbers and binary forms for the kernel's names and
texts.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.socket_options import LINGER, OPTIONS, RECEIVE_TIMEOUT, SEND_TIMEOUT
from balenawasm.personality import linux
from balenawasm.personality.posix_call import posix
from balenawasm.personality.posix_socket import socket_at
from balenawasm.vfs.socket import DGRAM, INET, INET6, SEQPACKET, STREAM, UNIX
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.kernel.process import Process
    from balenawasm.vfs.socket import SocketDescription

_INT: Final = struct.Struct("<i")
_PAIR: Final = struct.Struct("<ii")
_TIMEVAL: Final = struct.Struct("<qq")
_CREDENTIALS: Final = struct.Struct("<iII")
_US_PER_SECOND: Final = 1_000_000
_SECONDS_MAX: Final = 1 << 32
_VALUE_MAX: Final = 64
_NAMES: Final = {(option.level, option.number): name for name, option in OPTIONS.items()}
_TIMES: Final = {
    linux.SO_RCVTIMEO: RECEIVE_TIMEOUT,
    linux.SO_RCVTIMEO_OLD: RECEIVE_TIMEOUT,
    linux.SO_SNDTIMEO: SEND_TIMEOUT,
    linux.SO_SNDTIMEO_OLD: SEND_TIMEOUT,
}
_NUMBERS: Final = {
    STREAM: linux.SOCK_STREAM,
    DGRAM: linux.SOCK_DGRAM,
    SEQPACKET: linux.SOCK_SEQPACKET,
    UNIX: linux.AF_UNIX,
    INET: linux.AF_INET,
    INET6: linux.AF_INET6,
}


def setsockopt(process: Process, fd: int, level: int, option: int, value: int, length: int) -> int:
    """Set an option."""
    found = socket_at(process, fd)
    data = process.memory.read(value, min(length, _VALUE_MAX))
    name, text = _text_of(level, option, data)
    found.set_option(name, text)
    return 0


def _text_of(level: int, option: int, data: bytes) -> tuple[str, str]:
    try:
        if level == linux.SOL_SOCKET and option == linux.SO_LINGER:
            on, seconds = _PAIR.unpack_from(data)
            return LINGER, f"{int(on != 0)},{seconds}"
        if level == linux.SOL_SOCKET and option in _TIMES:
            seconds, microseconds = _TIMEVAL.unpack_from(data)
            if not 0 <= microseconds < _US_PER_SECOND:
                raise GuestError(Errno.EDOM)
            total = min(max(seconds, 0), _SECONDS_MAX) * _US_PER_SECOND + microseconds
            return _TIMES[option], str(total)
        name = _NAMES.get((level, option))
        if name is None:
            raise GuestError(Errno.ENOPROTOOPT)
        (number,) = _INT.unpack_from(data)
    except struct.error:
        raise GuestError(Errno.EINVAL) from None
    if OPTIONS[name].largest == 1:
        number = int(number != 0)
    return name, str(number)


def getsockopt(process: Process, fd: int, level: int, option: int, value: int, length: int) -> int:
    """Ask for an option: as much of it as there is room for; its length goes to `length`."""
    found = socket_at(process, fd)
    memory = process.memory
    room = memory.slice(value, min(memory.read_u32(length), _VALUE_MAX))
    data = _value_of(found, level, option)[: len(room)]
    room[: len(data)] = data
    memory.write_u32(length, len(data))
    return 0


def _value_of(found: SocketDescription, level: int, option: int) -> bytes:
    if level == linux.SOL_SOCKET:
        special = _SPECIAL.get(option)
        if special is not None:
            return special(found)
    name = _NAMES.get((level, option))
    if name is None:
        raise GuestError(Errno.ENOPROTOOPT)
    return _INT.pack(int(found.get_option(name)))


def _error(found: SocketDescription) -> bytes:
    problem = found.take_error()
    return _INT.pack(linux.ERRNO[problem] if problem else 0)


def _numbers(name: str, layout: struct.Struct) -> Callable[[SocketDescription], bytes]:
    return lambda found: layout.pack(*map(int, found.get_option(name).split(",")))


def _time(name: str) -> Callable[[SocketDescription], bytes]:
    return lambda found: _TIMEVAL.pack(*divmod(int(found.get_option(name)), _US_PER_SECOND))


_SPECIAL: Final[dict[int, Callable[[SocketDescription], bytes]]] = {
    linux.SO_ERROR: _error,
    linux.SO_TYPE: lambda found: _INT.pack(_NUMBERS[found.kind]),
    linux.SO_DOMAIN: lambda found: _INT.pack(_NUMBERS[found.family]),
    linux.SO_PROTOCOL: _numbers("SO_PROTOCOL", _INT),
    linux.SO_LINGER: _numbers(LINGER, _PAIR),
    linux.SO_ACCEPTCONN: _numbers("SO_ACCEPTCONN", _INT),
    linux.SO_PEERCRED: _numbers("SO_PEERCRED", _CREDENTIALS),
    **{number: _time(name) for number, name in _TIMES.items()},
}

SYSCALLS: Final = (
    posix(
        setsockopt,
        "iiiii",
        "The options of guest-files.md by Linux's levels and numbers, and SO_LINGER, SO_RCVTIMEO, "
        "SO_SNDTIMEO (two i64); ENOPROTOOPT for others.",
    ),
    posix(
        getsockopt,
        "iiiii",
        "As `setsockopt`, and SO_ERROR, SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ACCEPTCONN, "
        "SO_PEERCRED.",
    ),
)
