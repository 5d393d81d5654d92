"""TLS contexts as guests write them, and the commands about TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kernel_parts import new_process

from balenawasm.kernel.fd_table import FdEntry
from balenawasm.kernel.network import NetworkStack
from balenawasm.kernel.tls_context import LARGEST, MOST_CONTEXTS, MOST_TRUSTED, TlsContext
from balenawasm.kernel.tls_grants import TlsGrant, TlsGrants
from balenawasm.kernel.tls_settings import MOST_CONTEXTS as MOST_KEPT
from balenawasm.kernel.tls_settings import TlsContexts, TlsSettings
from balenawasm.vfs.filesystems.net import NetFs
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from tests.tls_authority import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CALLER = new_process()


@pytest.fixture
def context() -> TlsContext:
    return TlsContext(1, TlsContexts())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def write(context: TlsContext, text: str) -> None:
    data = text.encode()
    assert context.write(CALLER, [memoryview(data)]) == len(data)


def answer(context: TlsContext) -> str:
    parts = []
    buffer = bytearray(7)
    while count := context.read(CALLER, [memoryview(buffer)]):
        parts.append(bytes(buffer[:count]))
    return b"".join(parts).decode()


def refusal(call: Callable[[], object]) -> Errno:
    with pytest.raises(GuestError) as error:
        call()
    return error.value.errno


def test_settings(context: TlsContext, authority: Authority) -> None:
    ca = authority.certificate.read_text()
    own = authority.issue("own")
    write(context, "verify off\ncheck-name off\nsystem-trust on\nmin")
    write(context, "imum TLSv1.3\nalpn h2 http/1.1\n\nverify-flags 32\n")
    write(context, f"ca\n{ca}.\nca\n{ca}.\nchain\n{own.certificate.read_text()}.\n")
    write(context, f"key\n{own.key.read_text()}.\npassword \nverify on\n")
    settings = context.settings
    assert settings.verify
    assert not settings.check_name
    assert settings.system_trust
    assert settings.minimum == "TLSv1.3"
    assert settings.alpn == ("h2", "http/1.1")
    assert settings.flags == 32
    assert len(settings.ca) == 1
    assert answer(context) == "ok\n"
    assert answer(context) == "ok\n"


@pytest.mark.parametrize(
    "line",
    [
        *("nonsense", "verify maybe", "minimum SSLv3", "verify-flags 4", "verify-flags x", "ca x"),
        *("alpn " + "x" * 300, "v\xe9rify on"),
    ],
)
def test_lines_that_are_none(context: TlsContext, line: str) -> None:
    before = context.settings
    assert refusal(lambda: write(context, f"alpn h2\n{line}\nalpn h3\n")) is Errno.EINVAL
    assert context.settings == before._replace(alpn=("h2",))
    write(context, "alpn h1\n")
    assert context.settings.alpn == ("h1",)


def test_what_is_wrong_with_settings(context: TlsContext, authority: Authority) -> None:
    write(context, "ca\nno certificate\n.\n")
    assert answer(context).startswith("protocol!X509!NO_CERTIFICATE_OR_CRL_FOUND!")
    other = TlsContext(2, TlsContexts())
    write(other, f"chain\n{authority.issue('own').certificate.read_text()}.\n")
    assert answer(other).startswith("protocol!SSL!!")
    write(other, "ciphers NONE-SUCH\n")
    assert answer(other) == "protocol!!!0!No cipher can be selected.\n"


def test_size_is_limited(context: TlsContext) -> None:
    write(context, "ca\n" + "x" * (LARGEST - 100))
    assert refusal(lambda: write(context, "x" * 200)) is Errno.EFBIG


def test_what_is_trusted_is_limited(context: TlsContext) -> None:
    """Each text is compared with those before it."""
    write(context, "".join(f"ca\n{number}\n.\n" for number in range(MOST_TRUSTED)))
    write(context, "ca\n0\n.\n")
    assert refusal(lambda: write(context, "ca\nnew\n.\n")) is Errno.EFBIG


def test_equal_settings_share_what_is_made(authority: Authority) -> None:
    made = TlsContexts()
    text = authority.certificate.read_text()
    first = made.get(TlsSettings(ca=(text,)), None)
    assert made.get(TlsSettings(ca=(text,)), None) is first
    assert made.get(TlsSettings(ca=(text,), alpn=("h2",)), None) is not first
    for number in range(MOST_KEPT):
        made.get(TlsSettings(alpn=(f"p{number}",)), None)
    assert made.get(TlsSettings(ca=(text,)), None) is not first


def test_which_grant_counts() -> None:
    def grant(text: str) -> TlsGrant:
        return TlsGrant.of(text, text, "", "", True)

    names = {"a.test", "b.test", "192.0.2.1"}
    everywhere, by_name, by_address = map(grant, ("*:443", "b.test:443", "192.0.2.1:*"))
    other = grant("c.test:443")
    grants = TlsGrants((everywhere, by_address, by_name, other))
    assert grants.find("b.test", names, 443) is by_name
    assert grants.find("a.test", names, 443) is by_address
    assert grants.find("c.test", names, 443) is by_address  # that is not where it leads
    assert grants.find("c.test", {"192.0.2.9"}, 443) is everywhere
    assert grants.find("c.test", {"192.0.2.9"}, 80) is None


class Files:
    """`/net` of a container, for a process that opens files there."""

    def __init__(self, directory: Path) -> None:
        self.stack = NetworkStack(loopback_directory=directory)
        self.root = NetFs(self.stack).root
        self.process = new_process()

    def node(self, path: str) -> object:
        node = self.root
        for name in path.split("/"):
            node = node.lookup(self.process, name.encode())
        return node

    def open(self, path: str) -> object:
        opened = self.node(path).open(self.process, OpenFlags(write=True))
        self.process.fds.add(FdEntry(opened))
        return opened

    def command(self, socket: object, text: str) -> bytes:
        node = self.root.lookup(self.process, b"sock").lookup(self.process, b"%d" % socket.inode)
        return node.lookup(self.process, text.encode()).readlink(self.process)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Files(tmp_path / "loopback")
    yield made
    made.process.fds.close_all()
    made.stack.close()


def test_commands_before_there_is_tls(files: Files) -> None:
    context, socket = files.open("tls/new"), files.open("tcp/new")
    assert files.command(socket, "tls-info state") == b"none"
    assert files.command(socket, "tls-info error") == b""
    for what in ("version", "cipher", "alpn", "certificate 0", "peer 0", "unique"):
        assert refusal(lambda w=what: files.command(socket, f"tls-info {w}")) is Errno.ENOTCONN
    for bad in ("tls-info", "tls-info x", "tls-info peer x", "tls-info peer -1", "tls x y", "tls"):
        assert refusal(lambda b=bad: files.command(socket, b)) is Errno.EINVAL
    begin = f"tls {context.inode} name"
    assert refusal(lambda: files.command(socket, begin)) is Errno.ENOTCONN
    assert refusal(lambda: files.command(socket, f"tls {context.inode} n\xe9")) is Errno.EINVAL
    unix = files.open("unix/stream/new")
    assert refusal(lambda: files.command(unix, begin)) is Errno.ENOTSUP


def test_a_context_is_its_holders_and_bounded(files: Files) -> None:
    socket = files.open("tcp/new")
    elsewhere = files.stack.tls().new_context()
    command = f"tls {elsewhere.stat().ino} name"
    assert refusal(lambda: files.command(socket, command)) is Errno.ENOENT
    kept = [files.stack.tls().new_context() for _ in range(MOST_CONTEXTS - 1)]
    assert refusal(lambda: files.open("tls/new")) is Errno.EMFILE
    kept.clear()
    files.open("tls/new")


def test_connecting_nowhere(files: Files) -> None:
    assert refusal(lambda: files.open("tls/connect/localhost!1")) is Errno.ECONNREFUSED
    assert refusal(lambda: files.open("tls/connect/example.org!443")) is Errno.ENOENT
    assert refusal(lambda: files.open("tls/connect/x")) is Errno.EINVAL
