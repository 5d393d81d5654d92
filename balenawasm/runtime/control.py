"""Messages with file descriptors between supervisor, zygote, runners and the CLI.

Transport: Unix SOCK_SEQPACKET, so a message arrives whole or not at all. A message is one JSON
object whose `type` names its class; the file descriptors it speaks of travel with it (SCM_RIGHTS).
Both sides check everything they receive: an unknown type, a wrong field, a message larger than
MAX_MESSAGE or one whose fds did not fit is a ControlError, after which the channel is closed.

Three dialogues use it:

- supervisor → zygote: Start, Kill; answered by Progress, Running or Failed, and Exited at the end
- zygote → runner, over the channel that the fork left: Start; the runner answers as above
- anyone → runner, over its control socket: Signal, StatusRequest, Wait, Exec
"""

from __future__ import annotations

import array
import os
import socket
from enum import StrEnum
from typing import TYPE_CHECKING, get_args

from balenawasm.errors import BalenaWasmError
from balenawasm.record import NamedTuple
from balenawasm.runtime import jsonform
from balenawasm.runtime.bundle import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

MAX_MESSAGE = 192 << 10
"""Bytes of JSON in one message; below Linux's default socket buffer of 208 KiB."""
MAX_FDS = 64
"""File descriptors in one message (SCM_MAX_FD is 253)."""


class ControlError(BalenaWasmError):
    """The other side of a control channel is gone or does not speak this protocol."""


class Start(NamedTuple):
    """Run the container whose bundle is in the state directory; fds: the published listeners, then
    the ends of pipes that the bundle names.
    """

    id: str


class Kill(NamedTuple):
    """End a runner at once (SIGKILL to the host process)."""

    id: str


class Ready(NamedTuple):
    """A runner that was forked ahead has rehearsed and waits for Start."""


class Running(NamedTuple):
    """Process 1 runs; `pid` is the runner's host process."""

    id: str
    pid: int


class Failed(NamedTuple):
    """The request failed; `code` is the exit code for a container that did not start (125-127)."""

    message: str
    id: str = ""
    hint: str | None = None
    code: int = 125


class Progress(NamedTuple):
    """Something slow is under way, such as compiling a module to native code."""

    id: str
    text: str


class Loaded(NamedTuple):
    """A runner runs the program of this content identity; the zygote may load it for the next."""

    identity: str


class Exited(NamedTuple):
    """A container, or an exec'd process, ended. `code` counts as Docker's: 128 + signal."""

    code: int
    id: str = ""
    reason: str = ""


class Target(StrEnum):
    """Whom a signal is for."""

    INIT = "init"
    ALL = "all"
    EXEC = "exec"
    TERMINAL = "terminal"


class Signal(NamedTuple):
    """Send a signal (Linux number); EXEC is the process that this connection started, TERMINAL who
    reads from that one's terminal.
    """

    signal: int
    target: Target = Target.INIT


class Exec(NamedTuple):
    """Start another process in the container; fds: its standard input, output and error.

    Answered by Running (pid is the guest's) and, when it ends, Exited. If the connection closes
    first, the process is killed: nobody could see it any more. `cwd` None is process 1's own;
    `env` is added to process 1's.
    """

    argv: tuple[bytes, ...]
    env: tuple[bytes, ...] = ()
    cwd: bytes | None = None
    tty: bool = False


class StatusRequest(NamedTuple):
    """Ask for a Status."""


class ProcessStatus(NamedTuple):
    """One guest process. `memory` is its linear memory in bytes."""

    pid: int
    argv: tuple[bytes, ...]
    memory: int
    open_files: int = 0


class Status(NamedTuple):
    """What runs in the container and what it uses.

    `resident` is the runner's memory in bytes, `cpu_seconds` the processor time since the start,
    `storage` the bytes in its writable layer where that is limited. `kept_by_cgroup` names the
    controllers that keep some of the limits.
    """

    id: str
    processes: tuple[ProcessStatus, ...]
    resident: int
    log_dropped: int = 0
    cpu_seconds: float = 0.0
    storage: int | None = None
    limits: Limits = DEFAULT_LIMITS
    kept_by_cgroup: tuple[str, ...] = ()


