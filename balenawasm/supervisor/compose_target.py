"""From a compose project and its services' images to the target state. Pure.

Docker's rules: `entrypoint` replaces the image's and takes its CMD away, `command` replaces CMD;
the service's environment goes over the image's; a path in the image's VOLUME gets a volume of its
own unless the service mounts something there.
"""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from balenawasm.compose import model
from balenawasm.digest import hex_of, sha256
from balenawasm.runtime.bundle import (
    DEFAULT_LIMITS,
    DEFAULT_LOG_LIMITS,
    Limits,
    LogLimits,
    MountKind,
)
from balenawasm.runtime.ports import PublishedPort
from balenawasm.supervisor.grants import read_grants
from balenawasm.supervisor.target_state import (
    DEFAULT_GRACE,
    Condition,
    Dependency,
    Label,
    ProjectTarget,
    RestartPolicy,
    ServiceTarget,
    TargetMount,
    TargetStateError,
    TargetVolume,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balenawasm.compose.model import Project, Service
    from balenawasm.oci.config import ImageConfig
    from balenawasm.store.images import Image

_REAL_TIME = re.compile(r"SIGRTMIN\+(\d{1,2})\Z")


def target_of(project: Project, images: Mapping[str, Image]) -> ProjectTarget:
    """Return the target state; `images` has each service's image. TargetStateError, BadGrantError.

    Only services in `images` are taken, so a caller may leave some out.
    """
    builder = _Builder(project, images)
    services = tuple(
        builder.service(service, images[name])
        for name, service in project.services.items()
        if name in images
    )
    return ProjectTarget(
        name=project.name, services=services, volumes=tuple(builder.volumes.values())
    ).check()


class _Builder:
    """Collects the volumes while the services are made."""

    def __init__(self, project: Project, images: Mapping[str, Image]) -> None:
        self._project = project
        self._pipes = {
            service.stdin_from: name
            for name, service in project.services.items()
            if service.stdin_from in images and name in images
        }
        """Writer → reader."""
        self.volumes = {
            volume.name: TargetVolume(name=volume.name, external=volume.external)
            for volume in project.volumes.values()
        }

    def service(self, service: Service, image: Image) -> ServiceTarget:
        """The target of one service."""
        config = image.config
        argv = _command_line(service, config)
        if not argv:
            raise TargetStateError(
                f"service {service.name}: neither the image nor the service says what to run",
                hint="give the Balenafile a CMD, or the service a `command`",
            )
        grants = read_grants(
            service.name, service.x_balenawasm.get("allow", ()), self._project.directory
        )
        cwd = service.working_dir or config.working_dir or "/"
        return ServiceTarget(
            name=service.name,
            image=str(image.reference) if image.reference is not None else image.digest,
            image_digest=image.digest,
            layers=tuple(layer.digest for layer in image.manifest.layers),
            argv=tuple(_bytes(word) for word in argv),
            env=_environment(service, config),
            cwd=_bytes(cwd if cwd.startswith("/") else "/" + cwd),
            ports=tuple(_port(port) for port in service.ports),
            mounts=self._mounts(service, config),
            restart=RestartPolicy(service.restart.kind.value),
            restart_retries=service.restart.maximum_retries,
            depends_on=tuple(_dependency(entry) for entry in service.depends_on),
            stop_signal=signal_number(service.stop_signal or config.stop_signal),
            stop_grace=DEFAULT_GRACE if service.stop_grace is None else service.stop_grace,
            hostname=service.hostname or "",
            network_mode=service.network_mode,
            allow=grants.allow,
            tls=grants.tls,
            tty=service.tty,
            preopens=tuple(_bytes(name) for name in config.preopens),
            limits=_limits(service.limits),
            log_limits=_log_limits(service.limits),
            stdin_from=next((w for w, r in self._pipes.items() if r == service.name and w), ""),
            stdout_to=self._pipes.get(service.name, ""),
            labels=tuple(
                Label(name=name, value=value)
                for name, value in sorted({**config.labels, **service.labels}.items())
            ),
        )

    def _mounts(self, service: Service, config: ImageConfig) -> tuple[TargetMount, ...]:
        mounts = [self._mount(service, mount) for mount in service.volumes]
        mounted = {mount.target.rstrip(b"/") for mount in mounts}
        for path in config.volumes:
            target = _bytes(path)
            if target.rstrip(b"/") not in mounted:
                mounts.append(self._anonymous(service, target))
        return tuple(mounts)

    def _mount(self, service: Service, mount: model.VolumeMount) -> TargetMount:
        target = _bytes(mount.target)
        if mount.kind is model.MountKind.ANONYMOUS:
            return self._anonymous(service, target)._replace(
                read_only=mount.read_only, nocopy=mount.nocopy
            )
        if mount.kind is model.MountKind.TMPFS:
            return TargetMount(
                kind=MountKind.TMPFS, target=target, read_only=mount.read_only, size=mount.size
            )
        source = mount.source or ""
        if mount.kind is model.MountKind.NAMED:
            name = self._project.volumes[source].name
            return TargetMount(
                kind=MountKind.VOLUME,
                source=name,
                target=target,
                read_only=mount.read_only,
                nocopy=mount.nocopy,
            )
        return TargetMount(
            kind=MountKind.BIND,
            source=source,
            target=target,
            read_only=mount.read_only,
            create_host_path=mount.create_host_path,
        )

    def _anonymous(self, service: Service, target: bytes) -> TargetMount:
        """A volume without a name keeps its data over updates: its name follows from its place."""
        place = hex_of(sha256(target))[:12]
        name = f"{self._project.name}_{service.name}-{place}"
        self.volumes[name] = TargetVolume(name=name)
        return TargetMount(kind=MountKind.VOLUME, source=name, target=target)


def signal_number(name: str) -> int:
    """Return the number of `SIGTERM`, `TERM`, `15` or `SIGRTMIN+3`; empty is SIGTERM."""
    text = name.strip().upper()
    if not text:
        return int(signal.SIGTERM)
    if text.isdigit():
        return int(text)
    text = text if text.startswith("SIG") else "SIG" + text
    if match := _REAL_TIME.match(text):
        return int(signal.SIGRTMIN) + int(match[1])
    try:
        return int(signal.Signals[text])
    except KeyError:
        raise TargetStateError(f"no signal {name!r}") from None


def _command_line(service: Service, config: ImageConfig) -> tuple[str, ...]:
    if service.entrypoint is not None:
        return service.entrypoint + (service.command or ())
    command = config.cmd if service.command is None else service.command
    return config.entrypoint + command


def _environment(service: Service, config: ImageConfig) -> tuple[bytes, ...]:
    variables = {**config.environment, **service.environment}
    return tuple(_bytes(f"{name}={value}") for name, value in variables.items())


def _port(port: model.Port) -> PublishedPort:
    return PublishedPort(
        container_port=port.container_port,
        host_port=port.host_port,
        host_ip=port.host_ip or "",
        protocol=port.protocol,
    )


def _dependency(entry: model.DependsOn) -> Dependency:
    if entry.condition is model.Condition.COMPLETED:
        return Dependency(service=entry.service, condition=Condition.COMPLETED)
    # There are no health checks yet; reading the compose file has warned of that.
    return Dependency(service=entry.service)


def _limits(said: model.Limits) -> Limits:
    return Limits(
        memory=said.memory,
        processes=said.processes or DEFAULT_LIMITS.processes,
        open_files=said.open_files or DEFAULT_LIMITS.open_files,
        cpus=said.cpus,
        cpu_weight=said.cpu_weight,
        cpu_time=said.cpu_time,
        storage=said.storage,
    )


def _log_limits(said: model.Limits) -> LogLimits:
    return LogLimits(
        file_bytes=said.log_bytes or DEFAULT_LOG_LIMITS.file_bytes,
        files=said.log_files or DEFAULT_LOG_LIMITS.files,
        lines_per_second=said.log_rate,
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
