"""The state of one project in the supervisor's memory: containers, ports, network, volumes.

Belongs to the event loop's thread. `observe` makes the planner's view of it, `status` the API's.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from balenawasm.digest import Digest
from balenawasm.runtime.exitrecord import KILLED, read_exit_record
from balenawasm.supervisor.current_state import CurrentContainer, CurrentProject, Phase
from balenawasm.supervisor.record import Address, ContainerRecord, ProjectRecord
from balenawasm.supervisor.restart import STABLE_SECONDS, restart_delay
from balenawasm.supervisor.service_pipes import ServicePipes
from balenawasm.supervisor.status import PortStatus, ProjectStatus, ServiceState, ServiceStatus
from balenawasm.supervisor.target_state import DEFAULT_GRACE, RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.runtime.home import Home
    from balenawasm.runtime.ports import BoundPort
    from balenawasm.supervisor.target_state import ProjectTarget, ServiceTarget

_STATES = {
    Phase.CREATED: ServiceState.WAITING,
    Phase.STARTING: ServiceState.STARTING,
    Phase.RUNNING: ServiceState.RUNNING,
    Phase.STOPPING: ServiceState.STOPPING,
}


@dataclass(slots=True, kw_only=True)
class ContainerState:
    """One container. Times are seconds since 1970."""

    id: str
    service: str
    identity: Digest
    depends_on: tuple[str, ...] = ()
    phase: Phase = Phase.CREATED
    wanted: bool = True
    may_start: bool = True
    exit_code: int | None = None
    error: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    restarts: int = 0
    quick_failures: int = 0
    stop_signal: int = signal.SIGTERM
    stop_grace: float = DEFAULT_GRACE
    """Its own, from when it was started: the target may know its service no longer."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while no runner runs it."""
    restart_timer: asyncio.TimerHandle | None = None

    def hold(self) -> None:
        """Cancel a restart that is due later."""
        if self.restart_timer is not None:
            self.restart_timer.cancel()
            self.restart_timer = None

    def begin(self) -> None:
        """A runner is about to run it."""
        self.hold()
        self.phase = Phase.STARTING
        self.may_start = False
        self.ended.clear()

    def running(self) -> None:
        """Process 1 runs."""
        self.phase = Phase.RUNNING
        self.started_at = time.time()
        self.finished_at = None
        self.error = None

    def end(
        self, code: int, service: ServiceTarget | None, again: Callable[[ContainerState], None]
    ) -> None:
        """The run is over; `again` is called when the restart policy's delay is."""
        asked = self.phase is Phase.STOPPING or not self.wanted
        lasted = time.time() - self.started_at if self.started_at is not None else 0.0
        self.phase = Phase.EXITED
        self.exit_code = code
        self.finished_at = time.time()
        self.ended.set()
        if asked or service is None:
            return
        self.quick_failures = 1 if lasted >= STABLE_SECONDS else self.quick_failures + 1
        delay = restart_delay(
            service, code, quick_failures=self.quick_failures, retries=self.restarts
        )
        if delay is not None:
            self.restart_timer = asyncio.get_running_loop().call_later(delay, again, self)

    def revive(self) -> None:
        """The user wants it to run, whatever was before."""
        self.hold()
        self.wanted = True
        self.restarts = self.quick_failures = 0
        self.error = None
        if self.phase is Phase.EXITED:
            self.may_start = True


