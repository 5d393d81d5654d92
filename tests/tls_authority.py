"""A certificate authority for tests, and TLS servers of this machine that use its certificates."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates into a directory."""

    def __init__(self, directory: Path, name: str = "test authority") -> None:
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            _builder(self._name, self._name, self._key.public_key(), now - DAY, now + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = directory / f"{name.replace(' ', '-')}.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, name: str, *alternatives: str, expired: bool = False, self_signed: bool = False
    ) -> Issued:
        """A certificate for host names and addresses; the first also names its files."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        begin, end = (now - 2 * DAY, now - DAY) if expired else (now - DAY, now + DAY)
        subject = _named(name)
        builder = _builder(
            subject, subject if self_signed else self._name, key.public_key(), begin, end
        ).add_extension(
            x509.SubjectAlternativeName([_alternative(text) for text in (name, *alternatives)]),
            critical=False,
        )
        if not self_signed:
            builder = builder.add_extension(
                x509.BasicConstraints(ca=False, path_length=None), critical=True
            ).add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        certificate = builder.sign(key if self_signed else self._key, hashes.SHA256())
        stem = f"{name}-{len(list(self.directory.iterdir()))}"
        issued = Issued(self.directory / f"{stem}.pem", self.directory / f"{stem}.key")
        issued.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        issued.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return issued


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def server_context(issued: Issued, *alpn: str) -> ssl.SSLContext:
    """A server's context with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


class TlsServer:
    """Serves each connection in a thread: `serve` gets the TLS socket. A context manager."""

    def __init__(
        self,
        context: ssl.SSLContext,
        serve: Callable[[ssl.SSLSocket], None],
        address: str = "127.0.0.1",
    ) -> None:
        self._context = context
        self._serve = serve
        self._listener = socket.create_server((address, 0))
        self.address, self.port = self._listener.getsockname()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._ended = False

    def __enter__(self) -> TlsServer:
        self._start(self._accept)
        return self

    def __exit__(self, *error: object) -> None:
        self._ended = True
        socket.create_connection((self.address, self.port)).close()
        self._threads[0].join(10)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended:
            plain, _ = self._listener.accept()
            if self._ended:
                plain.close()
                return
            self._connections.append(plain)
            self._start(lambda plain=plain: self._converse(plain))

    def _converse(self, plain: socket.socket) -> None:
        with plain:
            try:
                with self._context.wrap_socket(
                    plain, server_side=True, suppress_ragged_eofs=False
                ) as connection:
                    self._connections.append(connection)
                    self._serve(connection)
            except OSError:
                pass
            except ValueError:  # `__exit__` took the connection away
                assert self._ended
