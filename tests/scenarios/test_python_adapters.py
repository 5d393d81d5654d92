"""Unmodified Python programs on the stock python.wasm with the image's adapters."""

from __future__ import annotations

import http.client
import socket

import pytest


def fetch(port: int, path: str = "/") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def body_of(client: socket.socket) -> bytes:
    """The body of one answer on a connection that stays open."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(1)
    length = int(received.lower().partition(b"content-length:")[2].split(b"\r")[0])
    return b"".join(client.recv(1) for _ in range(length))


def test_starts_in_its_working_directory_with_a_sane_world(container) -> None:
    printed = container().run(
        "import locale, os, platform, sys, time\n"
        "print(os.getcwd(), sys.argv, os.listdir('.'))\n"
        "platform.platform(); os.uname(); locale.getlocale(); time.localtime()\n"
        "print(sys.stdout.encoding, time.tzname[0], sys.executable)\n",
        "x",
    )
    assert printed.splitlines() == [
        "/app ['program.py', 'x'] ['program.py']",
        "utf-8 UTC /usr/bin/python",
    ]


def test_processor_time_and_names(container) -> None:
    printed = container().run(
        "import os, platform, socket, time\n"
        "own = time.process_time\n"
        "start, began = own(), time.monotonic()\n"
        "time.sleep(0.5)\n"
        "waited = own() - start\n"
        "while own() - start < 0.2: pass\n"
        "used, passed = own() - start, time.monotonic() - began\n"
        "print(waited < 0.5, 0.2 <= used <= passed, time.thread_time() >= own() - 0.2)\n"
        "print(time.process_time_ns() // 10**9 == int(own()), os.times().user >= used)\n"
        "print({os.uname().nodename, platform.node(), socket.gethostname()})\n"
    )
    assert printed.splitlines()[:2] == ["True True True", "True True"]
    assert printed.count("'") == 2
    assert "(none)" not in printed


def test_it_is_root_and_owns_its_files(container) -> None:
    printed = container().run(
        "import getpass, grp, os, pathlib, pwd, tarfile\n"
        "print(os.getuid(), os.geteuid(), getpass.getuser(), grp.getgrgid(0).gr_name)\n"
        "print(os.umask(0o77), oct(os.umask(0)), pwd.getpwnam('root').pw_dir)\n"
        "os.chown('program.py', 1, 1)\n"
        "with tarfile.open('t.tar', 'w') as tar: tar.add('program.py')\n"
        "with tarfile.open('t.tar') as tar: tar.extractall('out')\n"
        "print(os.listdir('out'), pathlib.Path('out').owner())\n"
        "for ask in (lambda: pwd.getpwuid(7), lambda: os.chown('no', 1, 1), lambda: os.fork):\n"
        "    try: ask()\n"
        "    except (KeyError, FileNotFoundError, AttributeError) as error: print(error)\n"
    )
    assert printed.splitlines() == [
        "0 0 root root",
        "18 0o77 /root",
        "['program.py'] root",
        "'getpwuid(): uid not found: 7'",
        "[Errno 44] No such file or directory: 'no'",
        "module 'os' has no attribute 'fork'",
    ]


def test_environment_of_the_user_does_not_lose_the_adapters(container) -> None:
    web = container()
    (web.app / "sitecustomize.py").write_text("print('mine')\n")
    (web.app / "p.py").write_text("import socket; print(socket.gethostname())\n")
    assert web.start("p.py", environment=(b"PYTHONPATH=/app",)).finish() == "mine\nweb\n"
    assert web.start("-I", "p.py").finish() == "web\n"


def test_the_working_directory_can_be_changed(container) -> None:
    printed = container().run(
        "import os\nos.mkdir('d')\nos.chdir('d')\nos.chdir('..')\n"
        "print(os.getcwd(), sorted(os.listdir()))\n"
    )
    assert printed == "/app ['d', 'program.py']\n"


def test_sockets(container) -> None:
    printed = container().run(
        """
