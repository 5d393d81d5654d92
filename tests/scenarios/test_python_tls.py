"""TLS clients on the stock python.wasm: the ssl module of the image's adapters, the standard
library over it, and unmodified packages.
"""

from __future__ import annotations

import http.server
import shutil
import ssl
import struct
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from balenawasm.engine.code_cache import CodeCache
from balenawasm.engine.machine import Machine
from balenawasm.kernel.network_policy import OutboundPolicy
from balenawasm.kernel.network_resolver import OutsideResolver
from balenawasm.personality import preview1
from tests.conftest import Cli, wait_for_no_process
from tests.outside import outside_network
from tests.scenarios.python_guest import Container
from tests.tls_authority import Authority, TlsServer, server_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGES = Path(__file__).with_name("python_tls_packages.txt")
VERIFY_FAILED = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed:"
PLACE = " (_ssl.c:1000)"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    cache = CodeCache(tmp_path_factory.mktemp("native"))
    return Machine(cache, {"wasi_snapshot_preview1": preview1.TABLE})


@pytest.fixture(scope="module")
def packages(pytestconfig: pytest.Config) -> list[Path]:
    """The wheels, pinned by version and hash; pip fetches those that are not there yet."""
    assert pytestconfig.cache is not None
    directory = pytestconfig.cache.mkdir("tls-wheels")
    wanted = sum("--hash" in line for line in PACKAGES.read_text().splitlines())
    if len(list(directory.glob("*.whl"))) != wanted:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
        options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--platform", "any"]
        version = ["--python-version", "3.12", "--implementation", "py"]
        subprocess.run(
            [*pip, *options, *version, "-d", str(directory), "-r", str(PACKAGES)], check=True
        )
    return sorted(directory.glob("*.whl"))


@pytest.fixture
def outside() -> Iterator[str]:
    with outside_network() as address:
        yield address


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    (tmp_path / "authority").mkdir()
    return Authority(tmp_path / "authority")


