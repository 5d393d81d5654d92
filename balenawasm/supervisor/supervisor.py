"""The supervisor: every project of one state directory, one zygote, and the wish to end when idle.

Belongs to the event loop's thread, which never blocks: what does runs in a small thread pool.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from balenawasm.errors import BalenaWasmError
from balenawasm.runtime import control
from balenawasm.runtime.exitrecord import KILLED
from balenawasm.runtime.sweep import sweep_runs
from balenawasm.store.store import Store
from balenawasm.supervisor.executors import Tools
from balenawasm.supervisor.project import GoneError, Project
from balenawasm.supervisor.project_state import service_state
from balenawasm.supervisor.status import ENDING, ContainerStatus, ProgressEvent, ProjectStatus
from balenawasm.supervisor.sweep import sweep_containers
from balenawasm.supervisor.zygote_client import ZygoteClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.runtime.control import Message
    from balenawasm.runtime.home import Home
    from balenawasm.supervisor.project_state import ContainerState
    from balenawasm.supervisor.target_state import ProjectTarget

_THREADS = 4
IDLE_SECONDS = 10.0
"""How long an on-demand supervisor waits for its first project."""


class UnknownProjectError(BalenaWasmError):
    """There is no such project."""


class UnknownContainerError(BalenaWasmError):
    """There is no such container."""


class Supervisor:
    """All projects. :meth:`begin` first; :meth:`close` last."""

    def __init__(self, home: Home, *, ends_when_idle: bool = False) -> None:
        self.home = home
        self.ends_when_idle = ends_when_idle
        self.projects: dict[str, Project] = {}
        self.requests = 0
        """Requests being answered now; an on-demand supervisor does not end under them."""
        self.idle = asyncio.Event()
        """Set when an on-demand supervisor may end."""
        self.pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="blocking")
        self._zygote = ZygoteClient(home, on_message=self._on_message, on_lost=self._on_lost)
        self._tools = Tools(
            home, self._zygote, self.pool, Store(home.store).blobs.path, self._subnets
        )
        self._had_project = False
        self._idle_timer: asyncio.TimerHandle | None = None

    @property
    def zygote_pid(self) -> int | None:
        """The zygote's process, when there is one."""
        return self._zygote.pid

    async def begin(self) -> None:
        """Take over every project on disk and start supervising."""
        await self._tools.blocking(lambda: sweep_runs(self.home))
        unread = set()
        for directory in sorted(self.home.projects.iterdir()):
            project = Project(self._tools, directory.name, self._drop)
            try:
                await project.load()
            except BalenaWasmError as error:
                # One damaged project must not keep the others down; its files stay as they are.
                sys.stderr.write(f"supervisor: project {directory.name}: {error.message}\n")
                unread.add(directory.name)
                continue
            self.projects[project.name] = project
        known = {c for project in self.projects.values() for c in project.state.containers}
        await self._tools.blocking(lambda: sweep_containers(self.home, known, unread))
        for project in self.projects.values():
            project.begin()
        self.look_idle()

    async def close(self) -> None:
        """Stop every container and the zygote; the targets stay for the next supervisor."""
        await asyncio.gather(*(project.close() for project in self.projects.values()))
        await self._zygote.close()
        self.pool.shutdown()

    def look_idle(self) -> None:
        """Set `idle`, soon, unless there is a project or a request by then.

        At once when the last project has just gone; otherwise whoever started us gets some time.
        """
        if self.projects or self.requests:
            return
        seconds = 0.0 if self._had_project else IDLE_SECONDS
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._idle_timer = asyncio.get_running_loop().call_later(seconds, self._check_idle)

    def _check_idle(self) -> None:
        if self.ends_when_idle and not self.projects and not self.requests:
            self.idle.set()

    # What the API asks.

    def project(self, name: str) -> Project:
        """The project called `name`; UnknownProjectError."""
        try:
            return self.projects[name]
        except KeyError:
            known = ", ".join(sorted(self.projects)) or "none"
            raise UnknownProjectError(
                f"there is no project {name!r} here", hint=f"running projects: {known}"
            ) from None

    def statuses(self) -> tuple[ProjectStatus, ...]:
        """Every project, by name."""
        return tuple(self.projects[name].status() for name in sorted(self.projects))

    def container(self, container_id: str) -> ContainerStatus:
        """One container; UnknownContainerError."""
        found = self._find(container_id)
        if found is None:
            raise UnknownContainerError(f"there is no container {container_id!r} here")
        project, container = found
        return ContainerStatus(
            id=container.id,
            project=project.name,
            service=container.service,
            state=service_state(container, container.error),
            control_socket=str(self.home.container(container.id).control_socket),
        )

    async def apply(
        self, target: ProjectTarget, progress: Callable[[ProgressEvent], None]
    ) -> ProjectStatus:
        """Make `target` its project's target and wait until it is reached."""
        while True:
            project = self.projects.get(target.name)
            if project is None:
                project = self.projects[target.name] = Project(self._tools, target.name, self._drop)
            try:
                return await project.apply(target, progress)
            except GoneError:
                continue

    async def remove(
        self, name: str, progress: Callable[[ProgressEvent], None], *, volumes: bool
    ) -> ProjectStatus:
        """Take a project down; returns when nothing is left of it."""
        project = self.project(name)
        status = await project.remove(progress, volumes=volumes)
        if self.ends_when_idle and not self.projects:
            progress(ProgressEvent(step=ENDING, text="the last project is gone"))
        return status

    def _drop(self, project: Project) -> None:
        """Nothing is left of a project."""
        project.state.close()
        if self.projects.get(project.name) is project:
            del self.projects[project.name]
        self._had_project = True
        self.look_idle()

    # The zygote.

    def _find(self, container_id: str) -> tuple[Project, ContainerState] | None:
        for project in self.projects.values():
            container = project.state.containers.get(container_id)
            if container is not None:
                return project, container
        return None

    def _on_message(self, message: Message) -> None:
        container_id = getattr(message, "id", "")
        found = self._find(container_id)
        if found is not None:
            project, container = found
            project.on_message(container, message)

    def _on_lost(self) -> None:
        """The zygote died and took every runner with it."""
        sys.stderr.write("supervisor: the zygote is gone; its containers ended with it\n")
        lost = f"its runner was lost: see {self.home.supervisor_log}"
        for project in self.projects.values():
            for container in project.state.containers.values():
                if not container.ended.is_set():
                    project.on_message(
                        container,
                        control.Exited(id=container.id, code=KILLED, reason=lost),
                    )

    def _subnets(self) -> set[int]:
        return {project.state.subnet for project in self.projects.values()}