import socket, select, sys
listener = socket.create_server(("", 0))
host, port = listener.getsockname()
client = socket.create_connection(("localhost", port), timeout=5)
server, address = listener.accept()
assert address == client.getsockname() == server.getpeername(), address
assert client.getpeername() == ("127.0.0.1", port)
client.sendall(b"x" * 10)
assert server.recv(4, socket.MSG_PEEK) == b"xxxx"
buffer = bytearray(20)
assert server.recv_into(buffer) == 10
server.settimeout(0.05)
try:
    server.recv(1)
    assert False
except TimeoutError as error:
    assert str(error) == "timed out"
server.setblocking(False)
try:
    server.recv(1)
    assert False
except BlockingIOError:
    pass
server.setblocking(True)
file = server.makefile("rwb")
client.sendall(b"line\\nrest")
client.shutdown(socket.SHUT_WR)
assert file.readline() == b"line\\n" and file.read() == b"rest"
file.write(b"answer")
file.flush()
assert client.recv(100) == b"answer"
file.close(); server.close()
assert client.recv(1) == b""
client.close()
one, two = socket.socketpair()
copy = one.dup()
one.close()
copy.sendall(b"dup")
assert two.recv(10) == b"dup"
assert select.select([two], [two], [], 0) == ([], [two], [])
two.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
assert two.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
try:
    socket.create_connection(("127.0.0.1", 1))
    assert False
except ConnectionRefusedError:
    pass
try:
    socket.create_server(("", port))
    assert False
except OSError as error:
    assert "in use" in str(error), error
print("done")
"""
    )
    assert printed == "done\n"


def test_names(container) -> None:
    web = container()
    printed = web.run(
        """
import socket
print(socket.gethostname(), socket.getfqdn(), socket.gethostbyname("api"))
address = socket.getaddrinfo("api", 80, type=socket.SOCK_STREAM)[0][4]
print(address, socket.gethostbyaddr("10.99.0.3"))
print(socket.getaddrinfo(None, "http", flags=socket.AI_PASSIVE)[0][4])
for call in (
    lambda: socket.getaddrinfo("nosuch", 80),
    lambda: socket.create_connection(("example.org", 80)),
    lambda: socket.create_connection(("192.0.2.1", 80)),
    lambda: socket.create_connection(("api", 9)),
    lambda: socket.getaddrinfo("::1", 80, socket.AF_INET),
):
    try:
        call()
    except OSError as error:
        print(type(error).__name__)
"""
    )
    assert printed.splitlines() == [
        "web web 10.99.0.3",
        "('10.99.0.3', 80) ('api', [], ['10.99.0.3'])",
        "('0.0.0.0', 80)",
        "gaierror",
        "gaierror",
        "PermissionError",
        "ConnectionRefusedError",
        "gaierror",
    ]
    assert [line for line in web.log if "tcp://192.0.2.1:80" in line]
    assert [line for line in web.log if "example.org" in line]


ECHO = """
import selectors, socket, sys
listener = socket.create_server(("0.0.0.0", 8000))
print("ready")
if sys.argv[1] == "blocking":
    while True:
        connection, address = listener.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)
selector = selectors.DefaultSelector() if sys.argv[1] == "selectors" else selectors.SelectSelector()
listener.setblocking(False)
selector.register(listener, selectors.EVENT_READ)
while True:
    for key, events in selector.select():
        if key.fileobj is listener:
            connection, address = listener.accept()
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
            continue
        try:
            data = key.fileobj.recv(1000)
        except BlockingIOError:
            continue
        if data:
            key.fileobj.setblocking(True)
            key.fileobj.sendall(data)
            key.fileobj.setblocking(False)
        else:
            selector.unregister(key.fileobj)
            key.fileobj.close()
