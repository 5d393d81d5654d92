"""Content digests in the OCI spelling, `sha256:<64 hex digits>` (OCI image spec, descriptor.md).

Only sha256 is written; another algorithm in input is refused, because nothing here could verify it.

hashlib loads OpenSSL, which takes 2 ms of a start; for the few small texts of one, the
interpreter's own implementation does. Streams, which may be long, get OpenSSL's, which is faster.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO, NewType, Protocol

from balenawasm.errors import BalenaWasmError

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Callable
    from pathlib import Path

    _own_sha256: Callable[[bytes | bytearray | memoryview], hashlib._Hash]
else:
    try:
        from _sha2 import sha256 as _own_sha256  # CPython 3.12 and later
    except ImportError:
        try:
            from _sha256 import sha256 as _own_sha256  # CPython 3.11
        except ImportError:
            from hashlib import sha256 as _own_sha256

Digest = NewType("Digest", str)
"""A checked `sha256:<hex>` string; make one with :func:`parse_digest` or :func:`sha256`."""

_PATTERN = re.compile(r"sha256:[0-9a-f]{64}\Z")
_CHUNK = 1 << 20
_SMALL = 1 << 16


class InvalidDigestError(BalenaWasmError):
    """A string is not a digest this program can verify."""


class Writable(Protocol):
    """The one method of a binary file that streaming writers need."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Write all of `data`; returns its length in bytes."""
        ...


def parse_digest(text: str) -> Digest:
    """Return `text` as a Digest; InvalidDigestError unless it is `sha256:` and 64 hex digits."""
    if not _PATTERN.match(text):
        raise InvalidDigestError(f"not a sha256 digest: {text!r}")
    return Digest(text)


def sha256(data: bytes | bytearray | memoryview) -> Digest:
    """Return the digest of bytes in memory."""
    return Digest("sha256:" + sha256_hex(data))


def sha256_hex(data: bytes | bytearray | memoryview) -> str:
    """Return the 64 hex digits of the digest of bytes in memory."""
    if len(data) <= _SMALL:
        return _own_sha256(data).hexdigest()
    state = new_sha256()
    state.update(data)
    return state.hexdigest()


def new_sha256() -> hashlib._Hash:
    """Return a state to feed with more than a little."""
    import hashlib  # noqa: PLC0415 - see the module

    return hashlib.sha256()


def sha256_file(path: Path) -> Digest:
    """Return the digest of a host file's content; OSError when it cannot be read."""
    with path.open("rb") as file:
        return sha256_stream(file)


def sha256_stream(file: BinaryIO) -> Digest:
    """Return the digest of everything from the file's position to its end."""
    state = new_sha256()
    while chunk := file.read(_CHUNK):
        state.update(chunk)
    return Digest("sha256:" + state.hexdigest())


def hex_of(digest: Digest) -> str:
    """Return the 64 hex digits without the algorithm's name: the blob's file name in a store."""
    return digest.partition(":")[2]


class HashingWriter:
    """A sequential writer that passes bytes on and keeps their digest and count."""

    def __init__(self, out: Writable) -> None:
        self._out = out
        self._state = new_sha256()
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of `data` to the file below; returns its length in bytes."""
        self._out.write(data)
        self._state.update(data)
        length = memoryview(data).nbytes
        self.size += length
        return length

    @property
    def digest(self) -> Digest:
        """The digest of everything written so far."""
        return Digest("sha256:" + self._state.hexdigest())
