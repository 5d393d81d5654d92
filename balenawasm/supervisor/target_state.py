"""The target state: what a project shall be. Plain data, made by the CLI (or a push), kept
in `projects/<name>/target.json` and compared with the current state by the planner.

A service's target says everything about its container but what the supervisor itself allots:
id, address and host paths. Two equal service targets are the same container: no restart.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from balenawasm.digest import Digest, parse_digest, sha256
from balenawasm.errors import BalenaWasmError
from balenawasm.runtime import jsonform
from balenawasm.runtime.bundle import (
    DEFAULT_LIMITS,
    DEFAULT_LOG_LIMITS,
    Limits,
    LogLimits,
    MountKind,
    TlsGrant,
)
from balenawasm.runtime.home import safe_name
from balenawasm.runtime.ports import PublishedPort  # noqa: TC001 - jsonform reads annotations

TARGET_VERSION = 1
MAX_SERVICES = 200
"""A project's network has 253 addresses."""

_SERVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


class TargetStateError(BalenaWasmError):
    """A target state contradicts itself."""


class RestartPolicy(StrEnum):
    """When a container whose process 1 ended is started again."""

    NO = "no"
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    UNLESS_STOPPED = "unless-stopped"


DEFAULT_GRACE = 10.0
"""Seconds between a service's stop signal and SIGKILL."""


class Condition(StrEnum):
    """What a service waits for in another one."""

    STARTED = "service_started"
    COMPLETED = "service_completed_successfully"


class Dependency(NamedTuple):
    """A `depends_on` entry."""

    service: str
    condition: Condition = Condition.STARTED


class TargetMount(NamedTuple):
    """A mount: `source` is a volume's full name, a host path, or empty for a tmpfs.

    An empty volume gets the image's files at `target`, unless `nocopy`. `size` is a tmpfs's limit
    in bytes; None is the default. A bind's missing source is made, unless `create_host_path` is
    False.
    """

    kind: MountKind
    target: bytes
    source: str = ""
    read_only: bool = False
    nocopy: bool = False
    size: int | None = None
    create_host_path: bool = True


class Label(NamedTuple):
    """A service's label."""

    name: str
    value: str


class ServiceTarget(NamedTuple):
    """One service. `layers` are digests of blobs in the store, lowest first.

    `restart_retries` limits `on-failure` only; None is no limit. `stop_grace` is in seconds.
    `hostname` empty is the service's name. `stdin_from` and `stdout_to` name the services at the
    other ends of pipes; what one says, the other one says too.
    """

    name: str
    image: str
    image_digest: str
    layers: tuple[str, ...]
    argv: tuple[bytes, ...]
    env: tuple[bytes, ...] = ()
    cwd: bytes = b"/"
    ports: tuple[PublishedPort, ...] = ()
    mounts: tuple[TargetMount, ...] = ()
    restart: RestartPolicy = RestartPolicy.NO
    restart_retries: int | None = None
    depends_on: tuple[Dependency, ...] = ()
    stop_signal: int = 15
    stop_grace: float = DEFAULT_GRACE
    hostname: str = ""
    allow: tuple[str, ...] = ()
    limits: Limits = DEFAULT_LIMITS
    labels: tuple[Label, ...] = ()
    preopens: tuple[bytes, ...] = ()
    tty: bool = False
    stdin_from: str = ""
    stdout_to: str = ""
    log_limits: LogLimits = DEFAULT_LOG_LIMITS
    network_mode: str = "bridge"
    tls: tuple[TlsGrant, ...] = ()

    @property
    def identity(self) -> Digest:
        """The digest of everything that needs a new container when it changes."""
        return sha256(jsonform.encode(self))


class TargetVolume(NamedTuple):
    """A named volume by its full name; an `external` one must exist and is never removed."""

    name: str
    external: bool = False


class ProjectTarget(NamedTuple):
    """One project: its services and its volumes."""

    name: str
    services: tuple[ServiceTarget, ...]
    version: int = TARGET_VERSION
    volumes: tuple[TargetVolume, ...] = ()

    def service(self, name: str) -> ServiceTarget | None:
        """The service called `name`, if there is one."""
        return next((service for service in self.services if service.name == name), None)

    def check(self) -> ProjectTarget:
        """Return self; raises TargetStateError or the error of the part that is wrong."""
        if self.version != TARGET_VERSION:
            raise TargetStateError(f"target state version {self.version} is not {TARGET_VERSION}")
        safe_name(self.name, "project")
        names = [service.name for service in self.services]
        if len(set(names)) != len(names):
            raise TargetStateError(f"project {self.name}: two services have the same name")
        if len(names) > MAX_SERVICES:
            raise TargetStateError(f"project {self.name}: more than {MAX_SERVICES} services")
        for volume in self.volumes:
            safe_name(volume.name, "volume")
        for service in self.services:
            self._check_service(service, set(names))
        self._check_ports()
        self._check_order()
        self._check_pipes()
        return self

    def _check_service(self, service: ServiceTarget, names: set[str]) -> None:
        where = f"service {service.name}"
        volumes = {volume.name for volume in self.volumes}
        if not _SERVICE_NAME.match(service.name):
            raise TargetStateError(f"not a service name: {service.name!r}")
        if not service.argv:
            raise TargetStateError(f"{where}: there is no command to run")
        if not service.cwd.startswith(b"/"):
            raise TargetStateError(f"{where}: the working directory is not absolute")
        if not 1 <= service.stop_signal <= 64:
            raise TargetStateError(f"{where}: no signal {service.stop_signal}")
        for layer in service.layers:
            parse_digest(layer)
        for mount in service.mounts:
            if mount.kind is MountKind.VOLUME and mount.source not in volumes:
                raise TargetStateError(f"{where}: volume {mount.source!r} is not the project's")
            if not mount.target.startswith(b"/"):
                raise TargetStateError(f"{where}: a mount's target is not absolute")
        for dependency in service.depends_on:
            if dependency.service not in names:
                raise TargetStateError(f"{where}: depends on unknown {dependency.service!r}")

    def _check_ports(self) -> None:
        """Refuse two services that publish the same port: the second could never start."""
        holders: dict[tuple[int, str], str] = {}
        for service in self.services:
            for port in service.ports:
                if not port.host_port:
                    continue
                holder = holders.setdefault((port.host_port, port.protocol), service.name)
                if holder != service.name:
                    raise TargetStateError(
                        f"services {holder} and {service.name} both publish port {port.host_port}"
                    )

    def _check_pipes(self) -> None:
        """Refuse pipes of which only one end is known. That they run in no circle is checked where
        the compose file is read, which can say it better; here it would do no harm.
        """
        readers = {(s.stdin_from, s.name) for s in self.services if s.stdin_from}
        writers = {(s.name, s.stdout_to) for s in self.services if s.stdout_to}
        if broken := sorted(readers ^ writers):
            writer, reader = broken[0]
            raise TargetStateError(f"the pipe from service {writer} to {reader} has only one end")

    def _check_order(self) -> None:
        """Refuse dependencies that run in a circle: such services could never start."""
        waiting = {s.name: {d.service for d in s.depends_on} for s in self.services}
        while ready := [name for name, needs in waiting.items() if not needs & waiting.keys()]:
            for name in ready:
                del waiting[name]
        if waiting:
            circle = ", ".join(sorted(waiting))
            raise TargetStateError(f"project {self.name}: depends_on runs in a circle: {circle}")
