"""The planner: current state and target state in, the steps that can be taken now out. Pure.

It is asked again after every step and every event, so it never looks ahead: what depends on a step
comes in a later round. An empty answer means that the current state is as near to the target as it
can be now: everything runs, has ended for good, was stopped by the user, or waits for its backoff.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from balenawasm.supervisor.current_state import Phase
from balenawasm.supervisor.steps import (
    Create,
    CreateNetwork,
    CreateVolume,
    Forget,
    OpenPorts,
    Remove,
    RemoveNetwork,
    RemoveVolume,
    Start,
    Step,
    Stop,
)
from balenawasm.supervisor.target_state import Condition

if TYPE_CHECKING:
    from balenawasm.supervisor.current_state import CurrentContainer, CurrentProject
    from balenawasm.supervisor.target_state import Dependency, ProjectTarget, ServiceTarget

_IDLE = (Phase.CREATED, Phase.EXITED)


def plan(
    current: CurrentProject, target: ProjectTarget | None, *, purge: tuple[str, ...] = ()
) -> tuple[Step, ...]:
    """Return the steps that bring `current` nearer to `target`; None: the project is to go.

    `purge` names volumes that go with the project.
    """
    if target is None:
        return _dismantle(current, purge)
    return (
        *_groundwork(current, target),
        *_removals(current, target),
        *(step for service in target.services for step in _service(current, target, service)),
    )


class Held(NamedTuple):
    """A service that would start now, were it not for a dependency; `hopeless`: for ever."""

    service: str
    dependency: str
    hopeless: bool


def held_back(current: CurrentProject, target: ProjectTarget | None) -> tuple[Held, ...]:
    """Return the services that wait for another one to complete.

    While there are any, an empty plan is not the end: something will happen by itself, unless the
    one they wait for has ended for good without success.
    """
    if target is None:
        return ()
    held = []
    for service in target.services:
        container = _container_of(current, service)
        if container is None or not _would_start(container):
            continue
        for dependency in service.depends_on:
            if not _satisfied(current, target, dependency):
                other = _container_of(current, target.service(dependency.service))
                held.append(Held(service.name, dependency.service, _is_over(other)))
    return tuple(held)


def ended_for_good(current: CurrentProject, target: ProjectTarget | None) -> frozenset[str]:
    """Return the services of which nothing runs or will run unless the user asks for it."""
    if target is None:
        return frozenset(c.service for c in current.containers if c.phase in _IDLE)
    return frozenset(
        service.name
        for service in target.services
        if _is_over(_container_of(current, service)) and service.name not in current.returning
    )


def _would_start(container: CurrentContainer) -> bool:
    return container.wanted and container.may_start and container.phase in _IDLE


def _is_over(container: CurrentContainer | None) -> bool:
    """Whether a container does not run and will not run again by itself."""
    if container is None or container.phase not in _IDLE:
        return False
    return not container.wanted or not (container.may_start or container.restarts_later)


def _container_of(
    current: CurrentProject, service: ServiceTarget | None
) -> CurrentContainer | None:
    """The container that was made from this very target, if it is there."""
    if service is None:
        return None
    return next(
        (
            container
            for container in current.containers
            if container.service == service.name and container.identity == service.identity
        ),
        None,
    )


def _dismantle(current: CurrentProject, purge: tuple[str, ...]) -> tuple[Step, ...]:
    """Containers in the reverse order of their dependencies, then what they used, then itself."""
    if current.containers:
        steps = (_towards_removal(current, container) for container in current.containers)
        return tuple(step for step in steps if step is not None)
    rest: list[Step] = [OpenPorts(service, ()) for service in current.open_ports]
    rest += [RemoveNetwork()] if current.network else []
    rest += [RemoveVolume(name) for name in purge if name in current.volumes]
    return tuple(rest) or (Forget(),)


def _towards_removal(current: CurrentProject, container: CurrentContainer) -> Step | None:
    if container.phase in _IDLE:
        return Remove(container.service, container.id)
    if container.phase is Phase.RUNNING and not _needed(current, container):
        return Stop(container.service, container.id)
    return None


def _needed(current: CurrentProject, container: CurrentContainer) -> bool:
    """Whether a container that still lives depends on this one: that one goes first."""
    return any(
        container.service in other.depends_on and other.phase not in _IDLE
        for other in current.containers
    )


def _groundwork(current: CurrentProject, target: ProjectTarget) -> tuple[Step, ...]:
    steps: list[Step] = []
    if not current.network:
        steps.append(CreateNetwork(tuple(service.name for service in target.services)))
    steps += [
        CreateVolume(volume.name) for volume in target.volumes if volume.name not in current.volumes
    ]
    return tuple(steps)


def _removals(current: CurrentProject, target: ProjectTarget) -> tuple[Step, ...]:
    """Containers that the target does not have, or has otherwise."""
    steps: list[Step] = []
    for container in current.containers:
        service = target.service(container.service)
        if service is None or service.identity != container.identity:
            step = (
                Stop(container.service, container.id)
                if container.phase is Phase.RUNNING
                else _towards_removal(current, container)
            )
            steps += [step] if step is not None else []
    return (*steps, *_stale_ports(current, target))


def _stale_ports(current: CurrentProject, target: ProjectTarget) -> list[Step]:
    """Published ports that the target does not have, of services without a living container."""
    alive = {c.service for c in current.containers if c.phase not in _IDLE}
    steps: list[Step] = []
    for name, ports in current.open_ports.items():
        service = target.service(name)
        kept = tuple(port for port in ports if service is not None and port in service.ports)
        if kept != ports and name not in alive:
            steps.append(OpenPorts(name, kept))
    return steps


def _service(
    current: CurrentProject, target: ProjectTarget, service: ServiceTarget
) -> tuple[Step, ...]:
    """The next step of one service of the target."""
    containers = [c for c in current.containers if c.service == service.name]
    if not containers:
        ready = current.network and {v.name for v in target.volumes} <= current.volumes
        return (Create(service.name),) if ready else ()
    container = containers[0]
    if len(containers) > 1 or container.identity != service.identity:
        return ()
    if not container.wanted:
        return _stopped(current, container)
    if not _would_start(container):
        return ()
    if not all(_satisfied(current, target, dependency) for dependency in service.depends_on):
        return ()
    if current.open_ports.get(service.name, ()) != service.ports:
        return () if _port_is_taken(current, service) else (OpenPorts(service.name, service.ports),)
    return (Start(service.name, container.id),)


def _stopped(current: CurrentProject, container: CurrentContainer) -> tuple[Step, ...]:
    """A service that the user stopped neither runs nor keeps its ports."""
    if container.phase is Phase.RUNNING:
        return (Stop(container.service, container.id),)
    if container.phase in _IDLE and current.open_ports.get(container.service):
        return (OpenPorts(container.service, ()),)
    return ()


def _port_is_taken(current: CurrentProject, service: ServiceTarget) -> bool:
    """Whether another service still holds one of the ports, which it is about to give up."""
    wanted = {(port.host_port, port.protocol) for port in service.ports if port.host_port}
    return any(
        (port.host_port, port.protocol) in wanted
        for name, ports in current.open_ports.items()
        if name != service.name
        for port in ports
    )


def _satisfied(current: CurrentProject, target: ProjectTarget, dependency: Dependency) -> bool:
    """Whether a service has come as far as another one waits for."""
    container = _container_of(current, target.service(dependency.service))
    if container is None:
        return False
    if dependency.condition is Condition.COMPLETED:
        return container.phase is Phase.EXITED and container.exit_code == 0
    # Started once is started: a dependency that has ended or crashes does not hold others back.
    return container.phase in (Phase.RUNNING, Phase.EXITED)