class ProjectState:
    """Everything there is of one project."""

    def __init__(self, home: Home, name: str) -> None:
        self.home = home
        self.name = name
        self.subnet = 0
        self.addresses: dict[str, str] = {}
        self.containers: dict[str, ContainerState] = {}
        self.ports: dict[str, tuple[BoundPort, ...]] = {}
        self.volumes: set[str] = set()
        self.network = False
        self.pipes = ServicePipes()
        self.returning: set[str] = set()
        """Services that are being restarted, so that their pipes stay open in between."""
        self.errors: dict[str, str] = {}
        """Step subject → what went wrong with it last."""

    def restore(self, record: ProjectRecord, target: ProjectTarget | None) -> None:
        """Take over what an earlier supervisor left; no runner of it is alive any more."""
        self.subnet = record.subnet
        self.addresses = {entry.service: entry.address for entry in record.addresses}
        for entry in record.containers:
            ended = read_exit_record(self.home.container(entry.id).exit)
            code = ended.code if ended is not None else KILLED
            container = ContainerState(
                id=entry.id,
                service=entry.service,
                identity=Digest(entry.identity),
                depends_on=entry.depends_on,
                phase=Phase.EXITED,
                wanted=entry.wanted,
                exit_code=code,
                started_at=ended.started_at if ended is not None else None,
                finished_at=ended.finished_at if ended is not None else None,
            )
            container.ended.set()
            service = target.service(entry.service) if target is not None else None
            container.may_start = service is not None and _starts_at_boot(service, code)
            self.containers[entry.id] = container
        if target is not None:
            self.look_at_volumes(target)

    def look_at_volumes(self, target: ProjectTarget) -> None:
        """Find out which volumes exist. Blocks for a moment (one lstat each)."""
        for volume in target.volumes:
            if self.home.volume(volume.name).is_dir():
                self.volumes.add(volume.name)

    def record(self) -> ProjectRecord:
        """What is to be kept on disk."""
        return ProjectRecord(
            subnet=self.subnet,
            addresses=tuple(
                Address(service=name, address=address) for name, address in self.addresses.items()
            ),
            containers=tuple(
                ContainerRecord(
                    id=one.id,
                    service=one.service,
                    identity=one.identity,
                    depends_on=one.depends_on,
                    wanted=one.wanted,
                )
                for one in self.containers.values()
            ),
        )

    def of_service(self, service: str) -> ContainerState | None:
        """The container of a service, if there is one."""
        return next((c for c in self.containers.values() if c.service == service), None)

    def observe(self) -> CurrentProject:
        """The planner's view."""
        return CurrentProject(
            name=self.name,
            network=self.network,
            volumes=frozenset(self.volumes),
            containers=tuple(
                CurrentContainer(
                    id=one.id,
                    service=one.service,
                    identity=one.identity,
                    phase=one.phase,
                    depends_on=one.depends_on,
                    wanted=one.wanted,
                    may_start=one.may_start,
                    restarts_later=one.restart_timer is not None,
                    exit_code=one.exit_code,
                )
                for one in self.containers.values()
            ),
            open_ports={
                name: tuple(bound.port for bound in ports) for name, ports in self.ports.items()
            },
            returning=frozenset(self.returning),
        )

    def status(self, target: ProjectTarget | None) -> ProjectStatus:
        """The API's view: the target's services, and those that are on their way out."""
        services = {service.name: service for service in target.services} if target else {}
        names = sorted({*services, *(c.service for c in self.containers.values())})
        return ProjectStatus(
            name=self.name,
            services=tuple(self._service_status(name, services.get(name)) for name in names),
            volumes=tuple(sorted(self.volumes)),
        )

    def _service_status(self, name: str, service: ServiceTarget | None) -> ServiceStatus:
        container = self.of_service(name)
        error = self.errors.get(f"service {name}")
        if error is None and container is not None:
            error = container.error
        image = service.image if service is not None else ""
        command = service.argv if service is not None else ()
        if container is None:
            state = ServiceState.FAILED if error is not None else ServiceState.WAITING
            return ServiceStatus(name=name, image=image, state=state, error=error, command=command)
        return ServiceStatus(
            name=name,
            image=image,
            state=service_state(container, error),
            container=container.id,
            address=self.addresses.get(name),
            ports=tuple(
                PortStatus(
                    host_ip=bound.port.host_ip,
                    host_port=bound.host_port,
                    container_port=bound.port.container_port,
                    protocol=bound.port.protocol,
                )
                for bound in self.ports.get(name, ())
            ),
            exit_code=container.exit_code,
            restarts=container.restarts,
            started_at=container.started_at,
            finished_at=container.finished_at,
            error=error,
            command=command,
        )

    def close(self) -> None:
        """Close every published port and every pipe, and cancel every timer."""
        self.pipes.close()
        for container in self.containers.values():
            container.hold()
        for ports in self.ports.values():
            for port in ports:
                with contextlib.suppress(OSError):
                    port.close()
        self.ports.clear()


def service_state(container: ContainerState, error: str | None) -> ServiceState:
    """Say in one word how a container is."""
    if container.phase in _STATES:
        waiting = container.phase is Phase.CREATED and error is not None
        return ServiceState.FAILED if waiting else _STATES[container.phase]
    if not container.wanted:
        return ServiceState.STOPPED
    if container.restart_timer is not None or container.may_start:
        return ServiceState.RESTARTING
    return ServiceState.FAILED if error is not None else ServiceState.EXITED


def _starts_at_boot(service: ServiceTarget, exit_code: int) -> bool:
    """Whether a container of an earlier supervisor is started again without being asked for."""
    if service.restart is RestartPolicy.ON_FAILURE:
        return exit_code != 0
    return service.restart is not RestartPolicy.NO
