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
from balenawasm.wasi.errno import Errno, GuestError, from_oserror

_LARGEST: Final = (1 << 31) - 1


class Option(NamedTuple):
    """One option: where the host has it, its value before anybody sets it, and the largest value
    taken.

    `kept_only` options change what this kernel does, not the host socket.
    """

    level: int
    number: int
    default: int
    largest: int = 1
    kept_only: bool = False


OPTIONS: Final[dict[str, Option]] = {
    "SO_REUSEADDR": Option(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0, kept_only=True),
    "SO_KEEPALIVE": Option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0),
    "SO_BROADCAST": Option(socket.SOL_SOCKET, socket.SO_BROADCAST, 0, kept_only=True),
    "SO_OOBINLINE": Option(socket.SOL_SOCKET, socket.SO_OOBINLINE, 0, kept_only=True),
    "SO_SNDBUF": Option(socket.SOL_SOCKET, socket.SO_SNDBUF, 212992, _LARGEST),
    "SO_RCVBUF": Option(socket.SOL_SOCKET, socket.SO_RCVBUF, 212992, _LARGEST),
    "TCP_NODELAY": Option(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    "TCP_KEEPIDLE": Option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 7200, 32767),
    "TCP_KEEPINTVL": Option(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 75, 32767),
    "TCP_KEEPCNT": Option(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 9, 127),
}
"""Options with one number for a value. SO_LINGER has two and is handled apart."""
LINGER: Final = "SO_LINGER"
_LINGER_FORMAT: Final = struct.Struct("ii")


class SocketOptions:
    """The options of one guest socket."""

    def __init__(self) -> None:
        self._values: dict[str, int] = {}
        self._linger: tuple[int, int] | None = None

    def flag(self, name: str) -> bool:
        """Whether a yes-or-no option is set."""
        return bool(self._values.get(name, OPTIONS[name].default))

    def get(self, name: str, host: socket.socket | None) -> str:
        """The value as text; ENOPROTOOPT for an unknown name."""
        if name == LINGER:
            on, seconds = self._linger or (0, 0)
            return f"{on},{seconds}"
        option = _known(name)
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
        else:
            option = _known(name)
            self._values[name] = _number(text, option.largest)
        if host is not None:
            self._apply(name, host)

    def apply(self, host: socket.socket) -> None:
        """Hand everything that was set to a new host socket."""
        for name in self._values:
            self._apply(name, host)
        self._apply(LINGER, host)
        if host.family == socket.AF_INET and "TCP_NODELAY" not in self._values:
            host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

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


def _known(name: str) -> Option:
    option = OPTIONS.get(name)
    if option is None:
        raise GuestError(Errno.ENOPROTOOPT)
    return option


def _applies(option: Option, host: socket.socket) -> bool:
    return option.level == socket.SOL_SOCKET or host.family != socket.AF_UNIX


def _number(text: str, largest: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > _LARGEST:
        raise GuestError(Errno.EINVAL)
    # setsockopt(2) takes any non-zero number for "on".
    return int(bool(int(text))) if largest == 1 else min(int(text), largest)
