"""From a bundle's network to the kernel's stack; imported when a guest first goes there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.kernel.network import NetworkStack
from balenawasm.kernel.network_policy import OutboundPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from balenawasm.runtime.bundle import Bundle
    from balenawasm.runtime.home import ContainerPaths


def make_stack(
    bundle: Bundle,
    paths: ContainerPaths,
    published: Mapping[str, Mapping[int, Sequence[int]]],
    log: Callable[[str], None],
) -> NetworkStack:
    """The stack for the bundle's mode; `published` maps protocol and container port to fds.

    OSError when its directories cannot be made.
    """
    network, hostname = bundle.network, bundle.hostname
    if network is None or network.mode == "none":
        return NetworkStack(loopback_directory=paths.loopback, hostname=hostname, log=log)
    if network.mode == "host":
        from balenawasm.kernel.network_host import HostNetwork  # noqa: PLC0415 - seldom asked for

        return HostNetwork(
            loopback_directory=paths.loopback,
            network_directory=Path(network.directory),
            hostname=hostname,
            log=log,
            tls=network.tls,
        )
    return NetworkStack(
        loopback_directory=paths.loopback,
        hostname=hostname,
        address=network.address,
        network_directory=Path(network.directory),
        published=published.get("tcp"),
        published_udp=published.get("udp"),
        hosts=Path(network.hosts_file),
        policy=OutboundPolicy.from_texts(network.allow),
        tls=network.tls,
        advice=network.advice,
        log=log,
    )
