"""What a bundle mounts into the root besides the kernel's own: volumes, binds and tmpfs.

A start without any, the most frequent one, does not import this.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.runtime.bundle import Mount, MountKind
from balenawasm.runtime.exitrecord import StartError
from balenawasm.runtime.first_content import fill_tmpfs, fill_volume
from balenawasm.runtime.mount_sources import (
    check_sources,
    is_below,
    real_source,
    writable_places,
)
from balenawasm.runtime.rootfs import TMPFS_BYTES, mount_at
from balenawasm.vfs.filesystems.hostdir import HostDirectory, HostFolder
from balenawasm.vfs.filesystems.tmpfs import Tmpfs

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from balenawasm.runtime.bundle import Bundle
    from balenawasm.runtime.home import ContainerPaths
    from balenawasm.vfs.node import Node
    from balenawasm.vfs.path import Namespace

_SMALLEST_TMPFS = 4096


def checked_places(bundle: Bundle, paths: ContainerPaths) -> Collection[Path]:
    """Check where the mounts come from; return the places on the host where containers can write.

    StartError.
    """
    places = writable_places(bundle.mounts).union(map(Path, bundle.shared))
    check_sources(bundle.mounts, places, paths.home)
    return places


def mount_all(namespace: Namespace, mounts: Sequence[Mount], places: Collection[Path]) -> None:
    """Mount them in their order; a new volume gets the image's files first. StartError."""
    for mount in mounts:
        fill_volume(namespace, mount)
    for mount in mounts:
        node = mounted_node(mount, places)
        # A mount's source on the host is not the guest's business: /proc/mounts shows its kind.
        options = b"ro" if mount.read_only else b"rw"
        mount_at(namespace, mount.target, node, mount.kind.value.encode(), options)


def mounted_node(mount: Mount, places: Collection[Path]) -> Node:
    """Return the root of what is to be mounted. StartError."""
    if mount.kind is MountKind.TMPFS:
        root = Tmpfs(max(mount.size or TMPFS_BYTES, _SMALLEST_TMPFS), mode=0o1777).root
        if mount.source:
            fill_tmpfs(root, real_source(mount.source, places))
        return root
    try:
        real = real_source(mount.source, places)
        node = HostDirectory(real, read_only=mount.read_only).root
        if is_below(real, places):
            _check_unmoved(mount, node, real)
        return node
    except OSError as error:
        raise StartError(
            f"cannot mount {mount.source} at {mount.target.decode('utf-8', 'replace')}:"
            f" {error.strerror}",
            hint="check that the path exists on the host and may be read",
        ) from error


def _check_unmoved(mount: Mount, node: Node, real: Path) -> None:
    """Look again what was opened, for a container may change the way to it at any time."""
    folder = node if isinstance(node, HostFolder) else getattr(node, "folder", None)
    if isinstance(folder, HostFolder):
        where = Path(f"/proc/self/fd/{folder.fd}").readlink()
        if where != (real if folder is node else real.parent):
            raise StartError(
                f"cannot mount {mount.source}: the way to it changed at this moment",
                hint="start the container again, or mount a directory that no container can move",
            )