"""


@pytest.mark.parametrize("kind", ["blocking", "select", "selectors"])
def test_echo_servers(container, kind: str) -> None:
    web = container(publish=True)
    web.serve(ECHO, "ready", kind)
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", web.port), timeout=30) as client:
            client.sendall(b"a" * 100_000)
            client.shutdown(socket.SHUT_WR)
            received = b"".join(iter(lambda: client.recv(65536), b""))
    assert received == b"a" * 100_000


def test_http_server_module(container) -> None:
    web = container(publish=True)
    (web.app / "page.txt").write_text("the page")
    web.start("-m", "http.server", "8000").wait_for("Serving HTTP on")
    assert fetch(web.port, "/page.txt") == (200, "the page")
    assert fetch(web.port, "/missing")[0] == 404


THREADING = """
import argparse, http.server, time, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(3600)
        body = (self.path + " " + self.headers.get("X", "")).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
parser = argparse.ArgumentParser()
parser.add_argument("-p", type=int)
server = http.server.ThreadingHTTPServer(("", parser.parse_args().p), Handler)
print("ready")
server.serve_forever()
"""


def test_threading_server_is_not_blocked_by_slow_clients(container) -> None:
    web = container(publish=True)
    web.serve(THREADING, "ready", "-p", "8000")
    address = ("127.0.0.1", web.port)
    with (
        socket.create_connection(address, timeout=30) as silent,
        socket.create_connection(address, timeout=30) as half,
        socket.create_connection(address, timeout=30) as slow,
        socket.create_connection(address, timeout=30) as second,
    ):
        half.sendall(b"GET /half HTTP/1.1\r\nX: ")
        slow.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        kept = [http.client.HTTPConnection(*address, timeout=30) for _ in range(3)]
        for round_number in range(3):
            for index, connection in enumerate(kept):
                connection.request("GET", f"/{round_number}{index}")
                assert connection.getresponse().read() == f"/{round_number}{index} ".encode()
        half.sendall(b"y\r\n\r\n")
        assert body_of(half) == b"/half y"
        second.sendall(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nfi")
        assert fetch(web.port, "/again") == (200, "/again ")
        second.sendall(b"ve!")
        assert body_of(second) == b"five!"
        for connection in kept:
            connection.close()
        silent.close()
    assert fetch(web.port, "/last") == (200, "/last ")


def test_pipelined_requests(container) -> None:
    web = container(publish=True)
    web.serve(THREADING, "ready", "-p", "8000")
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as client:
        client.sendall(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert received.count(b"200 OK") == 2
    assert received.endswith(b"/2 ")


def test_threading_tcp_server_with_its_own_protocol(container) -> None:
    web = container(publish=True)
    web.serve(
        """
import socketserver
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())
class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
with Server(("", 8000), Handler) as server:
    print("ready")
    server.serve_forever()
""",
        "ready",
    )
    clients = [socket.create_connection(("127.0.0.1", web.port), timeout=30) for _ in range(3)]
    for client in clients:
        client.sendall(b"hello\n")
        assert client.recv(100) == b"HELLO\n"
    for client in reversed(clients):
        client.sendall(b"again\n")
        assert client.recv(100) == b"AGAIN\n"
        client.close()


def test_a_stuck_conversation_gives_way(container) -> None:
    web = container(publish=True)
    web.serve(
        """
import socketserver
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        print("begins")
        for line in self.rfile:
            self.wfile.write(line.upper())
