"""The supervisor's HTTP API on a Unix socket (docs/supervisor.md lists the requests).

Handlers only translate: path, query and body to a call of the supervisor, its answer or error to
JSON. What takes long answers with JSON lines: `{"progress": …}` as it happens, and at the end
`{"result": …}` or `{"error": …, "hint": …}`. A client that goes away interrupts nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from aiohttp import web

from balenawasm.errors import BalenaWasmError, UsageError
from balenawasm.runtime import jsonform
from balenawasm.runtime.home import UnsafeNameError
from balenawasm.supervisor.api.logs import stream_logs
from balenawasm.supervisor.project import UnknownServiceError
from balenawasm.supervisor.status import Ping, ProgressEvent, ProjectStatus
from balenawasm.supervisor.supervisor import UnknownContainerError, UnknownProjectError
from balenawasm.supervisor.target_state import ProjectTarget, TargetStateError

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Coroutine

    from balenawasm.supervisor.supervisor import Supervisor

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LARGEST_BODY = 8 << 20

_NOT_FOUND = (UnknownProjectError, UnknownServiceError, UnknownContainerError)
_BAD_REQUEST = (jsonform.FormError, TargetStateError, UsageError, UnsafeNameError)
_ACTIONS = ("start", "stop", "restart")


class Api:
    """The handlers over one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._running: set[asyncio.Task[ProjectStatus]] = set()

    def application(self) -> web.Application:
        """The routes."""
        application = web.Application(
            middlewares=[self._counted, _errors_as_json], client_max_size=LARGEST_BODY
        )
        project = "/v0/projects/{project}"
        application.add_routes(
            [
                web.get("/v0/ping", self._ping),
                web.get("/v0/projects", self._projects),
                web.get(project, self._project),
                web.put(project, self._apply),
                web.delete(project, self._remove),
                web.get(project + "/logs", self._logs),
                web.post(project + "/services/{service}/{action}", self._act),
                web.get("/v0/containers/{container}", self._container),
            ]
        )
        return application

    @web.middleware
    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count requests under way, for an on-demand supervisor's decision to end."""
        self._supervisor.requests += 1
        try:
            return await handler(request)
        finally:
            self._supervisor.requests -= 1
            self._supervisor.look_idle()

    async def _ping(self, _request: web.Request) -> web.Response:
        ping = Ping(version=_version(), pid=os.getpid(), home=str(self._supervisor.home.root))
        return _json(ping)

    async def _projects(self, _request: web.Request) -> web.Response:
        return _json(self._supervisor.statuses())

    async def _project(self, request: web.Request) -> web.Response:
        return _json(self._supervisor.project(request.match_info["project"]).status())

    async def _container(self, request: web.Request) -> web.Response:
        return _json(self._supervisor.container(request.match_info["container"]))

    async def _apply(self, request: web.Request) -> web.StreamResponse:
        target = jsonform.decode(ProjectTarget, await request.read(), "target state").check()
        if target.name != request.match_info["project"]:
            raise UsageError("the target state is another project's")
        return await self._streamed(
            request, lambda progress: self._supervisor.apply(target, progress)
        )

    async def _remove(self, request: web.Request) -> web.StreamResponse:
        project = self._supervisor.project(request.match_info["project"])
        volumes = request.query.get("volumes") == "1"
        return await self._streamed(
            request,
            lambda progress: self._supervisor.remove(project.name, progress, volumes=volumes),
        )

    async def _act(self, request: web.Request) -> web.Response:
        action = request.match_info["action"]
        if action not in _ACTIONS:
            raise UsageError(f"no action {action!r}", hint=f"one of {', '.join(_ACTIONS)}")
        project = self._supervisor.project(request.match_info["project"])
        task = self._keep(project.act(request.match_info["service"], action))
        return _json(await asyncio.shield(task))

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        project = self._supervisor.project(request.match_info["project"])
        return await stream_logs(request, project, self._supervisor)

    async def _streamed(
        self,
        request: web.Request,
        operation: Callable[
            [Callable[[ProgressEvent], None]], Coroutine[None, None, ProjectStatus]
        ],
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)
        events: asyncio.Queue[ProgressEvent | None] = asyncio.Queue()
        task = self._keep(operation(events.put_nowait))
        task.add_done_callback(lambda _task: events.put_nowait(None))
        while (event := await events.get()) is not None:
            await _write_line(response, {"progress": jsonform.to_json(event)})
        try:
            last: dict[str, object] = {"result": jsonform.to_json(task.result())}
        except BalenaWasmError as error:
            last = _error_document(error)
        await _write_line(response, last)
        await response.write_eof()
        return response

    def _keep(self, operation: Coroutine[None, None, ProjectStatus]) -> asyncio.Task[ProjectStatus]:
        """Run an operation to its end even if its client goes away."""
        task = asyncio.get_running_loop().create_task(operation)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # A failure that nobody is left to hear of is in the project's status as well.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task


async def serve(supervisor: Supervisor, listener: socket.socket) -> web.AppRunner:
    """Answer requests on a listening Unix socket until the runner's `cleanup`."""
    runner = web.AppRunner(
        Api(supervisor).application(), access_log=None, handle_signals=False, shutdown_timeout=1.0
    )
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BalenaWasmError as error:
        return web.json_response(_error_document(error), status=_status_of(error))
    except web.HTTPException as error:
        return web.json_response({"error": error.reason, "hint": None}, status=error.status)
    except ConnectionError:
        raise
    except Exception as error:
        sys.stderr.write(f"supervisor: {request.path}\n{traceback.format_exc()}")
        document = {"error": f"internal error: {error}", "hint": "see the supervisor's log"}
        return web.json_response(document, status=500)


def _status_of(error: BalenaWasmError) -> int:
    if isinstance(error, _NOT_FOUND):
        return 404
    return 400 if isinstance(error, _BAD_REQUEST) else 409


def _error_document(error: BalenaWasmError) -> dict[str, object]:
    return {"error": error.message, "hint": error.hint}


def _json(value: object) -> web.Response:
    return web.Response(body=jsonform.encode(value), content_type="application/json")


async def _write_line(response: web.StreamResponse, document: object) -> None:
    """Write one JSON line; a client that is gone is no error of the operation's."""
    try:
        await response.write(jsonform.dump(document) + b"\n")
    except ConnectionError:
        return


def _version() -> str:
    try:
        return version("balenawasm")
    except PackageNotFoundError:
        return "unknown"