@pytest.fixture
def container(
    machine: Machine, python_wasm: Path, tmp_path: Path, outside: str, authority: Authority
) -> Iterator[Callable[..., Container]]:
    """Makes a container that may reach everything; any name is the server's."""
    made: list[Container] = []

    def make(**options: object) -> Container:
        one = Container(
            machine,
            python_wasm,
            tmp_path,
            policy=OutboundPolicy.from_texts(["all"]),
            resolver=OutsideResolver(lambda name, family: [outside]),
            **options,  # type: ignore[arg-type]
        )
        made.append(one)
        (one.app / "ca.pem").write_bytes(authority.certificate.read_bytes())
        return one

    yield make
    for one in made:
        one.__exit__()


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers with what was asked for, large things on request, and sends bodies back."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size = self.path.removeprefix("/large/")
        body = b"x" * int(size) if size.isdigit() else self.path.encode()
        self._answer(body)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def https_server(context: ssl.SSLContext, address: str) -> Iterator[int]:
    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: ssl.SSLSocket, client_address: object) -> None:
            request.settimeout(30)
            try:
                request.do_handshake()
                super().finish_request(request, client_address)
            except OSError:
                pass

    server = Server((address, 0), Pages)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def echo(connection: ssl.SSLSocket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.unwrap()


def test_ssl_sockets(container, authority, outside) -> None:
    context = server_context(authority.issue("server.test"), "h2", "http/1.1")
    with TlsServer(context, echo, outside) as server:
        printed = container().run(
            """
import asyncio, http.client, select, socket, ssl, sys, urllib.request
loaded = [name for name in sys.modules if name.startswith("balenawasm_adapters.ssl")]
assert loaded == ["balenawasm_adapters.ssl_errors"]  # as yet; asyncio wants the exceptions
port = int(sys.argv[1])
context = ssl.create_default_context(cafile="ca.pem")
assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
assert context.minimum_version is ssl.TLSVersion.TLSv1_2
context.set_alpn_protocols(["http/1.1"])
with socket.create_connection(("server.test", port), timeout=20) as plain:
    with context.wrap_socket(plain, server_hostname="server.test") as secured:
        assert plain.fileno() == -1 and isinstance(secured, ssl.SSLSocket)
        print(secured.version(), secured.selected_alpn_protocol(), secured.cipher()[1])
        print(secured.getpeercert()["subjectAltName"])
        pem = ssl.DER_cert_to_PEM_cert(secured.getpeercert(True))
        assert ssl.PEM_cert_to_DER_cert(pem) == secured.getpeercert(True)
        assert ssl.cert_time_to_seconds(secured.getpeercert()["notAfter"]) > 1.7e9
        secured.sendall(b"x" * 300_000)
        left = 300_000
        while left:
            left -= len(secured.recv(70_000))
        buffer = bytearray(10)
        secured.write(b"into")
        print(secured.recv_into(buffer), bytes(buffer[:4]), secured.pending())
        file = secured.makefile("rwb")
        file.write(b"line\\n")
        file.flush()
        print(file.readline())
        secured.settimeout(0.05)
        try:
            secured.recv(1)
        except TimeoutError as error:
            print(error)
        secured.setblocking(False)
        try:
            secured.recv(1)
        except ssl.SSLWantReadError as error:
            print(error)
        secured.send(b"again")
        assert select.select([secured], [], [], 20)[0]
        print(secured.recv(100))
        secured.settimeout(20)
        secured.unwrap()
# An unconnected one, without blocking.
secured = context.wrap_socket(socket.socket(), server_hostname="server.test")
secured.connect(("server.test", port))
assert secured.version() == "TLSv1.3"
secured.close()
plain = socket.create_connection(("server.test", port))
plain.setblocking(False)
secured = context.wrap_socket(plain, server_hostname="server.test", do_handshake_on_connect=False)
while True:
    try:
        secured.do_handshake()
        break
    except ssl.SSLWantReadError:
        assert select.select([secured], [], [], 20)[0]
print("done", secured.version())
secured.close()
for server in (context, ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)):
    try:
        server.wrap_socket(socket.socket(), server_side=True)
    except ssl.SSLError as error:
        assert "no TLS for servers" in str(error)
""",
            str(server.port),
        )
    assert printed.splitlines() == [
        "TLSv1.3 http/1.1 TLSv1.3",
        "(('DNS', 'server.test'),)",
        "4 b'into' 0",
        "b'line\\n'",
        "The read operation timed out",
        f"The operation did not complete (read){PLACE}",
        "b'again'",
        "done TLSv1.3",
    ]


REFUSED = """
import socket, ssl, sys
try:
    ssl.create_default_context(cafile="ca.pem").wrap_socket(
        socket.create_connection(("server.test", int(sys.argv[1]))), server_hostname=sys.argv[2])
except ssl.SSLCertVerificationError as error:
    assert isinstance(error, (ssl.SSLError, ValueError)) and error.library == "SSL"
    print(error.verify_code, error.reason, error.verify_message)
    print(error)
"""


@pytest.mark.parametrize(
    ("issue", "name", "code", "message"),
    [
        ({"self_signed": True}, "server.test", 18, "self-signed certificate"),
        ({"expired": True}, "server.test", 10, "certificate has expired"),
        ({}, "o.test", 62, "Hostname mismatch, certificate is not valid for 'o.test'."),
        (None, "server.test", 20, "unable to get local issuer certificate"),
    ],
)
def test_wrong_certificates(container, authority, outside, tmp_path, issue, name, code, message):
    signer = authority
    if issue is None:
        (tmp_path / "stranger").mkdir()
        signer = Authority(tmp_path / "stranger", "stranger")
    with TlsServer(server_context(signer.issue("server.test", **issue or {})), echo, outside) as it:
        printed = container().run(REFUSED, str(it.port), name)
    assert printed.splitlines() == [
        f"{code} CERTIFICATE_VERIFY_FAILED {message}",
        f"{VERIFY_FAILED} {message}{PLACE}",
    ]


def test_without_verification(container, authority, outside) -> None:
    source = (
        "import ssl, sys\n"
        "try: print(ssl.get_server_certificate(('server.test', int(sys.argv[1])))[:27])\n"
        "except ssl.SSLError as error: print(error)\n"
    )
    issued = authority.issue("server.test", self_signed=True)
    with TlsServer(server_context(issued), echo, outside) as server:
        denied = container()
        printed = denied.run(source, str(server.port))
        assert printed.startswith("TLS without verification is denied here")
        grant = f'{{to: "tcp://server.test:{server.port}", verify: false}}'
        assert grant in denied.log[0]
        allowed = container(
            name="allowed",
            address="10.99.0.4",
            tls=[(f"tcp://server.test:{server.port}", "", "", "", False)],
        )
        assert allowed.run(source, str(server.port)) == "-----BEGIN CERTIFICATE-----\n"


def test_client_certificates(container, authority, outside) -> None:
    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(connection.getpeercert()["subject"][0][0][1].encode())
        connection.unwrap()

    context = server_context(authority.issue("server.test"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.certificate)
    source = """
import socket, ssl, sys
context = ssl.create_default_context(cafile="ca.pem")
if len(sys.argv) > 2:
    for wrong in (("ca.pem", "own.key"), ("own.pem", "ca.pem"), ("no.pem", None)):
        try:
            context.load_cert_chain(*wrong)
        except (ssl.SSLError, FileNotFoundError) as error:
            print(type(error).__name__, error)
    context.load_cert_chain("own.pem", "own.key")
secured = context.wrap_socket(
    socket.create_connection(("server.test", int(sys.argv[1]))), server_hostname="server.test")
try:
    print(secured.recv(100).decode())
except ssl.SSLError as error:
    print(error.reason)
"""
    own, lent = authority.issue("own"), authority.issue("lent")
    with TlsServer(context, serve, outside) as server:
        files = ("", str(lent.certificate), str(lent.key), True)
        web = container(tls=[(f"tcp://server.test:{server.port}", *files)])
        assert web.run(source, str(server.port)) == "lent\n"
        assert not any("key" in path.name for path in web.app.iterdir())
        web = container(name="own", address="10.99.0.4")
        assert web.run(source, str(server.port)) == "TLSV13_ALERT_CERTIFICATE_REQUIRED\n"
        (web.app / "own.pem").write_bytes(own.certificate.read_bytes())
        (web.app / "own.key").write_bytes(own.key.read_bytes())
        printed = web.run(source, str(server.port), "own").splitlines()
    assert printed[0].startswith("SSLError [X509: KEY_VALUES_MISMATCH] key values mismatch")
    assert printed[1].startswith("SSLError [SSL] PEM lib")
    assert printed[2].startswith("FileNotFoundError [Errno 44] No such file")
    assert printed[3:] == ["own"]


def test_http_clients_of_the_standard_library(container, authority, outside) -> None:
    context = server_context(authority.issue("server.test"))
    with https_server(context, outside) as port:
        printed = container().run(
            """
import http.client, ssl, sys, urllib.error, urllib.request
port = int(sys.argv[1])
context = ssl.create_default_context(cafile="ca.pem")
connection = http.client.HTTPSConnection("server.test", port, timeout=20, context=context)
for path in ("/one", "/two"):  # over one connection
    connection.request("GET", path)
    answer = connection.getresponse()
    print(answer.status, answer.read())
connection.request("POST", "/", b"b" * 200_000)
print(len(connection.getresponse().read()))
connection.close()
url = f"https://server.test:{port}/large/3000000"
print(len(urllib.request.urlopen(url, context=context, timeout=20).read()))
try:
    urllib.request.urlopen(url, timeout=20)
except urllib.error.URLError as error:
    print(error)
""",
            str(port),
        )
    assert printed.splitlines() == [
        "200 b'/one'",
        "200 b'/two'",
        "200000",
        "3000000",
        f"<urlopen error {VERIFY_FAILED} unable to get local issuer certificate{PLACE}>",
    ]


def test_asyncio(container, authority, outside) -> None:
    def serve(connection: ssl.SSLSocket) -> None:
        while line := connection.recv(65536):
            connection.sendall(line)
        connection.unwrap()

    context = server_context(authority.issue("server.test"))
    with TlsServer(context, serve, outside) as server:
        printed = (
            container()
            .run(
                """
import asyncio, ssl, sys
port = int(sys.argv[1])
context = ssl.create_default_context(cafile="ca.pem")

async def talk(word):
    reader, writer = await asyncio.open_connection(
        "server.test", port, ssl=context, limit=1 << 20)
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    assert writer.get_extra_info("peercert")["version"] == 3
    assert not writer.can_write_eof()
    writer.write(word * 100_000 + b"\\n")
    await writer.drain()
    line = await reader.readuntil(b"\\n")
    writer.close()
    await writer.wait_closed()
    return len(line)

async def upgrade():
    reader, writer = await asyncio.open_connection("server.test", port)
    await writer.start_tls(context, server_hostname="server.test")
    writer.write(b"upgraded\\n")
    print(await reader.readline())
    writer.close()
    await writer.wait_closed()

async def main():
    print(await asyncio.gather(*(talk(word) for word in (b"a", b"b", b"c"))))
    await upgrade()
    try:
        await asyncio.open_connection("server.test", port, ssl=True)
    except ssl.SSLCertVerificationError as error:
        print(error.verify_code)
    try:
        await asyncio.start_server(print, "", 0, ssl=context)
    except ssl.SSLError as error:
        print(error)

asyncio.run(main())
""",
                str(server.port),
            )
            .splitlines()
        )
    assert printed[:3] == ["[100001, 100001, 100001]", "b'upgraded\\n'", "20"]
    assert "no TLS for servers" in printed[3]


def test_requests(container, authority, outside, packages) -> None:
    context = server_context(authority.issue("server.test"))
    with https_server(context, outside) as port:
        web = container()
        unpack(packages, web.app)
        printed = web.run(
            """
import requests, sys
url = f"https://server.test:{sys.argv[1]}"
with requests.Session() as session:
    session.verify = "ca.pem"
    print(session.get(url + "/path", timeout=20).text)
    print(len(session.get(url + "/large/1000000", timeout=20).content))
    print(session.post(url, json={"a": 1}, timeout=20).json())
for verify in (True, False):
    try:
        requests.get(url, timeout=20, verify=verify)
    except requests.exceptions.SSLError as error:
        print(str(error).partition("Caused by ")[2])
""",
            str(port),
        )
    lines = printed.splitlines()
    assert lines[:3] == ["/path", "1000000", "{'a': 1}"]
    assert "certificate verify failed: unable to get local issuer certificate" in lines[3]
    assert "TLS without verification is denied here" in lines[-1]


def test_paho_mqtt(container, authority, outside, packages) -> None:
    published: list[bytes] = []

    def broker(connection: ssl.SSLSocket) -> None:
        """As much of MQTT 3.1.1 as one client needs; what it publishes comes back to it."""
        stream = connection.makefile("rwb")
        while first := stream.read(1):
            length, shift = 0, 0
            while True:
                (byte,) = stream.read(1)
                length |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    break
            body = stream.read(length)
            kind = first[0] >> 4
            if kind == 1:
                stream.write(b"\x20\x02\x00\x00")
            elif kind == 8:
                stream.write(b"\x90\x03" + body[:2] + b"\x00")
            elif kind == 3:
                published.append(body)
                if first[0] & 6:
                    (topic,) = struct.unpack(">H", body[:2])
                    stream.write(b"\x40\x02" + body[2 + topic : 4 + topic])
                stream.write(first + struct.pack("B", length) + body)
            elif kind == 14:
                return
            stream.flush()

    context = server_context(authority.issue("server.test"))
    with TlsServer(context, broker, outside) as server:
        web = container()
        unpack(packages, web.app)
        printed = web.run(
            """
import paho.mqtt.client as mqtt, sys

def on_connect(client, userdata, flags, reason, properties):
    print("connected", reason)
    client.subscribe("t")

def on_subscribe(client, userdata, mid, reasons, properties):
    client.publish("t", b"payload", qos=1)

def on_message(client, userdata, message):
    print(message.topic, message.payload)
    client.disconnect()

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
client.tls_set("ca.pem")
client.connect("server.test", int(sys.argv[1]))
client.loop_forever()
print(client.is_connected())
""",
            str(server.port),
        )
    assert printed.splitlines() == ["connected Success", "t b'payload'", "False"]
    assert len(published) == 1


def unpack(wheels: list[Path], directory: Path) -> None:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(directory)


def test_a_service_with_a_client_certificate(
    python_home: Path, tmp_path: Path, authority: Authority, outside: str
) -> None:
    """Through `up`: the grant brings trust and identity, and the guest finds neither file."""

    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(connection.getpeercert()["subject"][0][0][1].encode())
        connection.unwrap()

    context = server_context(authority.issue(outside))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.certificate)
    home, project = tmp_path / "home", tmp_path / "device"
    # A state directory of its own: its supervisor must be in this test's network namespace.
    for part in ("store", "cache"):
        shutil.copytree(python_home / part, home / part, symlinks=True)
    project.mkdir()
    client = authority.issue("device-7")
    (project / "program.py").write_text(
        "import socket, ssl, sys\n"
        "address = sys.argv[1], int(sys.argv[2])\n"
        "context = ssl.create_default_context()\n"
        "plain = socket.create_connection(address)\n"
        "print('I am', context.wrap_socket(plain, server_hostname=address[0]).recv(100))\n"
    )
    with TlsServer(context, serve, outside) as server:
        (project / "balena-compose.yml").write_text(
            f"""
services:
  web:
    image: balenaos/python
    command: [python, /program.py, "{outside}", "{server.port}"]
    volumes: ["./program.py:/program.py:ro"]
    x-balenawasm:
      allow:
        - to: "tcp://{outside}:{server.port}"
          ca: {authority.certificate}
          certificate: {{cert: "{client.certificate}", key: "{client.key}"}}
"""
        )
        cli = Cli(home, project)
        try:
            cli("up", "-d")
            deadline = time.monotonic() + 60
            while "I am" not in (log := cli("logs", "web").stdout):
                assert time.monotonic() < deadline, log
                time.sleep(0.1)
        finally:
            cli("down")
    assert "I am b'device-7'" in log
    assert not wait_for_no_process(home)
