"""TLS for guests: the host ends it, since interpreters for WebAssembly have no ssl module.

`TlsService` is the container's: it makes TLS contexts (settings that guests write), puts TLS
between a connected socket and its guest, and answers what was agreed. What guests see is in
docs/guest-files.md. This module and its neighbours import ssl, so they are imported by the first
guest that asks for TLS.

OpenSSL verifies certificates and names. A guest may add to what its own connections trust; it goes
without verification only with a grant that says so, or inside the project's network.
"""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.socket import TcpSocket
from balenawasm.kernel.tls_context import MOST_CONTEXTS, TlsContext
from balenawasm.kernel.tls_engine import TlsEngine
from balenawasm.kernel.tls_grants import TlsGrant, TlsGrants
from balenawasm.kernel.tls_session import TlsSession
from balenawasm.kernel.tls_settings import BadTlsFileError, TlsContexts, TlsSettings, system_store
from balenawasm.vfs.endpoint import Endpoint, unmapped
from balenawasm.wasi.errno import Errno, GuestError, from_oserror

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Sequence

    from balenawasm.kernel.network import NetworkStack
    from balenawasm.vfs.description import Description
    from balenawasm.vfs.filesystems.net_tls import TlsFailure
    from balenawasm.vfs.node import Caller
    from balenawasm.vfs.socket import SocketDescription

MOST_LINES: Final = 256
"""Different lines for the log."""
NO_STORE: Final = "this machine has no store of CA certificates"


class TlsService:
    """TLS of one container. Thread-safe."""

    def __init__(
        self,
        stack: NetworkStack,
        grants: Sequence[tuple[str, str, str, str, bool]],
        log: Callable[[str], None],
    ) -> None:
        """`grants` as `TlsGrant.of` reads them: BadGrantError. `log` takes a line for the user."""
        self._stack = stack
        self._grants = TlsGrants(tuple(TlsGrant.of(*grant) for grant in grants))
        self._log = log
        self._logged: set[str] = set()
        self._made = TlsContexts()
        self._inodes = itertools.count(1)
        self._contexts: weakref.WeakValueDictionary[int, TlsContext] = weakref.WeakValueDictionary()
        self._engine = TlsEngine(log)

    def close(self) -> None:
        """End all connections; what guests have written and closed is still sent, for a moment."""
        self._engine.stop()

    # Contexts.

    def new_context(self) -> Description:
        """An open file for settings. EMFILE: there are too many."""
        if len(self._contexts) >= MOST_CONTEXTS:
            raise GuestError(Errno.EMFILE)
        made = TlsContext(next(self._inodes), self._made)
        self._contexts[made.inode] = made
        return made

    def settings(self, caller: Caller, inode: int) -> TlsSettings:
        """What a context that the caller holds says; ENOENT."""
        found = self._contexts.get(inode)
        if found is None or not caller.holds(found):
            raise GuestError(Errno.ENOENT)
        return found.settings

    # Connections.

    def begin(
        self, caller: Caller, connection: SocketDescription, settings: object, server_name: str
    ) -> None:
        """Put TLS on a connected socket and wait for the handshake; EINPROGRESS with NONBLOCK.

        EACCES: no verification, and no grant for that. EINVAL: settings that are none, or a name
        that cannot be one. EPROTO: the handshake failed. ENOTCONN, EALREADY, EISCONN.
        """
        assert isinstance(settings, TlsSettings)  # noqa: S101 - `settings` or `default_settings`
        if not isinstance(connection, TcpSocket):
            raise GuestError(Errno.ENOTSUP)
        if connection.layer is not None:
            connection.put_layer(caller, _no_second_layer)
        remote = connection.remote()
        grant = None
        outside = Endpoint(unmapped(remote.host), remote.port)
        if self._stack.route(outside, checked=False).directory is None:
            names = self._stack.names.outside_names(outside.host)
            wanted = server_name.lower().removesuffix(".")
            grant = self._grants.find(wanted, names, remote.port)
            if not (settings.verify and settings.check_name) and (grant is None or grant.verify):
                name = wanted if wanted in names else min(names - {outside.host} or names)
                self._say_denied(name, remote.port)
                raise GuestError(Errno.EACCES)
        if settings.verify and settings.check_name and not server_name:
            raise GuestError(Errno.EINVAL)
        context = self._context_of(settings, grant)
        needs_store = settings.system_trust and not (grant is not None and grant.ca)

        server = f"{remote.host}:{remote.port}"

        def explain(failure: TlsFailure) -> TlsFailure:
            return self._explain_no_store(failure, server) if needs_store else failure

        connection.put_layer(
            caller, lambda host: self._new_session(host, context, server_name, explain)
        )

    def default_settings(self) -> TlsSettings:
        """What `/net/tls/connect` uses."""
        return TlsSettings(system_trust=True)

    def say_failed(self, connection: SocketDescription, destination: str) -> None:
        """Tell the user why, when the guest has no way to ask."""
        session = connection.layer
        if isinstance(session, TlsSession) and session.failure is not None:
            self._say(f"TLS to {destination} failed: {session.failure.text}")

    def _context_of(self, settings: TlsSettings, grant: TlsGrant | None) -> ssl.SSLContext:
        try:
            return self._made.get(settings, grant)
        except BadTlsFileError as error:
            self._say(f"TLS is not possible: a grant's file cannot be used: {error.message}")
            raise GuestError(Errno.EIO) from None
        except (OSError, ValueError):
            raise GuestError(Errno.EINVAL) from None

    def _new_session(
        self,
        host: socket.socket,
        context: ssl.SSLContext,
        server_name: str,
        explain: Callable[[TlsFailure], TlsFailure],
    ) -> tuple[socket.socket, TlsSession]:
        try:
            session = TlsSession(host, context, server_name, self._engine.buffers, explain)
        except ValueError:
            raise GuestError(Errno.EINVAL) from None
        except OSError as error:
            raise GuestError(from_oserror(error)) from None
        try:
            self._engine.add(session)
        except RuntimeError:
            session.inner.close()
            session.outer.close()
            raise GuestError(Errno.EAGAIN) from None
        return session.outer, session

    # For the user.

    def _say_denied(self, name: str, port: int) -> None:
        self._say(
            f"TLS to {name}:{port} without verification of certificate or name denied; to allow "
            f'it, grant x-balenawasm: allow: [{{to: "tcp://{name}:{port}", verify: false}}]'
        )

    def _explain_no_store(self, failure: TlsFailure, server: str) -> TlsFailure:
        """A certificate was refused that a store of CA certificates might have vouched for."""
        if failure.kind != "verify" or system_store() is not None:
            return failure
        self._say(
            f"TLS to {server}: {NO_STORE}; install one (ca-certificates), or name the CA: "
            'x-balenawasm: allow: [{to: "tcp://HOST:PORT", ca: ./ca.pem}]'
        )
        return failure._replace(text=f"{failure.text} ({NO_STORE})")

    def _say(self, line: str) -> None:
        """Log a line once. A guest can choose what is in it, so the number is limited."""
        if line not in self._logged and len(self._logged) < MOST_LINES:
            self._logged.add(line)
            self._log(line if line.isprintable() else ascii(line))


def _no_second_layer(host: socket.socket) -> tuple[socket.socket, TlsSession]:
    raise GuestError(Errno.EISCONN)
