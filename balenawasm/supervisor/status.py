"""What the API tells about projects: the answers' types, shared by the daemon and its client."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class ServiceState(StrEnum):
    """A service in one word."""

    WAITING = "waiting"
    """Not started yet: a dependency or an earlier step comes first."""
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    RESTARTING = "restarting"
    """It ended and will be started again when its backoff is over."""
    EXITED = "exited"
    """It ended by itself and its restart policy leaves it so."""
    STOPPED = "stopped"
    """The user stopped it."""
    FAILED = "failed"
    """It could not be started; `error` says why."""


class PortStatus(NamedTuple):
    """A published port; `host_ip` empty is every address."""

    host_ip: str
    host_port: int
    container_port: int
    protocol: str = "tcp"


class ServiceStatus(NamedTuple):
    """One service. Times are seconds since 1970; `exit_code` is of the last run that ended."""

    name: str
    image: str
    state: ServiceState
    container: str | None = None
    address: str | None = None
    ports: tuple[PortStatus, ...] = ()
    exit_code: int | None = None
    restarts: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    error: str | None = None
    command: tuple[bytes, ...] = ()


class ProjectStatus(NamedTuple):
    """One project with its services, sorted by name."""

    name: str
    services: tuple[ServiceStatus, ...]
    volumes: tuple[str, ...] = ()


class ContainerStatus(NamedTuple):
    """One container and the socket on which its runner takes exec and signals."""

    id: str
    project: str
    service: str
    state: ServiceState
    control_socket: str


ENDING = "Ending"
"""The step of a ProgressEvent that says: this on-demand supervisor ends after its answer."""


class ProgressEvent(NamedTuple):
    """Something that happened on the way to a target state; `service` is None for the project."""

    step: str
    service: str | None = None
    text: str = ""


class LogLine(NamedTuple):
    """One line of a service's output. `time` is RFC 3339 in UTC."""

    service: str
    time: str
    stream: str
    line: str
    partial: bool = False


class Ping(NamedTuple):
    """Who answers: the program's version, its process and its state directory."""

    version: str
    pid: int
    home: str
