"""One project under supervision: plan, carry out, plan again; and what users ask of it.

The loop (:meth:`Project.run`) is the only one who plans. Operations change the target or a
container's wishes, wake the loop and wait until it has nothing left to do. One operation runs at a
time. Steps of different subjects run at the same time; a step that failed is tried again later,
with a backoff, so that trouble in one service holds up no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from balenawasm.errors import BalenaWasmError
from balenawasm.runtime import control
from balenawasm.runtime.logs import LogReader
from balenawasm.supervisor.executors import Executors, StepError
from balenawasm.supervisor.planner import Held, ended_for_good, held_back, plan
from balenawasm.supervisor.project_state import ContainerState, ProjectState
from balenawasm.supervisor.record import ProjectFiles
from balenawasm.supervisor.restart import FIRST_DELAY, LONGEST_DELAY
from balenawasm.supervisor.status import ProgressEvent
from balenawasm.supervisor.steps import Forget, OpenPorts, Start, Step, Stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.runtime.control import Message
    from balenawasm.supervisor.executors import Tools
    from balenawasm.supervisor.status import ProjectStatus
    from balenawasm.supervisor.target_state import ProjectTarget

_LAST_LINES = 5
_LAST_WIDTH = 200
"""Of the log of a service whose end is why a project does not come up."""

_VERBS = {
    "CreateNetwork": "creating the network",
    "RemoveNetwork": "removing the network",
    "CreateVolume": "creating a volume",
    "RemoveVolume": "removing a volume",
    "OpenPorts": "opening ports",
    "Create": "creating",
    "Start": "starting",
    "Stop": "stopping",
    "Remove": "removing",
    "Forget": "forgetting the project",
}


def _verb(step: Step) -> str:
    if isinstance(step, OpenPorts) and not step.ports:
        return "closing ports"
    return _VERBS[type(step).__name__]


class GoneError(BalenaWasmError):
    """The project was removed before the operation's turn came."""


class UnknownServiceError(BalenaWasmError):
    """The project has no such service."""


@dataclass(slots=True)
class _Retry:
    """A step that failed: how often in a row, and the timer that lets it be tried again."""

    failures: int
    timer: asyncio.TimerHandle | None
    blocked: bool = True


