"""The logs request: the log files of a project's services, merged by time, as JSON lines.

Files are read in the thread pool, in batches; following looks for more ten times a second, which
costs one stat a service.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web

from balenawasm.errors import UsageError
from balenawasm.runtime import jsonform
from balenawasm.runtime.logs import LogReader
from balenawasm.supervisor.status import LogLine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.runtime.home import Home
    from balenawasm.supervisor.project import Project
    from balenawasm.supervisor.supervisor import Supervisor

_POLL_SECONDS = 0.1
_BATCH = 1000


async def stream_logs(
    request: web.Request, project: Project, supervisor: Supervisor
) -> web.StreamResponse:
    """Answer `GET /v0/projects/{project}/logs?follow=1&since=TIME&tail=N&service=NAME…`."""
    sources = _Sources(
        supervisor.home,
        project,
        services=frozenset(request.query.getall("service", [])),
        since=_since(request.query.get("since")),
        tail=_tail(request.query.get("tail")),
    )
    follow = request.query.get("follow") == "1"
    response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
    await response.prepare(request)
    loop = asyncio.get_running_loop()
    # Reading the log does not keep an on-demand supervisor from ending after `down`.
    supervisor.requests -= 1
    try:
        while True:
            sources.look()
            lines = sources.lines()
            while batch := await loop.run_in_executor(supervisor.pool, _batch, lines):
                await response.write(batch)
            if not follow or project.gone:
                break
            await asyncio.sleep(_POLL_SECONDS)
        await response.write_eof()
    except ConnectionError:
        """The reader has seen enough."""
    finally:
        supervisor.requests += 1
        sources.close()
    return response


class _Sources:
    """The logs of the services asked for, also of containers that are made later."""

    def __init__(
        self,
        home: Home,
        project: Project,
        *,
        services: frozenset[str],
        since: str | None,
        tail: int | None,
    ) -> None:
        self._home = home
        self._project = project
        self._services = services
        self._since = since
        self._tail = tail
        self._readers: dict[str, tuple[str, LogReader]] = {}

    def look(self) -> None:
        """Add the containers that are new and drop those that are gone."""
        containers = self._project.state.containers
        for container in containers.values():
            wanted = not self._services or container.service in self._services
            if wanted and container.id not in self._readers:
                path = self._home.container(container.id).log
                reader = LogReader(path, since=self._since, tail=self._tail)
                self._readers[container.id] = (container.service, reader)
        for container_id in self._readers.keys() - containers.keys():
            self._readers.pop(container_id)[1].close()
        # What a container that is made later writes is all new.
        self._tail = None

    def lines(self) -> Iterator[LogLine]:
        """What has been written since the last time, in the order of time."""
        readers = list(self._readers.values())
        return heapq.merge(*itertools.starmap(_lines, readers), key=lambda line: line.time)

    def close(self) -> None:
        """Close the files."""
        for _, reader in self._readers.values():
            reader.close()


def _lines(service: str, reader: LogReader) -> Iterator[LogLine]:
    for record in reader.records():
        yield LogLine(
            service=service,
            time=record.time,
            stream=record.stream,
            line=record.line,
            partial=record.partial,
        )


def _batch(lines: Iterator[LogLine]) -> bytes:
    return b"".join(jsonform.encode(line) + b"\n" for line in itertools.islice(lines, _BATCH))


def _since(text: str | None) -> str | None:
    """Bring a time to the form that log records have, so that it compares as text."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"not a time: {text!r}", hint="write it as 2026-01-31T12:00:00Z") from None
    time = time.astimezone(UTC) if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _tail(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or len(text) > 9:
        raise UsageError(f"not a number of lines: {text!r}")
    return int(text)
