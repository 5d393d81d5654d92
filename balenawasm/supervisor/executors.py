"""Executors: one method for each composition step. They change the world and then the state.

Everything that blocks runs in the thread pool; the state is touched in the event loop's thread
only. A step that cannot be carried out raises a BalenaWasmError and leaves nothing half-done that
the next round of planning would not see.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from typing import TYPE_CHECKING, TypeVar

from balenawasm.atomicfile import write_atomic
from balenawasm.errors import BalenaWasmError
from balenawasm.runtime import control
from balenawasm.runtime.bundle import MountKind, write_bundle
from balenawasm.runtime.exitrecord import StartError
from balenawasm.runtime.mount_sources import check_sources, real_source, writable_places
from balenawasm.runtime.ports import bind_port
from balenawasm.runtime.scratch import remove_tree
from balenawasm.supervisor import steps
from balenawasm.supervisor.addresses import allot, free_subnet, hosts_text
from balenawasm.supervisor.bundles import HOSTS_FILE, host_mounts, make_bundle
from balenawasm.supervisor.current_state import Phase
from balenawasm.supervisor.project_state import ContainerState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from concurrent.futures import Executor
    from pathlib import Path

    from balenawasm.digest import Digest
    from balenawasm.runtime.control import Message
    from balenawasm.runtime.home import Home
    from balenawasm.runtime.ports import BoundPort, PublishedPort
    from balenawasm.supervisor.project_state import ProjectState
    from balenawasm.supervisor.record import ProjectFiles, ProjectRecord
    from balenawasm.supervisor.target_state import ProjectTarget, ServiceTarget
    from balenawasm.supervisor.zygote_client import ZygoteClient

T = TypeVar("T")

_KILL_SECONDS = 3.0
"""How long guests get to end after SIGKILL before their runner is killed."""


class StepError(BalenaWasmError):
    """A step could not be carried out."""


class Tools:
    """What the executors of every project share."""

    def __init__(
        self,
        home: Home,
        zygote: ZygoteClient,
        pool: Executor,
        blob_path: Callable[[Digest], Path],
        subnets: Callable[[], Collection[int]],
    ) -> None:
        self.home = home
        self.zygote = zygote
        self.pool = pool
        self.blob_path = blob_path
        self.subnets = subnets
        """Subnet numbers that some project has."""
        self.waiting: dict[str, asyncio.Future[Message]] = {}
        """Container id → who waits for its runner's Running or Failed."""

    async def blocking(self, function: Callable[[], T]) -> T:
        """Run something that blocks in the thread pool; a host's error becomes a StepError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.pool, function)
        except OSError as error:
            raise StepError(f"the host refuses: {error}") from error


class Executors:
    """Carries out the steps of one project."""

    def __init__(
        self,
        tools: Tools,
        state: ProjectState,
        files: ProjectFiles,
        target: Callable[[], ProjectTarget | None],
    ) -> None:
        self._tools = tools
        self._state = state
        self._files = files
        self._target = target
        self._saved: ProjectRecord | None = None
        self._writing = asyncio.Lock()
        """Held from looking at the state until a file made from it is written."""

    async def execute(self, step: steps.Step) -> None:
        """Carry out one step; BalenaWasmError when that fails."""
        match step:
            case steps.CreateNetwork():
                await self._create_network(step.services)
            case steps.RemoveNetwork():
                await self._remove_network()
            case steps.CreateVolume():
                await self._create_volume(step.name)
            case steps.RemoveVolume():
                path = self._tools.home.volume(step.name)
                await self._tools.blocking(lambda: remove_tree(path))
                self._state.volumes.discard(step.name)
            case steps.OpenPorts():
                self._open_ports(step.service, step.ports)
            case steps.Create():
                await self._create(step.service)
            case steps.Start():
                await self._start(self._state.containers[step.container])
            case steps.Stop():
                await self.stop(self._state.containers[step.container])
            case steps.Remove():
                await self._remove(self._state.containers[step.container])
            case steps.Forget():
                await self._tools.blocking(self._files.forget)

    async def save(self) -> None:
        """Write the project's record, unless that is what the file says already."""
        async with self._writing:
            record = self._state.record()
            if record != self._saved:
                await self._tools.blocking(lambda: self._files.save_record(record))
                self._saved = record

    # Network, volumes and ports.

    async def _create_network(self, services: tuple[str, ...]) -> None:
        state = self._state
        if state.subnet == 0:
            state.subnet = free_subnet(self._tools.subnets())
        await self._allot(services)
        state.network = True

    async def _allot(self, services: tuple[str, ...]) -> None:
        """Give services addresses and make them known in the network."""
        state = self._state
        state.addresses = allot(state.subnet, state.addresses, services)
        directory = self._tools.home.network(state.name)
        async with self._writing:
            text = hosts_text(state.addresses).encode()

            def write() -> None:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomic(directory / HOSTS_FILE, text, mode=0o600, durable=False)

            await self._tools.blocking(write)
        await self.save()

    async def _remove_network(self) -> None:
        directory = self._tools.home.network(self._state.name)
        await self._tools.blocking(lambda: remove_tree(directory))
        self._state.network = False

    async def _create_volume(self, name: str) -> None:
        path = self._tools.home.volume(name)
        target = self._target()
        volumes = target.volumes if target is not None else ()
        external = any(volume.external for volume in volumes if volume.name == name)

        def make() -> None:
            if external and not path.is_dir():
                raise StepError(
                    f"volume {name} is external and does not exist",
                    hint=f"make the directory {path}, or leave out `external`",
                )
            path.mkdir(mode=0o755, exist_ok=True)

        await self._tools.blocking(make)
        self._state.volumes.add(name)

    def _open_ports(self, service: str, ports: tuple[PublishedPort, ...]) -> None:
        """Have exactly `ports` open, keeping sockets that are; all or nothing of the new ones."""
        before = {bound.port: bound for bound in self._state.ports.get(service, ())}
        after: list[BoundPort] = []
        try:
            for port in ports:
                after.append(before.get(port) or bind_port(port))
        except BalenaWasmError:
            for bound in after:
                if bound.port not in before:
                    bound.close()
            raise
        for port, bound in before.items():
            if port not in ports:
                bound.close()
        if after:
            self._state.ports[service] = tuple(after)
        else:
            self._state.ports.pop(service, None)

    # Containers.

    async def _create(self, name: str) -> None:
        state, tools = self._state, self._tools
        service = self._service(name)
        if name not in state.addresses:
            await self._allot((name,))
        container_id = f"{state.name[:48]}_{name[:48]}_{secrets.token_hex(4)}"
        address = state.addresses[name]

        def make() -> None:
            places = self._check_sources(service)
            for mount in service.mounts:
                if mount.kind is MountKind.BIND and mount.create_host_path:
                    real_source(mount.source, places, make=True)
            bundle = make_bundle(
                tools.home,
                state.name,
                service,
                container_id=container_id,
                address=address,
                blob_path=tools.blob_path,
                shared=places,
            )
            write_bundle(tools.home.container(container_id), bundle)

        await tools.blocking(make)
        container = ContainerState(
            id=container_id,
            service=name,
            identity=service.identity,
            depends_on=tuple(dependency.service for dependency in service.depends_on),
        )
        container.ended.set()
        state.containers[container_id] = container
        await self.save()

    async def _start(self, container: ContainerState) -> None:
        """Have a runner start it, and wait until process 1 runs or could not be started."""
        tools = self._tools
        container.begin()
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        tools.waiting[container.id] = answer
        try:
            service = self._service_or_none(container.service)
            if service is not None:
                await tools.blocking(lambda: self._check_sources(service))
            fds = [bound.socket.fileno() for bound in self._state.ports.get(container.service, ())]
            if service is not None:
                container.stop_signal = service.stop_signal
                container.stop_grace = service.stop_grace
                fds += self._pipe_ends(service)
            tools.zygote.start(container.id, fds)
            message = await answer
        except BalenaWasmError:
            container.phase = Phase.EXITED
            container.ended.set()
            raise
        finally:
            tools.waiting.pop(container.id, None)
        if isinstance(message, control.Failed):
            container.error = message.message
            raise StartError(
                f"service {container.service}: {message.message}",
                hint=message.hint,
                code=message.code,
            )

    def _check_sources(self, service: ServiceTarget) -> frozenset[Path]:
        """Refuse binds that a container of the project could have led elsewhere; returns the host
        directories where these can write. StartError.
        """
        home, target = self._tools.home, self._target()
        services = (*(target.services if target is not None else ()), service)
        places = writable_places(mount for it in services for mount in host_mounts(home, it))
        check_sources(host_mounts(home, service), places, home.root)
        return places

    def _pipe_ends(self, service: ServiceTarget) -> tuple[int, ...]:
        try:
            return self._state.pipes.ends_for(service)
        except OSError as error:
            raise StepError(f"service {service.name}: cannot make its pipe: {error}") from error

    async def stop(self, container: ContainerState) -> None:
        """Signal, grace period, kill; returns when its runner is gone."""
        container.hold()
        if container.ended.is_set():
            return
        container.phase = Phase.STOPPING
        await self._signal(container, container.stop_signal, control.Target.INIT)
        if await _within(container.stop_grace, container.ended):
            return
        await self._signal(container, signal.SIGKILL, control.Target.ALL)
        if await _within(_KILL_SECONDS, container.ended):
            return
        self._tools.zygote.kill(container.id)
        await container.ended.wait()

    async def _signal(self, container: ContainerState, signo: int, target: control.Target) -> None:
        path = self._tools.home.container(container.id).control_socket

        def send() -> None:
            channel = control.connect(path)
            try:
                channel.socket.settimeout(_KILL_SECONDS)
                channel.send(control.Signal(signal=signo, target=target))
                channel.receive()
            finally:
                channel.close()

        # A runner that does not answer is ending, or is killed when the grace period is over.
        with contextlib.suppress(BalenaWasmError):
            await self._tools.blocking(send)

    async def _remove(self, container: ContainerState) -> None:
        container.hold()
        paths = self._tools.home.container(container.id)

        def remove() -> None:
            remove_tree(paths.directory)
            remove_tree(paths.run)

        await self._tools.blocking(remove)
        self._state.containers.pop(container.id, None)
        self._state.errors.pop(f"service {container.service}", None)
        await self.save()

    def _service_or_none(self, name: str) -> ServiceTarget | None:
        target = self._target()
        return target.service(name) if target is not None else None

    def _service(self, name: str) -> ServiceTarget:
        service = self._service_or_none(name)
        if service is None:
            raise StepError(f"service {name} has left the target state")
        return service


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait for an event, at most so long; tell whether it came."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
