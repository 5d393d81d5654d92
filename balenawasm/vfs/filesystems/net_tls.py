"""`/net/tls` and the commands `tls…` of sockets. The contract is docs/guest-files.md.

Imported by the first guest that asks for TLS.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from balenawasm.record import NamedTuple
from balenawasm.vfs.endpoint import split_destination
from balenawasm.vfs.filesystems.net_commands import connect_to
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import NONBLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from balenawasm.vfs.description import Description
    from balenawasm.vfs.filesystems.net_commands import Command
    from balenawasm.vfs.node import Caller, OpenFlags
    from balenawasm.vfs.socket import Network, SocketDescription

LONGEST_TEXT: Final = 1000
PART: Final = 2000
"""Bytes of one part of a long answer: its hexadecimal form fits into a link's target."""


class TlsFacts(NamedTuple):
    """What a handshake has settled."""

    version: str
    cipher: tuple[str, str, int]
    alpn: str
    certificate: bytes
    """The peer's, in DER; empty without."""
    peer: Mapping[str, Any]
    """The certificate's fields as Python's `getpeercert` has them; empty without verification."""
    unique: bytes
    """The channel binding `tls-unique`; empty without."""


class TlsFailure(NamedTuple):
    """Why a connection failed.

    Kinds: `verify` (the certificate; `code` is OpenSSL's X509_V_ERR number), `eof` (the stream
    ended without close_notify), `protocol` (everything else of TLS), `system` (an error of the
    connection; `code` is an errno of WASI), `settings` (no connection is possible with them).
    `text` is for humans.
    """

    errno: Errno
    kind: str
    library: str
    reason: str
    code: int
    text: str

    def form(self) -> bytes:
        """The text form that guests read."""
        fields = (self.kind, self.library, self.reason, str(self.code), self.text[:LONGEST_TEXT])
        return "!".join(fields).encode("utf-8", "replace")


class Tls(Protocol):
    """A container's TLS: `kernel.tls.TlsService`."""

    def new_context(self) -> Description:
        """An open file for settings. EMFILE: there are too many."""
        ...

    def settings(self, caller: Caller, inode: int) -> object:
        """What a context that the caller holds says; ENOENT."""
        ...

    def default_settings(self) -> object:
        """What a guest gets that says nothing."""
        ...

    def begin(
        self, caller: Caller, connection: SocketDescription, settings: object, server_name: str
    ) -> None:
        """Put TLS on a connected socket and wait for the handshake; EINPROGRESS with NONBLOCK."""
        ...

    def say_failed(self, connection: SocketDescription, destination: str) -> None:
        """Tell the user why, when the guest has no way to ask."""
        ...


# Openings.


def new_context(network: Network, flags: OpenFlags) -> Description:
    """`/net/tls/new`."""
    return network.tls().new_context()


def connect(network: Network, caller: Caller, flags: OpenFlags, name: bytes) -> Description:
    """`/net/tls/connect/<host>!<port>`: blocks until the handshake is over."""
    host, port = split_destination(name)
    tls = network.tls()
    new = network.new_socket()
    try:
        connect_to(network, new, caller, host, port)
        tls.begin(caller, new, tls.default_settings(), host)
        new.set_flags(flags.fdflags & NONBLOCK)
    except BaseException:
        tls.say_failed(new, f"{host}:{port}")
        new.close()
        raise
    return new


# Commands.


def start(command: Command, argument: bytes) -> bytes:
    """`tls <context> <server name>`."""
    inode, _, name = argument.partition(b" ")
    if not inode.isdigit() or len(inode) > 18:
        raise GuestError(Errno.EINVAL)
    try:
        server_name = name.decode("ascii")
    except UnicodeDecodeError:
        raise GuestError(Errno.EINVAL) from None
    tls = command.network.tls()
    settings = tls.settings(command.caller, int(inode))
    tls.begin(command.caller, command.socket, settings, server_name)
    return b"ok"


def ask(command: Command, argument: bytes) -> bytes:
    """`tls-info <what> [<offset>]`."""
    word, _, offset = argument.partition(b" ")
    answer = _QUESTIONS.get(word)
    if answer is None or (offset and not (offset.isdigit() and len(offset) < 10)):
        raise GuestError(Errno.EINVAL)
    return answer(command.socket, int(offset or 0))


def _state(socket: SocketDescription, offset: int) -> bytes:
    """Where the connection is; finishes a handshake that is over."""
    layer = socket.layer
    if layer is None:
        return b"none"
    if socket.is_connecting():
        return b"handshake"
    return b"failed" if layer.failure is not None else b"open"


def _error(socket: SocketDescription, offset: int) -> bytes:
    layer = socket.layer
    failure = None if layer is None else layer.failure
    return b"" if failure is None else failure.form()


def _facts(socket: SocketDescription) -> TlsFacts:
    layer = socket.layer
    if layer is None or socket.is_connecting() or layer.facts is None:
        raise GuestError(Errno.ENOTCONN)
    return layer.facts


def _part(data: bytes, offset: int) -> bytes:
    return data[offset : offset + PART].hex().encode()


def _cipher(socket: SocketDescription, offset: int) -> bytes:
    return "!".join(map(str, _facts(socket).cipher)).encode()


def _peer(socket: SocketDescription, offset: int) -> bytes:
    text = json.dumps(_facts(socket).peer, separators=(",", ":"))
    return _part(text.encode(), offset)


_QUESTIONS: Final[Mapping[bytes, Callable[[SocketDescription, int], bytes]]] = {
    b"state": _state,
    b"error": _error,
    b"version": lambda socket, offset: _facts(socket).version.encode(),
    b"cipher": _cipher,
    b"alpn": lambda socket, offset: _facts(socket).alpn.encode(),
    b"certificate": lambda socket, offset: _part(_facts(socket).certificate, offset),
    b"peer": _peer,
    b"unique": lambda socket, offset: _part(_facts(socket).unique, offset),
}
