"""From a service's target to its container's bundle; looks whether the layers are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.digest import parse_digest
from balenawasm.errors import BalenaWasmError
from balenawasm.runtime.bundle import Bundle, Layer, Mount, MountKind, Network, Published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from balenawasm.digest import Digest
    from balenawasm.runtime.home import Home
    from balenawasm.supervisor.target_state import ServiceTarget, TargetMount

HOSTS_FILE = "hosts"


class MissingLayerError(BalenaWasmError):
    """A layer of a service's image is not in the store."""


def make_bundle(
    home: Home,
    project: str,
    service: ServiceTarget,
    *,
    container_id: str,
    address: str,
    blob_path: Callable[[Digest], Path],
    shared: Iterable[Path] = (),
) -> Bundle:
    """Return the bundle of a container; MissingLayerError when its image is not whole.

    `shared` are the host directories where containers of the project can write.
    """
    network = home.network(project)
    return Bundle(
        id=container_id,
        project=project,
        service=service.name,
        layers=tuple(_layer(service, parse_digest(text), blob_path) for text in service.layers),
        argv=service.argv,
        env=service.env,
        cwd=service.cwd,
        mounts=host_mounts(home, service),
        network=Network(
            address=address,
            directory=str(network),
            hosts_file=str(network / HOSTS_FILE),
            published=tuple(
                Published(
                    container_port=port.container_port, listener=number, protocol=port.protocol
                )
                for number, port in enumerate(service.ports)
            ),
            allow=service.allow,
            mode=service.network_mode,
            tls=service.tls,
        ),
        hostname=service.hostname or service.name,
        limits=service.limits,
        log_limits=service.log_limits,
        stdin_pipe=bool(service.stdin_from),
        stdout_pipe=bool(service.stdout_to),
        preopens=service.preopens,
        tty=service.tty,
        shared=tuple(sorted(map(str, shared))),
        log=str(home.container(container_id).log),
    ).check()


def _layer(service: ServiceTarget, digest: Digest, blob_path: Callable[[Digest], Path]) -> Layer:
    path = blob_path(digest)
    if not path.is_file():
        raise MissingLayerError(
            f"service {service.name}: layer {digest} of image {service.image} is not in the store",
            hint="build the image again (`balenawasm up --build`)",
        )
    return Layer(path=str(path), digest=digest)


def host_mounts(home: Home, service: ServiceTarget) -> tuple[Mount, ...]:
    """A service's mounts with their host paths."""
    return tuple(_mount(home, mount) for mount in service.mounts)


def _mount(home: Home, mount: TargetMount) -> Mount:
    source = mount.source
    if mount.kind is MountKind.VOLUME:
        source = str(home.volume(source))
    return Mount(
        kind=mount.kind,
        source=source,
        target=mount.target,
        read_only=mount.read_only,
        nocopy=mount.nocopy,
        size=mount.size,
    )
