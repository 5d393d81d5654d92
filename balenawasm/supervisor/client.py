"""The CLI's door to the supervisor: HTTP over its Unix socket, blocking, with few imports.

    client = ensure_running(home)            # starts the daemon when none answers
    status = client.apply(target, progress)  # `up`
    client.remove("shop", volumes=True)      # `down -v`
    for line in client.logs("shop", follow=True): ...

Errors the supervisor answers are raised as SupervisorError with its message and hint. See
docs/supervisor.md for the requests behind the methods.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import balenawasm
from balenawasm.errors import BalenaWasmError
from balenawasm.runtime import jsonform
from balenawasm.runtime.control import at_short_path
from balenawasm.supervisor.status import (
    ENDING,
    ContainerStatus,
    LogLine,
    Ping,
    ProgressEvent,
    ProjectStatus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from balenawasm.runtime.home import Home
    from balenawasm.supervisor.target_state import ProjectTarget

T = TypeVar("T")

_START_SECONDS = 20.0
_END_SECONDS = 10.0


class SupervisorError(BalenaWasmError):
    """The supervisor refused a request, or could not carry it out."""


class SupervisorUnavailableError(SupervisorError):
    """No supervisor answers, or it went away in the middle of an answer."""


def _ignore(_event: ProgressEvent) -> None:
    """Show no progress."""


class SupervisorClient:
    """Requests to the supervisor of one state directory; every method is one request."""

    def __init__(self, home: Home) -> None:
        self._socket_path = home.supervisor_socket
        self._lock = home.supervisor_lock

    def ping(self) -> Ping:
        """Ask who is there."""
        return self._get(Ping, "/v0/ping")

    def projects(self) -> tuple[ProjectStatus, ...]:
        """All projects."""
        return self._get(tuple[ProjectStatus, ...], "/v0/projects")

    def project(self, name: str) -> ProjectStatus:
        """One project; SupervisorError when there is none."""
        return self._get(ProjectStatus, _project(name))

    def container(self, container_id: str) -> ContainerStatus:
        """One container, with the control socket for exec."""
        return self._get(ContainerStatus, f"/v0/containers/{_quoted(container_id)}")

    def apply(
        self, target: ProjectTarget, progress: Callable[[ProgressEvent], None] = _ignore
    ) -> ProjectStatus:
        """Make `target` the project's target state and return when it is reached.

        When a step fails the supervisor goes back to the target before (or to no project at all)
        and SupervisorError tells what failed.
        """
        body = jsonform.encode(target)
        return self._stream("PUT", _project(target.name), body, progress, ProjectStatus)

    def remove(
        self,
        name: str,
        *,
        volumes: bool = False,
        progress: Callable[[ProgressEvent], None] = _ignore,
    ) -> None:
        """Stop and remove a project, with its volumes if asked; returns when nothing is left.

        That includes the supervisor's own process, when it was started on demand and this was its
        last project.
        """
        ending = False

        def watch(event: ProgressEvent) -> None:
            nonlocal ending
            ending = ending or event.step == ENDING
            progress(event)

        path = _project(name) + ("?volumes=1" if volumes else "")
        self._stream("DELETE", path, b"", watch, ProjectStatus)
        if ending:
            _wait_for_end(self._lock)

    def start(self, project: str, service: str) -> ProjectStatus:
        """Start a service that was stopped or has ended; returns when it runs."""
        return self._act(project, service, "start")

    def stop(self, project: str, service: str) -> ProjectStatus:
        """Stop a service until it is started again; returns when it has ended."""
        return self._act(project, service, "stop")

    def restart(self, project: str, service: str) -> ProjectStatus:
        """Stop and start a service; returns when it runs again."""
        return self._act(project, service, "restart")

    def logs(
        self,
        project: str,
        *,
        services: Sequence[str] = (),
        follow: bool = False,
        since: str | None = None,
        tail: int | None = None,
    ) -> Iterator[LogLine]:
        """Yield log lines, oldest first, of all services or some.

        `since` is an RFC 3339 time; `tail` the number of last lines of each service. With `follow`
        the iterator ends only when the project is removed.
        """
        query = [("service", name) for name in services]
        query += [("follow", "1")] if follow else []
        query += [("since", since)] if since is not None else []
        query += [("tail", str(tail))] if tail is not None else []
        path = f"{_project(project)}/logs?{urllib.parse.urlencode(query)}"
        with _Request(self._socket_path, "GET", path, b"", timeout=None) as request:
            for document in request.lines():
                yield jsonform.from_json(LogLine, document)

    def _act(self, project: str, service: str, action: str) -> ProjectStatus:
        path = f"{_project(project)}/services/{_quoted(service)}/{action}"
        with _Request(self._socket_path, "POST", path, b"", timeout=None) as request:
            return jsonform.decode(ProjectStatus, request.body())

    def _get(self, cls: type[T], path: str) -> T:
        with _Request(self._socket_path, "GET", path, b"", timeout=30.0) as request:
            return jsonform.decode(cls, request.body())

    def _stream(
        self,
        method: str,
        path: str,
        body: bytes,
        progress: Callable[[ProgressEvent], None],
        result: type[T],
    ) -> T:
        """Read JSON lines: `{progress: …}` until `{result: …}` or `{error: …, hint: …}`."""
        with _Request(self._socket_path, method, path, body, timeout=None) as request:
            for document in request.lines():
                if "progress" in document:
                    progress(jsonform.from_json(ProgressEvent, document["progress"]))
                elif "result" in document:
                    return jsonform.from_json(result, document["result"])
                else:
                    raise _refusal(document, "the supervisor failed")
        raise SupervisorUnavailableError("the supervisor went away before the work was done")


def _wait_for_end(lock: Path) -> None:
    """Wait until the supervisor that holds the lock has ended, or for some seconds."""
    deadline = time.monotonic() + _END_SECONDS
    with lock.open("rb") as file:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.005)
            else:
                return


def connect(home: Home) -> SupervisorClient | None:
    """Return a client when a supervisor answers, None when none runs; starts nothing."""
    client = SupervisorClient(home)
    try:
        client.ping()
    except SupervisorUnavailableError:
        return None
    return client


def ensure_running(home: Home) -> SupervisorClient:
    """Return a client of the running supervisor, starting one (detached, on demand) if need be.

    Two callers at once are fine: the loser of the race finds the winner's daemon. Raises
    SupervisorUnavailableError with the log's last lines when it does not come up.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if (client := connect(home)) is not None:
            return client
        _start_daemon(home, deadline)
    raise SupervisorUnavailableError(
        f"the supervisor did not start within {_START_SECONDS:.0f} s", hint=_log_hint(home)
    )


