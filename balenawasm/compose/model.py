"""The typed model of a project: what a compose file says, short and long forms brought to one.

Everything is decided here: variables are replaced, paths of the host are absolute, values without
a value are looked up. Only services that balenawasm runs are in the model; those that are
Docker's are named with the reason.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from balenawasm.compose.document import Value

BRIDGE = "bridge"
NETWORK_MODES = (BRIDGE, "host", "none")


class MountKind(enum.Enum):
    """Where the files of a mount live."""

    NAMED = "volume"
    ANONYMOUS = "anonymous"
    BIND = "bind"
    TMPFS = "tmpfs"


class RestartKind(enum.Enum):
    """When a service that ended is started again."""

    NO = "no"
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    UNLESS_STOPPED = "unless-stopped"


class Condition(enum.Enum):
    """What a service waits for in one that it depends on."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


@dataclass(frozen=True, slots=True)
class Port:
    """A published port; `protocol` is tcp or udp.

    `host_ip` None stands for every address, `host_port` None for any free port.
    """

    host_ip: str | None
    host_port: int | None
    container_port: int
    protocol: str = "tcp"

    def __str__(self) -> str:
        ip = self.host_ip or ""
        host = f"[{ip}]:" if ":" in ip else f"{ip}:" if ip else ""
        published = "" if self.host_port is None else f"{self.host_port}:"
        return f"{host}{published}{self.container_port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class ExposedPort:
    """A port for other services. It only informs: inside a project every port is open."""

    number: int
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """Files at `target` (absolute, in the container).

    `source` is a key of `Project.volumes` for NAMED, an absolute host path for BIND, else None.
    `create_host_path`: a missing bind source is made as a directory. `size` is a TMPFS's limit in
    bytes. `nocopy`: a volume that is empty stays so, instead of getting the image's files.
    """

    kind: MountKind
    source: str | None
    target: str
    read_only: bool = False
    create_host_path: bool = True
    size: int | None = None
    nocopy: bool = False


BUILD_NETWORKS = ("default", "host", "none")


@dataclass(frozen=True, slots=True)
class Build:
    """How a service's image is built; `context` and `balenafile` are absolute. `network` is what
    RUN may reach, one of BUILD_NETWORKS.
    """

    context: Path
    balenafile: Path
    args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    network: str = "default"


@dataclass(frozen=True, slots=True)
class Restart:
    """A restart policy; `maximum_retries` only with ON_FAILURE, None: no limit."""

    kind: RestartKind = RestartKind.NO
    maximum_retries: int | None = None


@dataclass(frozen=True, slots=True)
class DependsOn:
    """One service that has to come first."""

    service: str
    condition: Condition = Condition.STARTED


@dataclass(frozen=True, slots=True)
class Limits:
    """What a service may use; None: not said.

    Sizes are in bytes, `cpu_time` in seconds, `cpu_weight` is the kernel's (100 is usual),
    `log_rate` in lines a second.
    """

    memory: int | None = None
    cpus: float | None = None
    cpu_weight: int | None = None
    cpu_time: float | None = None
    processes: int | None = None
    open_files: int | None = None
    storage: int | None = None
    log_bytes: int | None = None
    log_files: int | None = None
    log_rate: int | None = None


@dataclass(frozen=True, slots=True)
class NamedVolume:
    """A volume; `name` is its full name, `<project>_<key>` unless the file gives one.

    An `external` volume has to be there, and `down` never removes it.
    """

    key: str
    name: str
    external: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    """One service; it has an `image` or a `build`, or both: then the image built is called `image`.

    `command` and `entrypoint`: None leaves the image's, an empty tuple takes it away.
    `environment` has everything: env_file, environment, values from outside. `hostname` None is
    the service's name, `stop_signal` None is the image's; `stop_grace` is in seconds.
    `stdin_from` is the service whose output is this one's input. `network_mode` is one of
    NETWORK_MODES.
    """

    name: str
    image: str | None = None
    build: Build | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    expose: tuple[ExposedPort, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    depends_on: tuple[DependsOn, ...] = ()
    working_dir: str | None = None
    tty: bool = False
    restart: Restart = Restart()
    hostname: str | None = None
    network_mode: str = BRIDGE
    stop_signal: str | None = None
    stop_grace: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    stdin_from: str | None = None
    x_balenawasm: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Project:
    """A whole project; `file` is the compose file it was read from.

    `start_order` has every service of `services`, dependencies first. `docker_services` maps the
    names of services that are Docker's to the reason.
    """

    name: str
    directory: Path
    file: Path
    services: Mapping[str, Service]
    start_order: tuple[str, ...]
    volumes: Mapping[str, NamedVolume] = field(default_factory=dict)
    docker_services: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    x_balenawasm: Mapping[str, Value] = field(default_factory=dict)