server = socketserver.ThreadingTCPServer(("", 8000), Handler)
import balenawasm_adapters.server_turns
balenawasm_adapters.server_turns.PATIENCE = 0.1
print("ready")
server.serve_forever()
""",
        "ready",
    )
    address = ("127.0.0.1", web.port)
    with (
        socket.create_connection(address, timeout=30) as below,
        socket.create_connection(address, timeout=30) as above,
    ):
        above.sendall(b"x\n")
        assert above.recv(10) == b"X\n"
        below.sendall(b"y\n")
        assert below.recv(10) == b"Y\n"
        assert above.recv(10) == b""


def test_a_slow_reader_keeps_nobody_waiting(container) -> None:
    web = container(publish=True)
    source = THREADING.replace(
        "body = (self", "body = b'x' * 5_000_000 if '/big' in self.path else (self"
    )
    guest = web.serve(source + "\nprint('stopped')", "ready", "-p", "8000")
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as slow:
        slow.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        assert slow.recv(1)
        assert fetch(web.port, "/small") == (200, "/small ")
        received = 1
        while data := slow.recv(1 << 20):
            received += len(data)
    assert received > 5_000_000
    assert "stopped" not in guest.output


def test_a_handler_may_stop_its_server(container) -> None:
    web = container(publish=True)
    source = THREADING.replace(
        "self.wfile.write(body)", "self.wfile.write(body); self.server.shutdown()"
    )
    guest = web.serve(source + "\nprint('stopped')", "ready", "-p", "8000")
    assert fetch(web.port, "/") == (200, "/ ")
    assert guest.finish().endswith("stopped\n")


def test_services_reach_each_other_by_name(container) -> None:
    api = container(name="api", address="10.99.0.3")
    api.serve(THREADING, "ready", "-p", "80")
    web = container(name="web")
    printed = web.run(
        "import urllib.request\n"
        "with urllib.request.urlopen('http://api:80/x', timeout=20) as answer:\n"
        "    print(answer.status, answer.read())\n"
    )
    assert printed == "200 b'/x '\n"


def test_a_handler_may_ask_another_service(container) -> None:
    api = container(name="api", address="10.99.0.3")
    api.serve(THREADING, "ready", "-p", "80")
    web = container(name="web", publish=True)
    source = THREADING.replace(
        "body = (self", "body = urllib.request.urlopen('http://api/inner').read() + (self"
    )
    web.serve(source, "ready", "-p", "8000")
    assert fetch(web.port, "/outer") == (200, "/inner /outer ")


def test_asyncio(container) -> None:
    web = container(publish=True)
    web.serve(
        """
import asyncio, signal, time
async def serve(reader, writer):
    while line := await reader.readline():
        if line == b"stop\\n":
            stopped.set()
        answer = await asyncio.to_thread(line.upper)
        writer.write(answer)
        await writer.drain()
    writer.close()
async def main():
    global stopped
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await asyncio.start_server(serve, "0.0.0.0", 8000)
    async with server:
        reader, writer = await asyncio.open_connection("localhost", 8000)
        writer.write(b"self\\n")
        print(await asyncio.wait_for(reader.readline(), 5))
        writer.close()
        try:
            await asyncio.wait_for(asyncio.sleep(10), 0.01)
        except TimeoutError:
            print("ready", time.sleep(0))
        await stopped.wait()
asyncio.run(main())
print("ended")
""",
        "ready",
    )
    with (
        socket.create_connection(("127.0.0.1", web.port), timeout=30) as first,
        socket.create_connection(("127.0.0.1", web.port), timeout=30) as second,
    ):
        for client in (second, first, second):
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
        first.sendall(b"stop\n")
        assert first.recv(100) == b"STOP\n"


def test_threads_are_refused_clearly_and_pools_work(container) -> None:
    printed = container().run(
        """
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
with ThreadPoolExecutor(4) as pool:
    futures = [pool.submit(int, 1)]
    print(list(pool.map(str, range(3))), sum(f.result() for f in as_completed(futures)))
try:
    threading.Thread(target=print).start()
except RuntimeError as error:
    print(error)
"""
    )
    assert printed.startswith("['0', '1', '2'] 1\ncan't start new thread: ")


def test_kill_interrupts_a_waiting_server(container) -> None:
    web = container(publish=True)
    guest = web.serve(ECHO, "ready", "blocking")
    guest.kill()
    assert guest.process.outcome is not None
    assert guest.process.outcome.status == 137
