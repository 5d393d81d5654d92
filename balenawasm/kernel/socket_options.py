"""Socket options by name (the numbers differ between C libraries), with the text form of
docs/guest-files.md.

A guest's socket gets its host socket late, when it connects, and inside the network that is a Unix
socket, which has no TCP options: so values are kept here, handed to host sockets that know them,
and answered from here otherwise.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Final

from balenawasm.record import NamedTuple
from balenawasm.vfs.socket import INET6, STREAM, UNIX
from balenawasm.wasi.errno import Errno, GuestError, from_oserror

_LARGEST: Final = (1 << 31) - 1


class Option(NamedTuple):
    """One option: where the host has it, its value before anybody sets it, and the largest value
    taken.

    `kept_only` options change what this kernel does, or nothing, not the host socket.
    """

    level: int
    number: int
    default: int
    largest: int = 1
    kept_only: bool = False


_SOCKET: Final = socket.SOL_SOCKET
_TCP: Final = socket.IPPROTO_TCP
OPTIONS: Final[dict[str, Option]] = {
    "SO_REUSEADDR": Option(_SOCKET, socket.SO_REUSEADDR, 0, kept_only=True),
    "SO_REUSEPORT": Option(_SOCKET, socket.SO_REUSEPORT, 0, kept_only=True),
    "SO_KEEPALIVE": Option(_SOCKET, socket.SO_KEEPALIVE, 0),
    "SO_BROADCAST": Option(_SOCKET, socket.SO_BROADCAST, 0),
    "SO_DONTROUTE": Option(_SOCKET, socket.SO_DONTROUTE, 0, kept_only=True),
    "SO_OOBINLINE": Option(_SOCKET, socket.SO_OOBINLINE, 0, kept_only=True),
    "SO_PASSCRED": Option(_SOCKET, socket.SO_PASSCRED, 0, kept_only=True),
    "SO_TIMESTAMP": Option(_SOCKET, 29, 0, kept_only=True),
    "SO_PRIORITY": Option(_SOCKET, socket.SO_PRIORITY, 0, 6, kept_only=True),
    "SO_RCVLOWAT": Option(_SOCKET, socket.SO_RCVLOWAT, 1, _LARGEST, kept_only=True),
    "SO_SNDBUF": Option(_SOCKET, socket.SO_SNDBUF, 212992, _LARGEST),
    "SO_RCVBUF": Option(_SOCKET, socket.SO_RCVBUF, 212992, _LARGEST),
    "TCP_NODELAY": Option(_TCP, socket.TCP_NODELAY, 1),
    "TCP_CORK": Option(_TCP, socket.TCP_CORK, 0),
    "TCP_QUICKACK": Option(_TCP, socket.TCP_QUICKACK, 1),
    "TCP_DEFER_ACCEPT": Option(_TCP, socket.TCP_DEFER_ACCEPT, 0, 32767, kept_only=True),
    "TCP_FASTOPEN": Option(_TCP, socket.TCP_FASTOPEN, 0, _LARGEST, kept_only=True),
    "TCP_MAXSEG": Option(_TCP, socket.TCP_MAXSEG, 536, 32767),
    "TCP_KEEPIDLE": Option(_TCP, socket.TCP_KEEPIDLE, 7200, 32767),
    "TCP_KEEPINTVL": Option(_TCP, socket.TCP_KEEPINTVL, 75, 32767),
    "TCP_KEEPCNT": Option(_TCP, socket.TCP_KEEPCNT, 9, 127),
    "TCP_SYNCNT": Option(_TCP, socket.TCP_SYNCNT, 6, 127),
    "TCP_USER_TIMEOUT": Option(_TCP, socket.TCP_USER_TIMEOUT, 0, _LARGEST),
    "IP_TTL": Option(socket.IPPROTO_IP, socket.IP_TTL, 64, 255, kept_only=True),
    "IP_TOS": Option(socket.IPPROTO_IP, socket.IP_TOS, 0, 255, kept_only=True),
    "IPV6_V6ONLY": Option(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0, kept_only=True),
    "IPV6_UNICAST_HOPS": Option(
        socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 64, 255, kept_only=True
    ),
    "IPV6_TCLASS": Option(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0, 255, kept_only=True),
}
"""Options with one number for a value. SO_LINGER has two and the times have microseconds: these are
handled apart.
"""
LINGER: Final = "SO_LINGER"
RECEIVE_TIMEOUT: Final = "SO_RCVTIMEO"
SEND_TIMEOUT: Final = "SO_SNDTIMEO"
_TIMES: Final = (RECEIVE_TIMEOUT, SEND_TIMEOUT)
_LONGEST_TIME: Final = 1 << 53
"""Microseconds: for ever, in practice."""
_LINGER_FORMAT: Final = struct.Struct("ii")


class SocketOptions:
    """The options of one guest socket."""

    def __init__(self, family: str, kind: str) -> None:
        self._family = family
        self._kind = kind
        self._values: dict[str, int] = {}
        self._linger: tuple[int, int] | None = None
        self.receive_timeout_ns: int | None = None
        self.send_timeout_ns: int | None = None

    def flag(self, name: str) -> bool:
        """Whether a yes-or-no option is set."""
        return bool(self._values.get(name, OPTIONS[name].default))

    def inherit(self, other: SocketOptions) -> None:
        """Take over what an accepted socket has from its listener."""
        self._values.update(other._values)
        self._linger = other._linger
        self.receive_timeout_ns = other.receive_timeout_ns
        self.send_timeout_ns = other.send_timeout_ns

    def get(self, name: str, host: socket.socket | None) -> str:
        """The value as text; ENOPROTOOPT for an unknown name."""
        if name == LINGER:
            on, seconds = self._linger or (0, 0)
            return f"{on},{seconds}"
        if name in _TIMES:
            time = self.receive_timeout_ns if name == RECEIVE_TIMEOUT else self.send_timeout_ns
            return str((time or 0) // 1000)
        option = self._known(name)
        if host is not None and not option.kept_only and _applies(option, host):
            with contextlib.suppress(OSError):
                return str(host.getsockopt(option.level, option.number))
        return str(self._values.get(name, option.default))

    def set(self, name: str, text: str, host: socket.socket | None) -> None:
        """Set an option from its text; ENOPROTOOPT for an unknown name, EINVAL for a bad value."""
        if name == LINGER:
            on, separator, seconds = text.partition(",")
            if not separator:
                raise GuestError(Errno.EINVAL)
            self._linger = (_number(on, 1), _number(seconds, 32767))
        elif name in _TIMES:
            self._set_time(name, text)
            return
        else:
            option = self._known(name)
            self._values[name] = _number(text, option.largest)
        if host is not None:
            self._apply(name, host)

    def apply(self, host: socket.socket) -> None:
        """Hand everything that was set to a new host socket."""
        for name in self._values:
            self._apply(name, host)
        self._apply(LINGER, host)
        outside = host.family != socket.AF_UNIX and host.type == socket.SOCK_STREAM
        if outside and "TCP_NODELAY" not in self._values:
            host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _set_time(self, name: str, text: str) -> None:
        if not (text.isascii() and text.isdigit()) or len(text) > 16 or int(text) > _LONGEST_TIME:
            raise GuestError(Errno.EINVAL)
        time = int(text) * 1000 or None
        if name == RECEIVE_TIMEOUT:
            self.receive_timeout_ns = time
        else:
            self.send_timeout_ns = time

    def _known(self, name: str) -> Option:
        option = OPTIONS.get(name)
        if option is None:
            raise GuestError(Errno.ENOPROTOOPT)
        tcp = option.level == _TCP
        inet6 = option.level == socket.IPPROTO_IPV6
        inside = option.level == _SOCKET
        if (
            (tcp and (self._kind != STREAM or self._family == UNIX))
            or (inet6 and self._family != INET6)
            or (not inside and self._family == UNIX)
        ):
            raise GuestError(Errno.ENOPROTOOPT)
        return option

    def _apply(self, name: str, host: socket.socket) -> None:
        try:
            if name == LINGER:
                # Only "reset at close": with a time, close(2) would block even a non-blocking
                # socket, and nothing would interrupt it. Without, data is sent after the close.
                if self._linger is not None and host.family != socket.AF_UNIX:
                    packed = _LINGER_FORMAT.pack(self._linger == (1, 0), 0)
                    host.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, packed)
                return
            option = OPTIONS[name]
            if not option.kept_only and _applies(option, host):
                host.setsockopt(option.level, option.number, self._values[name])
        except OSError as error:
            raise GuestError(from_oserror(error)) from None


def _applies(option: Option, host: socket.socket) -> bool:
    return option.level == socket.SOL_SOCKET or host.family != socket.AF_UNIX


def _number(text: str, largest: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > _LARGEST:
        raise GuestError(Errno.EINVAL)
    # setsockopt(2) takes any non-zero number for "on".
    return int(bool(int(text))) if largest == 1 else min(int(text), largest)
