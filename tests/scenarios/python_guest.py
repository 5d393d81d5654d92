"""A container with the stock Python and the adapters, put together in the test's own process."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.kernel.kernel import Kernel
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.network import NetworkStack
from balenawasm.kernel.stream import Stream
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.net import NetFs
from balenawasm.vfs.filesystems.proc import ProcFs
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.path import Namespace

if TYPE_CHECKING:
    from balenawasm.engine.machine import Machine
    from balenawasm.kernel.process import Process

ROOTFS = Path(__file__).parents[2] / "images" / "python" / "rootfs"
ENVIRONMENT = (
    b"PATH=/usr/bin",
    b"PYTHONHOME=/usr/local:/",
    b"PYTHONUNBUFFERED=1",
    b"PYTHONDONTWRITEBYTECODE=1",
    b"PWD=/app",
)


class Guest:
    """One running program and what it has printed."""

    def __init__(self, process: Process, reader: int) -> None:
        self.process = process
        self._output = bytearray()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(reader,), daemon=True)
        self._thread.start()

    def _read(self, reader: int) -> None:
        with open(reader, "rb", buffering=0) as stream:
            while data := stream.read(65536):
                with self._changed:
                    self._output += data
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def output(self) -> str:
        with self._changed:
            return self._output.decode()

    def wait_for(self, text: str, timeout: float = 30) -> None:
        """Wait until the program has printed `text`."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: text.encode() in self._output or self.process.outcome is not None, timeout
            )
        assert found, f"{text!r} was not printed: {self.output}"
        assert text in self.output, f"it ended: {self.process.outcome} {self.output}"

    def finish(self, timeout: float = 60) -> str:
        """Wait for the end, which must be a good one; returns what was printed."""
        outcome = self.process.wait_exit(timeout)
        self._thread.join(10)
        assert outcome is not None, f"still running: {self.output}"
        assert outcome.status == 0, f"{outcome}: {self.output}"
        return self.output

    def kill(self) -> None:
        self.process.signal(9)
        self.process.wait_exit(10)
        self._thread.join(10)


class Container:
    """One container; `files` are put into /app. Use as a context manager."""

    def __init__(
        self,
        machine: Machine,
        wasm: Path,
        base: Path,
        *,
        name: str = "web",
        address: str = "10.99.0.2",
        publish: bool = False,
        **network: object,
    ) -> None:
        """`network` is what NetworkStack takes besides."""
        self.app = base / name
        self.app.mkdir()
        hosts = base / "hosts"
        hosts.write_text("10.99.0.2 web\n10.99.0.3 api\n")
        self.log: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0)) if publish else None
        self.port = self._listener.getsockname()[1] if self._listener else 0
        self.network = NetworkStack(
            loopback_directory=base / f"loopback-{name}",
            hostname=name,
            address=address,
            network_directory=base / "network",
            published={8000: [self._listener.fileno()]} if self._listener else {},
            hosts=hosts,
            log=self.log.append,
            **network,  # type: ignore[arg-type]
        )
        namespace = Namespace(Tmpfs(16 << 20).root)
        self.network.namespace = namespace
        namespace.mount(b"/net", NetFs(self.network).root)
        namespace.mount(b"/app", HostDirectory(self.app).root)
        for folder in ("etc", "lib/python3.12"):
            shared = HostDirectory(ROOTFS / folder, read_only=True)
            namespace.mount(b"/" + folder.encode(), shared.root)
        namespace.mount(b"/usr/bin/python", HostDirectory(wasm, read_only=True).root)
        self.kernel = Kernel(
            namespace=namespace,
            executor=machine,
            hostname=name,
            limits=Limits(),
            log=self.log.append,
        )
        namespace.mount(b"/proc", ProcFs(self.kernel).root)
        self._guests: list[Guest] = []

    def start(self, *arguments: str, environment: tuple[bytes, ...] = ()) -> Guest:
        """Start `python` with these arguments, output and errors into one pipe."""
        reader, writer = os.pipe()
        stream = Stream(writer)
        null = Stream.inherited(os.open(os.devnull, os.O_RDWR), owned=True)
        process = self.kernel.spawn(
            [b"python", *(argument.encode() for argument in arguments)],
            [*ENVIRONMENT, *environment],
            b"/app",
            {0: null, 1: stream, 2: stream},
        )
        guest = Guest(process, reader)
        self._guests.append(guest)
        return guest

    def run(self, source: str, *arguments: str) -> str:
        """Run a program to its end; returns what it printed."""
        (self.app / "program.py").write_text(source)
        return self.start("program.py", *arguments).finish()

    def serve(self, source: str, ready: str, *arguments: str) -> Guest:
        """Start a server and wait until it has printed `ready`."""
        (self.app / "server.py").write_text(source)
        guest = self.start("server.py", *arguments)
        guest.wait_for(ready)
        return guest

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *error: object) -> None:
        for guest in self._guests:
            guest.kill()
        self.network.close()
        if self._listener is not None:
            self._listener.close()