class Wait(NamedTuple):
    """Ask for an Exited when the container ends."""


class Done(NamedTuple):
    """The request was carried out."""


Message = (
    Start
    | Kill
    | Ready
    | Running
    | Failed
    | Progress
    | Loaded
    | Exited
    | Signal
    | Exec
    | StatusRequest
    | Status
    | Wait
    | Done
)
"""Any message. They are named tuples, which `run` imports six times faster than dataclasses."""

_CLASSES: dict[str, type[Message]] = {cls.__name__: cls for cls in get_args(Message)}


class Channel:
    """One end of a SOCK_SEQPACKET connection. Blocking or not is the socket's own setting."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def fileno(self) -> int:
        """The host fd, for selectors."""
        return self.socket.fileno()

    def close(self) -> None:
        """Close this end; safe to call twice."""
        self.socket.close()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send one message; ControlError when the other end is gone or the message is too large."""
        kind = type(message).__name__
        form: dict[str, object] = {"type": kind}
        body = jsonform.to_json(message)
        assert isinstance(body, dict)  # noqa: S101 - every message has fields
        form.update(body)
        data = jsonform.dump(form)
        if len(data) > MAX_MESSAGE or len(fds) > MAX_FDS:
            raise ControlError(
                f"a {kind} message of {len(data)} bytes with {len(fds)} fds is too large",
                hint="pass long lists of arguments or variables in a file",
            )
        try:
            socket.send_fds(self.socket, [data], list(fds), socket.MSG_NOSIGNAL)
        except OSError as error:
            raise ControlError(f"control channel: {error.strerror}") from error

    def receive(self) -> tuple[Message, list[int]] | None:
        """Return the next message and its fds, or None at the end.

        The fds are close-on-exec and the caller's to close.
        BlockingIOError when the socket does not block and nothing is there; ControlError when what
        came is no message.
        """
        try:
            data, ancillary, flags, _ = self.socket.recvmsg(
                MAX_MESSAGE, socket.CMSG_SPACE(MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            raise
        except ConnectionResetError:
            return None
        except OSError as error:
            raise ControlError(f"control channel: {error.strerror}") from error
        fds = _received_fds(ancillary)
        if not data and not fds:
            return None
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise ControlError("control channel: a message was cut short")
            return _decode(data), fds
        except BalenaWasmError:
            close_all(fds)
            raise


def close_all(fds: Sequence[int]) -> None:
    """Close fds that came with a message and are not wanted."""
    for fd in fds:
        os.close(fd)


def make_pair() -> tuple[Channel, Channel]:
    """Return two connected channels (close-on-exec)."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(left), Channel(right)


def listen(path: Path) -> socket.socket:
    """Bind a control socket at `path`, replacing a stale one; its directory must be private."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        at_short_path(path, sock.bind)
        sock.listen(64)
    except BaseException:
        sock.close()
        raise
    return sock


def connect(path: Path) -> Channel:
    """Connect to a control socket; ControlError when nobody listens there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        at_short_path(path, sock.connect)
    except OSError as error:
        sock.close()
        raise ControlError(f"nothing answers at {path}: {error.strerror}") from error
    return Channel(sock)


def at_short_path(path: Path, action: Callable[[str], None]) -> None:
    """Call `action` with a name for a socket path of any length (sun_path holds 107 bytes only)."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        action(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)


def _received_fds(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def _decode(data: bytes) -> Message:
    document = jsonform.parse(data)
    if not isinstance(document, dict):
        raise ControlError("control channel: a message is not an object")
    kind = document.pop("type", None)
    cls = _CLASSES.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise ControlError(f"control channel: unknown message {kind!r}")
    return jsonform.from_json(cls, document, cls.__name__)