def _start_daemon(home: Home, deadline: float) -> None:
    """Start the daemon in its own session and wait until it is ready or has given up.

    The handshake is a pipe: the daemon writes a byte when its socket answers, or closes the pipe
    by exiting, which it also does when another daemon holds the lock.
    """
    ready, ready_daemon = os.pipe()
    try:
        with home.supervisor_log.open("ab") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    *("-m", "balenawasm.supervisor.daemon"),
                    *("--home", str(home.root), "--exit-when-idle"),
                    *("--ready-fd", str(ready_daemon)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # The package may be run from a checkout: `-m` finds it in the working directory.
                cwd=Path(next(iter(balenawasm.__path__))).parent,
                pass_fds=(ready_daemon,),
                start_new_session=True,
            )
    finally:
        os.close(ready_daemon)
    try:
        readable, _, _ = select.select([ready], [], [], max(0.0, deadline - time.monotonic()))
        answered = bool(readable) and os.read(ready, 1) == b"R"
    finally:
        os.close(ready)
    if answered:
        # It is meant to outlive this process; a later exit is init's to collect.
        process.returncode = 0
        return
    if not readable:
        process.kill()
    if process.wait() not in (0, _LOST_THE_RACE):
        raise SupervisorUnavailableError(
            f"the supervisor ended with status {process.returncode}", hint=_log_hint(home)
        )


_LOST_THE_RACE = 75
"""The daemon's exit status (EX_TEMPFAIL) when another one holds the state directory."""


def _log_hint(home: Home) -> str:
    try:
        tail = home.supervisor_log.read_text("utf-8", "replace").splitlines()[-3:]
    except OSError:
        tail = []
    return " | ".join([f"see {home.supervisor_log}", *tail])


class _UnixConnection(http.client.HTTPConnection):
    """http.client over a Unix socket whose path may be of any length."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        at_short_path(self._path, self.sock.connect)


class _Request:
    """One request and its answer; a context manager that closes the connection."""

    def __init__(
        self, path: Path, method: str, url: str, body: bytes, *, timeout: float | None
    ) -> None:
        self._connection = _UnixConnection(path, timeout)
        self._method, self._url, self._body = method, url, body

    def __enter__(self) -> _Request:
        try:
            self._connection.request(self._method, self._url, self._body or None)
            self._response = self._connection.getresponse()
            if self._response.status >= 400:
                document = jsonform.parse(self._response.read(), "the supervisor's answer")
                raise _refusal(document, f"HTTP status {self._response.status}")
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise SupervisorUnavailableError(f"no supervisor answers: {error}") from error
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self._connection.close()

    def body(self) -> bytes:
        """The whole answer."""
        try:
            return self._response.read()
        except (OSError, http.client.HTTPException) as error:
            raise SupervisorUnavailableError(f"the supervisor went away: {error}") from error

    def lines(self) -> Iterator[dict[str, object]]:
        """Yield the answer's JSON lines as they come."""
        try:
            for line in self._response:
                document = json.loads(line)
                if isinstance(document, dict):
                    yield document
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise SupervisorUnavailableError(f"the supervisor went away: {error}") from error


def _refusal(document: object, fallback: str) -> SupervisorError:
    if not isinstance(document, dict):
        return SupervisorError(fallback)
    message, hint = document.get("error"), document.get("hint")
    return SupervisorError(
        message if isinstance(message, str) else fallback,
        hint=hint if isinstance(hint, str) else None,
    )


def _project(name: str) -> str:
    return f"/v0/projects/{_quoted(name)}"


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")