class Project:
    """A project and its loop."""

    def __init__(self, tools: Tools, name: str, on_gone: Callable[[Project], None]) -> None:
        """`on_gone` is called once when nothing is left of the project."""
        self.name = name
        self._on_gone = on_gone
        self.target: ProjectTarget | None = None
        self.state = ProjectState(tools.home, name)
        self.gone = False
        """Set when nothing is left of it."""
        self._tools = tools
        self._files = ProjectFiles(tools.home, name)
        self._executors = Executors(tools, self.state, self._files, lambda: self.target)
        self._purge: tuple[str, ...] = ()
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._operation = asyncio.Lock()
        self._generation = 0
        """Counts operations: a step's failure concerns the one that it was planned for."""
        self._failure: BalenaWasmError | None = None
        self._blamed: str | None = None
        """The service whose end is the failure."""
        self._progress: Callable[[ProgressEvent], None] | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._retries: dict[Step, _Retry] = {}
        self._closing = False
        self._loop_task: asyncio.Task[None] | None = None

    # Life.

    def begin(self) -> None:
        """Start the loop."""
        self._loop_task = asyncio.get_running_loop().create_task(self.run())

    async def load(self) -> None:
        """Take over what an earlier supervisor left on disk, before the loop begins."""
        self.target, record = await self._tools.blocking(self._files.load)
        self.state.restore(record, self.target)

    async def run(self) -> None:
        """Plan and carry out until the project is gone or the supervisor ends."""
        while not self.gone:
            self._changed.clear()
            current = self.state.observe()
            self.state.pipes.settle(self.target, ended_for_good(current, self.target))
            for step in plan(current, self.target, purge=self._purge):
                if isinstance(step, Forget) and self._tasks:
                    # A step that is still under way may be about to write the project's files.
                    continue
                if step.subject not in self._tasks and not self._blocked(step):
                    task = asyncio.get_running_loop().create_task(self._take(step))
                    self._tasks[step.subject] = task
            if not self._tasks:
                self._settle(held_back(current, self.target))
            await self._changed.wait()
        self._on_gone(self)
        self._settled.set()

    async def close(self) -> None:
        """The supervisor ends: stop every container, but keep the target for the next one."""
        self._closing = True
        if self._loop_task is not None:
            self._loop_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop_task
        for task in list(self._tasks.values()):
            await asyncio.wait([task])
        for retry in self._retries.values():
            if retry.timer is not None:
                retry.timer.cancel()
        stops = [self._executors.stop(one) for one in self.state.containers.values()]
        await asyncio.gather(*stops, return_exceptions=True)
        self.state.close()

    # Operations.

    async def apply(
        self, target: ProjectTarget, progress: Callable[[ProgressEvent], None]
    ) -> ProjectStatus:
        """Make this the target and wait until it is reached.

        On failure the target before is put back and reached again, and the error is raised.
        """
        async with self._operation:
            self._check_there()
            before = self.target
            self._purge = ()
            try:
                await self._tools.blocking(lambda: self._files.save_target(target))
            except BalenaWasmError:
                if self._loop_task is None:
                    self.gone = True
                    self._on_gone(self)
                raise
            self.state.look_at_volumes(target)
            for container in self.state.containers.values():
                container.revive()
            if self._loop_task is None:
                # Only now: a loop without a target would forget the project.
                self.target = target
                self.begin()
            try:
                await self._reach(target, progress)
            except BalenaWasmError:
                await self._tools.blocking(lambda: self._files.save_target(before))
                with contextlib.suppress(BalenaWasmError):
                    await self._reach(before, progress)
                raise
            await self._executors.save()
            return self.status()

    async def remove(
        self, progress: Callable[[ProgressEvent], None], *, volumes: bool
    ) -> ProjectStatus:
        """Take everything down and wait until nothing is left."""
        async with self._operation:
            self._check_there()
            known = self.target.volumes if self.target is not None else ()
            self._purge = tuple(v.name for v in known if volumes and not v.external)
            await self._tools.blocking(lambda: self._files.save_target(None))
            await self._reach(None, progress)
            return self.status()

    async def act(self, service: str, action: str) -> ProjectStatus:
        """Start, stop or restart a service and wait until that is done."""
        async with self._operation:
            self._check_there()
            container = self.state.of_service(service)
            if container is None or self.target is None:
                raise UnknownServiceError(
                    f"project {self.name} has no service {service}",
                    hint=f"its services: {', '.join(self._service_names()) or 'none'}",
                )
            if action == "restart":
                self.state.returning.add(service)
                try:
                    await self._stop_now(container)
                finally:
                    self.state.returning.discard(service)
            if action == "stop":
                container.hold()
                container.wanted = False
            else:
                container.revive()
            await self._executors.save()
            await self._reach(self.target, _no_progress)
            return self.status()

    def status(self) -> ProjectStatus:
        """The project as the API shows it."""
        return self.state.status(self.target)

    # Events.

    def on_message(self, container: ContainerState, message: Message) -> None:
        """Take the zygote's news of one of the project's containers."""
        answer = self._tools.waiting.get(container.id)
        if isinstance(message, control.Progress):
            self._tell("Start", container.service, message.text)
            return
        if isinstance(message, control.Running):
            container.running()
        elif isinstance(message, control.Failed):
            container.error = message.message
            self._ended(container, message.code)
        elif isinstance(message, control.Exited):
            self._ended(container, message.code)
            self._tell("Exited", container.service, message.reason)
            # It ended before it was running: whoever waits for that must not wait for ever.
            message = control.Failed(id=container.id, message=message.reason, code=message.code)
        if answer is not None and not answer.done():
            answer.set_result(message)
        self._changed.set()

    def _ended(self, container: ContainerState, code: int) -> None:
        service = self.target.service(container.service) if self.target is not None else None
        if self._closing or (service is not None and service.identity != container.identity):
            service = None
        container.end(code, service, self._restart)

    def _restart(self, container: ContainerState) -> None:
        container.restart_timer = None
        container.may_start = True
        container.restarts += 1
        self._changed.set()

    # Steps.

    async def _take(self, step: Step) -> None:
        """Carry out one step, whatever comes of it."""
        generation = self._generation
        service = getattr(step, "service", None)
        self._tell(type(step).__name__, service, _verb(step))
        try:
            await self._executors.execute(step)
        except BalenaWasmError as error:
            self._failed(step, error, generation)
        except Exception as error:
            sys.stderr.write(f"supervisor: {self.name}: {step}\n{traceback.format_exc()}")
            wrapped = StepError(f"{_verb(step)} failed: {error}")
            self._failed(step, wrapped, generation)
        else:
            self.gone = isinstance(step, Forget)
            self.state.errors.pop(step.subject, None)
            self._forgive(step)
        finally:
            self._tasks.pop(step.subject, None)
            self._changed.set()

    def _failed(self, step: Step, error: BalenaWasmError, generation: int) -> None:
        """Note a failure; Start has its own backoff, the restart policy's."""
        self.state.errors[step.subject] = error.message
        self._tell("Failed", getattr(step, "service", None), error.message)
        if self._failure is None and generation == self._generation:
            self._failure = error
            self._settled.set()
        if isinstance(step, Start) or self._closing:
            return
        retry = self._retries.setdefault(step, _Retry(0, None))
        delay = min(FIRST_DELAY * 2**retry.failures, LONGEST_DELAY)
        retry.failures = min(retry.failures + 1, 16)
        retry.blocked = True
        retry.timer = asyncio.get_running_loop().call_later(delay, self._unblock, retry)

    def _unblock(self, retry: _Retry) -> None:
        retry.blocked = False
        retry.timer = None
        self._changed.set()

    def _forgive(self, step: Step) -> None:
        retry = self._retries.pop(step, None)
        if retry is not None and retry.timer is not None:
            retry.timer.cancel()

    def _blocked(self, step: Step) -> bool:
        retry = self._retries.get(step)
        return retry is not None and retry.blocked

    async def _reach(
        self, target: ProjectTarget | None, progress: Callable[[ProgressEvent], None]
    ) -> None:
        """Make `target` the one to plan for and wait until the loop has nothing left to do.

        Raises the first error of a step that was planned for it.
        """
        self.target = target
        self._generation += 1
        self._failure = None
        self._blamed = None
        self._progress = progress
        for step in list(self._retries):
            self._forgive(step)
        self._settled.clear()
        self._changed.set()
        try:
            await self._settled.wait()
        finally:
            self._progress = None
        await self._raise_failure()

    async def _raise_failure(self) -> None:
        """Raise what went wrong on the way to the target, if anything."""
        failure, blamed = self._failure, self._blamed
        if failure is None:
            return
        if blamed is None:
            raise failure
        # Its log goes when the target before is put back.
        hint = await self._tools.blocking(lambda: self._last_words(blamed))
        raise StepError(failure.message, hint=hint)

    def _last_words(self, service: str) -> str:
        """The end of a service's log in one line, with nothing in it that steers a terminal."""
        lines: list[str] = []
        for container in self.state.containers.values():
            if container.service == service:
                reader = LogReader(self._tools.home.container(container.id).log, tail=_LAST_LINES)
                with contextlib.suppress(OSError), contextlib.closing(reader):
                    lines += [record.line[:_LAST_WIDTH] for record in reader.records()]
        text = " | ".join(lines)
        text = "".join(char if char.isprintable() else "?" for char in text)
        return f"the last lines of {service}: {text}" if text else f"{service} wrote nothing"

    def _settle(self, held: tuple[Held, ...]) -> None:
        """There is nothing to do: whoever waits for the target may go on, unless time will help."""
        hopeless = next((one for one in held if one.hopeless), None)
        if hopeless is not None and self._failure is None:
            self._failure = StepError(
                f"service {hopeless.service} waits for {hopeless.dependency} to complete,"
                " which has ended without success",
            )
            self._blamed = hopeless.dependency
        if hopeless is not None or not held:
            self._settled.set()

    def _check_there(self) -> None:
        """An operation waited while another one took the project down."""
        if self.gone:
            raise GoneError(f"project {self.name} has just been removed")

    async def _stop_now(self, container: ContainerState) -> None:
        """Stop a container outside of any plan; its ports stay open."""
        step = Stop(container.service, container.id)
        while (task := self._tasks.get(step.subject)) is not None:
            await asyncio.wait([task])
        task = asyncio.get_running_loop().create_task(self._take(step))
        self._tasks[step.subject] = task
        await asyncio.wait([task])

    def _service_names(self) -> list[str]:
        return [service.name for service in self.target.services] if self.target else []

    def _tell(self, step: str, service: str | None, text: str) -> None:
        if self._progress is not None:
            self._progress(ProgressEvent(step=step, service=service, text=text))


def _no_progress(_event: ProgressEvent) -> None:
    """Nobody watches."""
