"""The runner's side of its control socket: one thread, many connections, no waiting on any.

Serves Signal, StatusRequest, Wait and Exec of `balenawasm.runtime.control` for one container. A
connection that sends nonsense, or whose reader is too slow, is closed; the guests never notice.

The thread also sleeps here until the container ends: guests' threads wake it through an eventfd
(:meth:`ControlServer.call`). Everything but `call` belongs to that one thread.
"""

from __future__ import annotations

import os
import selectors
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from balenawasm.errors import BalenaWasmError
from balenawasm.runtime import control
from balenawasm.runtime.control import Channel, Message, Target
from balenawasm.runtime.streams import received_streams

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from balenawasm.kernel.process import Process
    from balenawasm.vfs.description import Description

_STANDARD_STREAMS = 3
_RETRY_SECONDS = 0.05


class Container(Protocol):
    """What the control socket may do with the container."""

    def signal(self, signo: int) -> None:
        """Send a signal to process 1."""
        ...

    def signal_all(self, signo: int) -> None:
        """Send a signal to every process."""
        ...

    def signal_terminal(self, process: Process, signo: int) -> None:
        """Send a signal to who reads from the process's terminal."""
        ...

    def abandon(self, process: Process) -> None:
        """Nobody sees an exec'd process any more."""
        ...

    def exec_process(self, request: control.Exec, fds: Mapping[int, Description]) -> Process:
        """Start another process; StartError."""
        ...

    def status(self) -> control.Status:
        """What runs and how much memory it takes."""
        ...


class _Connection:
    """A client, and what it waits for."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.process: Process | None = None
        self.waits = False


class ControlServer:
    """Serves a container's control connections until :meth:`stop`."""

    def __init__(self, container: Container, listener: socket.socket | None) -> None:
        self._container = container
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._connections: dict[int, _Connection] = {}
        self._calls: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._running = True
        self._selector.register(self._wake, selectors.EVENT_READ, self._run_calls)
        if listener is not None:
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def add(self, channel: Channel) -> None:
        """Serve one more connection, which the server owns from now on."""
        channel.socket.setblocking(False)
        connection = _Connection(channel)
        self._connections[channel.fileno()] = connection
        self._selector.register(channel, selectors.EVENT_READ, lambda: self._serve(connection))

    def call(self, function: Callable[[], None]) -> None:
        """Run `function` in the serving thread, soon. May be called from any thread."""
        self._calls.append(function)
        os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """Let `run` return after the current event."""
        self._running = False

    def run(self) -> None:
        """Serve until stopped."""
        while self._running:
            for key, _ in self._selector.select():
                key.data()

    def close(self, exited: control.Exited) -> None:
        """Tell those who wait that the container ended, and close everything."""
        for connection in list(self._connections.values()):
            if connection.waits:
                self._send(connection, exited)
            connection.channel.close()
        self._connections.clear()
        self._selector.close()
        if self._listener is not None:
            self._listener.close()
        os.close(self._wake)
        self._wake = -1

    def _run_calls(self) -> None:
        os.eventfd_read(self._wake)
        while self._calls:
            self._calls.popleft()()

    def _accept(self) -> None:
        assert self._listener is not None  # noqa: S101 - it is registered only when it is there
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # the guests have taken every fd: it must not end the container
            time.sleep(_RETRY_SECONDS)
            return
        self.add(Channel(accepted))

    def _serve(self, connection: _Connection) -> None:
        """Take one message; what is wrong with the connection closes it."""
        try:
            received = connection.channel.receive()
        except BlockingIOError:
            return
        except BalenaWasmError:
            received = None
        if received is None:
            self._drop(connection)
            return
        message, fds = received
        try:
            self._answer(connection, message, fds)
        except BalenaWasmError as error:
            control.close_all(fds)
            self._send(
                connection,
                control.Failed(message=error.message, hint=error.hint, code=error.exit_code),
            )

    def _answer(self, connection: _Connection, message: Message, fds: list[int]) -> None:
        if isinstance(message, control.Exec):
            self._exec(connection, message, fds)
            return
        if fds:
            raise control.ControlError(f"{type(message).__name__} takes no file descriptors")
        if isinstance(message, control.Signal):
            self._signal(connection, message)
            self._send(connection, control.Done())
        elif isinstance(message, control.StatusRequest):
            self._send(connection, self._container.status())
        elif isinstance(message, control.Wait):
            connection.waits = True
        else:
            raise control.ControlError(f"{type(message).__name__} is no request to a runner")

    def _signal(self, connection: _Connection, message: control.Signal) -> None:
        if not 0 <= message.signal <= 64:
            raise control.ControlError(f"no signal {message.signal}")
        if message.target is Target.ALL:
            self._container.signal_all(message.signal)
        elif message.target is Target.INIT:
            self._container.signal(message.signal)
        elif connection.process is None:
            return
        elif message.target is Target.TERMINAL:
            self._container.signal_terminal(connection.process, message.signal)
        else:
            connection.process.signal(message.signal)

    def _exec(self, connection: _Connection, request: control.Exec, fds: list[int]) -> None:
        if len(fds) != _STANDARD_STREAMS:
            raise control.ControlError("exec takes three file descriptors")
        if connection.process is not None:
            raise control.ControlError("this connection has started a process already")
        streams = received_streams(fds, tty=request.tty)
        for stream in streams.values():
            stream.retain()
        fds.clear()
        try:
            process = self._container.exec_process(request, streams)
        finally:
            for stream in streams.values():
                stream.release()
        connection.process = process
        self._send(connection, control.Running(id="", pid=process.pid))
        process.on_exit.append(lambda: self.call(lambda: self._exec_ended(connection)))

    def _exec_ended(self, connection: _Connection) -> None:
        process = connection.process
        if process is not None and process.outcome is not None:
            connection.process = None
            self._send(connection, control.Exited(code=process.outcome.status))

    def _send(self, connection: _Connection, message: Message) -> None:
        """Answer; a client that does not read its answers loses its connection."""
        try:
            connection.channel.send(message)
        except BalenaWasmError:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        fd = connection.channel.fileno()
        if self._connections.pop(fd, None) is None:
            return
        self._selector.unregister(connection.channel)
        connection.channel.close()
        if connection.process is not None:
            self._container.abandon(connection.process)
            connection.process = None
