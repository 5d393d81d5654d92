"""The open file of `/net/tls/new`: a guest writes settings, one a line, and reads whether they can
be used. The contract is docs/guest-files.md.

Texts of several lines (PEM) follow the lines `ca`, `chain` and `key` and end with a line that is a
single dot. What a write has not finished is kept for the next one.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.tls_failure import failure_of
from balenawasm.kernel.tls_settings import FLAGS, VERSIONS, TlsSettings
from balenawasm.vfs.description import Buffers, Description
from balenawasm.vfs.filesystems.net_tls import TlsFailure
from balenawasm.vfs.node import Caller, Stat
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from balenawasm.kernel.tls_settings import TlsContexts

CONTEXT_DEVICE: Final = 0x746C  # "tl": the st_dev of all contexts
MOST_CONTEXTS: Final = 256
"""Open contexts of one container."""
LARGEST: Final = 1 << 20
"""Bytes that one context takes."""
MOST_TRUSTED: Final = 256
"""Texts with certificates that one context trusts."""
_END: Final = b"."


class TlsContext(Description):
    """Settings for TLS connections, written by a guest."""

    filetype = Filetype.CHARACTER_DEVICE

    def __init__(self, inode: int, made: TlsContexts) -> None:
        super().__init__()
        self.inode = inode
        self.settings = TlsSettings()
        self._made = made
        self._lock = threading.Lock()
        self._size = 0
        self._unfinished = b""
        self._block: tuple[str, list[bytes]] | None = None
        """Name and lines so far of a text of several lines."""
        self._answer = b""

    def stat(self) -> Stat:
        """A context's attributes; the inode number is its name in the command `tls`."""
        return Stat(CONTEXT_DEVICE, self.inode, self.filetype, 1, 0, 0, 0, 0, 0o600)

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """Take settings: EINVAL for one that is none, EFBIG when there is too much. Those before it
        are in effect.
        """
        data = b"".join(buffers)
        with self._lock:
            if self._size + len(data) > LARGEST:
                raise GuestError(Errno.EFBIG)
            self._size += len(data)
            self._answer = b""
            *lines, self._unfinished = (self._unfinished + data).split(b"\n")
            try:
                for line in lines:
                    self._take(line)
            except ValueError:
                self._block = None
                self._unfinished = b""
                raise GuestError(Errno.EINVAL) from None
        return len(data)

    def read(self, caller: Caller, buffers: Buffers) -> int:
        """`ok`, or why no connection can be made with these settings; then end of file."""
        with self._lock:
            if not self._answer:
                self._answer = self._try() + b"\n"
            elif self._answer == b"\n":
                self._answer = b""
                return 0
            done = 0
            for buffer in buffers:
                part = self._answer[done : done + len(buffer)]
                buffer[: len(part)] = part
                done += len(part)
            self._answer = self._answer[done:] or b"\n"
            return done

    def _try(self) -> bytes:
        try:
            self._made.get(self.settings, None)
        except OSError as error:
            return failure_of(error).form()
        except ValueError as error:
            return TlsFailure(Errno.EINVAL, "settings", "", "", 0, str(error)).form()
        return b"ok"

    def _take(self, line: bytes) -> None:
        """One line; ValueError."""
        if self._block is not None:
            name, lines = self._block
            if line != _END:
                lines.append(line)
                return
            self._block = None
            text = b"\n".join([*lines, b""]).decode("utf-8", "surrogateescape")
            self.settings = _TEXTS[name](self.settings, text)
            return
        name, _, value = line.decode("ascii").rstrip("\r").partition(" ")
        if name in _TEXTS and not value:
            self._block = (name, [])
        elif name in _WORDS:
            self.settings = _WORDS[name](self.settings, value)
        elif name:
            raise ValueError(name)


def _trusting(settings: TlsSettings, text: str) -> TlsSettings:
    if text in settings.ca:
        return settings
    if len(settings.ca) >= MOST_TRUSTED:
        raise GuestError(Errno.EFBIG)
    return settings._replace(ca=(*settings.ca, text))


def _switch(value: str) -> bool:
    return {"on": True, "off": False}[value] if value in ("on", "off") else _bad(value)


def _bad(value: str) -> bool:
    raise ValueError(value)


def _version(value: str) -> str:
    return value if value in VERSIONS else str(_bad(value))


def _alpn(value: str) -> tuple[str, ...]:
    names = tuple(value.split())
    if sum(len(name) + 1 for name in names) > 255:
        raise ValueError(value)
    return names


def _flags(value: str) -> int:
    number = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else -1
    return number if number & ~FLAGS == 0 else int(_bad(value))


_WORDS: Final[Mapping[str, Callable[[TlsSettings, str], TlsSettings]]] = {
    "verify": lambda s, value: s._replace(verify=_switch(value)),
    "check-name": lambda s, value: s._replace(check_name=_switch(value)),
    "system-trust": lambda s, value: s._replace(system_trust=_switch(value)),
    "minimum": lambda s, value: s._replace(minimum=_version(value)),
    "maximum": lambda s, value: s._replace(maximum=_version(value)),
    "verify-flags": lambda s, value: s._replace(flags=_flags(value)),
    "alpn": lambda s, value: s._replace(alpn=_alpn(value)),
    "ciphers": lambda s, value: s._replace(ciphers=value),
    "password": lambda s, value: s._replace(password=value),
}
_TEXTS: Final[Mapping[str, Callable[[TlsSettings, str], TlsSettings]]] = {
    "ca": _trusting,
    "chain": lambda s, text: s._replace(chain=text, key=""),
    "key": lambda s, text: s._replace(key=text),
}
