"""What a guest wants of its TLS connections, and the ssl.SSLContext that this makes.

Settings are immutable and compare by content, so all connections that want the same share one
SSLContext: reading a trust store takes tens of milliseconds. PEM texts reach OpenSSL through
memory files, because only its file readers run without the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from balenawasm.errors import BalenaWasmError
from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.kernel.tls_grants import TlsGrant

VERSIONS: Final = {
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
"""What guests may choose from; older versions are broken."""
FLAGS: Final = int(
    ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
)
"""Ways to verify that guests may choose."""
MOST_CONTEXTS: Final = 16
"""SSLContexts that are kept for reuse."""


class BadTlsFileError(BalenaWasmError):
    """A file that a grant names cannot be used."""


class TlsSettings(NamedTuple):
    """What a guest wants. `ca` texts are PEM; `chain` holds certificates and, unless `key` does,
    their private key.
    """

    verify: bool = True
    check_name: bool = True
    flags: int = int(ssl.VERIFY_X509_TRUSTED_FIRST)
    """OpenSSL's X509_V_FLAG numbers, of those in FLAGS."""
    system_trust: bool = False
    minimum: str = "TLSv1.2"
    maximum: str = "TLSv1.3"
    ciphers: str = ""
    alpn: tuple[str, ...] = ()
    ca: tuple[str, ...] = ()
    chain: str = ""
    key: str = ""
    password: str = ""


class TlsContexts:
    """Makes SSLContexts and keeps the latest. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[TlsSettings, TlsGrant | None], ssl.SSLContext] = OrderedDict()

    def get(self, settings: TlsSettings, grant: TlsGrant | None) -> ssl.SSLContext:
        """The context for connections with these settings under a grant.

        Raises what the ssl module raises for the guest's own texts (SSLError, ValueError), and
        BadTlsFileError for the grant's.
        """
        key = (settings, grant)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
        made = _make(settings, grant)
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > MOST_CONTEXTS:
                self._kept.popitem(last=False)
        return made


def _make(settings: TlsSettings, grant: TlsGrant | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Debian's Python takes a stream that breaks off for one that ends; an attacker can break it.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    context.check_hostname = settings.verify and settings.check_name
    context.verify_mode = ssl.CERT_REQUIRED if settings.verify else ssl.CERT_NONE
    context.verify_flags = ssl.VerifyFlags(settings.flags)
    context.minimum_version = VERSIONS[settings.minimum]
    context.maximum_version = VERSIONS[settings.maximum]
    if settings.ciphers:
        context.set_ciphers(settings.ciphers)
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    for text in settings.ca:
        with _memory_file(text) as path:
            context.load_verify_locations(cafile=path)
    if settings.chain:
        # Without an answer of its own OpenSSL would ask for a password at the terminal.
        with _memory_file(settings.chain) as chain, _memory_file(settings.key) as key:
            context.load_cert_chain(chain, key if settings.key else None, settings.password)
    if grant is not None:
        _apply(context, grant)
    if settings.system_trust and (grant is None or not grant.ca) and settings.verify:
        store = system_store()
        if store is not None:
            context.load_verify_locations(*store)
    return context


def _apply(context: ssl.SSLContext, grant: TlsGrant) -> None:
    path = grant.ca
    try:
        if path:
            context.load_verify_locations(cafile=path)
        path = grant.certificate
        if path:
            context.load_cert_chain(path, grant.key or None, "")
    except (OSError, ValueError) as error:
        where = path if path == grant.ca or not grant.key else f"{path} with {grant.key}"
        raise BadTlsFileError(f"{where}: {error}") from error


def system_store() -> tuple[str | None, str | None] | None:
    """File and directory with the host's trusted certificates; None when it has none."""
    paths = ssl.get_default_verify_paths()
    file = paths.cafile if paths.cafile and Path(paths.cafile).stat().st_size else None
    directory = None
    if paths.capath:
        with contextlib.suppress(OSError), os.scandir(paths.capath) as entries:
            directory = paths.capath if any(entries) else None
    return (file, directory) if file or directory else None


@contextlib.contextmanager
def _memory_file(text: str) -> Iterator[str]:
    """A file with this text, for a library that takes only paths."""
    fd = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(text.encode("utf-8", "surrogateescape"))
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
