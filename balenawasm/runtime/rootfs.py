"""The root of a container's file tree: from a bundle to a `vfs` namespace.

    /                the image's layers, read-only disk images, under the writable upper directory;
                     or a host directory (`-v DIR:/`), or an empty tmpfs
    bundle.mounts    volumes, binds and tmpfs, in their order; a new volume gets the image's files
    /dev /proc /net  the kernel's own, and /dev/shm as a tmpfs
    /etc/hosts /etc/hostname /etc/resolv.conf   made for the container, read-only

As in Docker `/tmp` is an ordinary directory of the image. With a host directory as the root nothing
is laid over its `/etc`: there it is the user's own files that the guest is to see.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.kernel.program import WASM_MAGIC, Program
from balenawasm.layer.image_layer import open_layer
from balenawasm.record import NamedTuple
from balenawasm.runtime.bundle import Mount, MountKind
from balenawasm.runtime.exitrecord import NOT_EXECUTABLE, NOT_FOUND, StartError
from balenawasm.runtime.first_content import fill_tmpfs, fill_volume
from balenawasm.runtime.mount_sources import (
    check_sources,
    is_below,
    real_source,
    writable_places,
)
from balenawasm.vfs.filesystems.dev import DevFs
from balenawasm.vfs.filesystems.hostdir import HostDirectory, HostFolder
from balenawasm.vfs.filesystems.image import ImageFs
from balenawasm.vfs.filesystems.net import NetFs
from balenawasm.vfs.filesystems.overlay import Overlay
from balenawasm.vfs.filesystems.proc import ProcFs
from balenawasm.vfs.filesystems.text import TextFile
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.node import Content, Node, Stat
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.errno import GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Collection

    from balenawasm.kernel.kernel import Kernel
    from balenawasm.kernel.network import NetworkStack
    from balenawasm.runtime.bundle import Bundle
    from balenawasm.runtime.home import ContainerPaths

TMPFS_BYTES = 64 << 20
"""Size of a tmpfs that names none, Docker's for /dev/shm."""
_SMALLEST_TMPFS = 4096

_ETC_DEVICE = 0x6574  # "et"
_SETTLED_NS = 2_000_000_000
"""A file changed less than this ago may change again within one tick of its time stamps."""

_RESOLV_CONF = b"# Names are looked up by balenawasm itself.\nnameserver 127.0.0.11\n"


class RootFilesystem(NamedTuple):
    """A container's namespace. Its /proc is empty until the kernel that it is for exists."""

    namespace: Namespace

    def show_processes(self, kernel: Kernel) -> None:
        """Mount /proc over the kernel's processes; before the first process starts."""
        self.namespace.mount(b"/proc", ProcFs(kernel).root, source=b"proc", kind=b"proc")


def build_namespace(bundle: Bundle, paths: ContainerPaths, network: NetworkStack) -> RootFilesystem:
    """Put a container's file tree together. StartError, or the error of a damaged layer."""
    places = writable_places(bundle.mounts).union(map(Path, bundle.shared))
    check_sources(bundle.mounts, places, paths.home)
    root, rest = _root(bundle, paths, places)
    namespace = Namespace(root)
    _mount(namespace, b"/dev", DevFs().root, b"devtmpfs")
    _mount(namespace, b"/dev/shm", Tmpfs(TMPFS_BYTES, mode=0o1777).root, b"tmpfs")
    _mount(namespace, b"/net", NetFs(network).root, b"net")
    if bundle.layers:
        for number, (name, text) in enumerate(_etc_files(bundle)):
            _mount(namespace, b"/etc/" + name, _text_file(number + 1, text), b"tmpfs")
    for mount in rest:
        fill_volume(namespace, mount)
    for mount in rest:
        _mount(
            namespace, mount.target, _mounted_node(mount, places), mount.kind.value.encode(), mount
        )
    return RootFilesystem(namespace)


def host_program(path: Path) -> Program:
    """The program in a file of the host, for `run FILE.wasm`. StartError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            data = mmap.mmap(fd, 0, prot=mmap.PROT_READ) if status.st_size else b""
        finally:
            os.close(fd)
    except FileNotFoundError as error:
        raise StartError(f"there is no file {path}", code=NOT_FOUND) from error
    except (OSError, ValueError) as error:
        raise StartError(f"cannot read {path}: {error}", code=NOT_EXECUTABLE) from error
    if data[:4] != WASM_MAGIC:
        raise StartError(
            f"{path} is not a WebAssembly module",
            hint="a module starts with the bytes `\\0asm`; an image is named without a path",
            code=NOT_EXECUTABLE,
        )
    return Program(os.fsencode(path), Content(_identity(status), memoryview(data)))


def _identity(status: os.stat_result) -> str | None:
    """Name a host file's content, so that a large module is hashed once and not at every start.

    Every write moves ctime, which programs cannot set; a file changed so recently that a further
    write could leave the same time has no identity yet.
    """
    if time.time_ns() - status.st_ctime_ns < _SETTLED_NS:
        return None
    return "host:" + ":".join(
        str(part) for part in (status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)
    )


def _root(
    bundle: Bundle, paths: ContainerPaths, places: Collection[Path]
) -> tuple[Node, list[Mount]]:
    """The root directory, and the mounts that are not it."""
    rest = [mount for mount in bundle.mounts if mount.target != b"/"]
    for mount in bundle.mounts:
        if mount.target == b"/":
            return _mounted_node(mount, places), rest
    if not bundle.layers:
        return Tmpfs(TMPFS_BYTES).root, rest
    paths.directory.mkdir(mode=0o700, exist_ok=True)
    lowers = []
    for layer in reversed(bundle.layers):
        image = open_layer(Path(layer.path)).image
        lowers.append(ImageFs(image, layer.digest).root)
    # What `run` and builds write is removed at the end: it need not survive a power cut.
    return Overlay(lowers, paths.upper, durable=bundle.service is not None).root, rest


def _mounted_node(mount: Mount, places: Collection[Path]) -> Node:
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


def _mount(
    namespace: Namespace, path: bytes, node: Node, kind: bytes, mount: Mount | None = None
) -> None:
    # A mount's source on the host is not the guest's business: /proc/mounts shows its kind.
    options = b"ro" if mount is not None and mount.read_only else b"rw"
    try:
        namespace.mount(path, node, source=kind, kind=kind, options=options)
    except GuestError as error:
        raise StartError(
            f"cannot mount at {path.decode('utf-8', 'replace')}: {error.errno.name}",
            hint="a mount's target must be an absolute path through directories",
        ) from error


def _etc_files(bundle: Bundle) -> list[tuple[bytes, bytes]]:
    lines = ["127.0.0.1\tlocalhost"]
    if bundle.network is not None:
        lines += [f"{bundle.network.address}\t{bundle.hostname}"]
        try:
            hosts = Path(bundle.network.hosts_file).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            hosts = []
        lines += [line for line in hosts if line not in lines]
    return [
        (b"hosts", "\n".join([*lines, ""]).encode()),
        (b"hostname", bundle.hostname.encode() + b"\n"),
        (b"resolv.conf", _RESOLV_CONF),
    ]


def _text_file(number: int, text: bytes) -> Node:
    now = time.time_ns()
    stat = Stat(_ETC_DEVICE, number, Filetype.REGULAR_FILE, 1, len(text), now, now, now, mode=0o444)
    return TextFile(stat, lambda _caller: text)
