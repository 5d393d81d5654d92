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
from balenawasm.runtime.exitrecord import NOT_EXECUTABLE, NOT_FOUND, StartError
from balenawasm.vfs.filesystems.image import ImageFs
from balenawasm.vfs.filesystems.overlay import Overlay
from balenawasm.vfs.filesystems.text import TextFile
from balenawasm.vfs.mounts import Automount
from balenawasm.vfs.node import Content, Node, Stat
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.errno import GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from balenawasm.kernel.kernel import Kernel
    from balenawasm.kernel.network import NetworkStack
    from balenawasm.runtime.bundle import Bundle, Mount
    from balenawasm.runtime.home import ContainerPaths
    from balenawasm.vfs.filesystems.quota import Quota

TMPFS_BYTES = 64 << 20
"""Size of a tmpfs that names none, Docker's for /dev/shm."""

_ETC_DEVICE = 0x6574  # "et"
_FIRST_TEXT = 16
"""The inode number of the first of the bundle's texts; those of /etc are below."""
_SETTLED_NS = 2_000_000_000
"""A file changed less than this ago may change again within one tick of its time stamps."""

_RESOLV_CONF = b"# Names are looked up by balenawasm itself.\nnameserver 127.0.0.11\n"


class RootFilesystem(NamedTuple):
    """A container's namespace, and the limit of its writable layer if it has one. Its /proc is
    empty until the kernel that it is for exists.
    """

    namespace: Namespace
    quota: Quota | None

    def show_processes(self, kernel: Kernel) -> None:
        """Mount /proc over the kernel's processes; before the first process starts."""
        mount_at(self.namespace, b"/proc", Automount(lambda: _proc(kernel)), b"proc")


def build_namespace(
    bundle: Bundle, paths: ContainerPaths, network: Callable[[], NetworkStack]
) -> RootFilesystem:
    """Put a container's file tree together; `network` is asked when a guest first goes to /net.

    StartError, or the error of a damaged layer.
    """
    places: Collection[Path] = ()
    if bundle.mounts:
        from balenawasm.runtime import bundle_mounts  # noqa: PLC0415 - most starts have none

        places = bundle_mounts.checked_places(bundle, paths)
    quota = _quota(bundle, paths)
    root, rest = _root(bundle, paths, places, quota)
    namespace = Namespace(root)
    # The inner one first: the way to it would make /dev, which most programs never visit.
    mount_at(namespace, b"/dev/shm", Automount(lambda: _tmpfs(0o1777)), b"tmpfs")
    mount_at(namespace, b"/dev", Automount(_dev), b"devtmpfs")
    mount_at(namespace, b"/net", Automount(lambda: _net(network())), b"net")
    if bundle.layers:
        for number, (name, text) in enumerate(_etc_files(bundle)):
            mount_at(namespace, b"/etc/" + name, _text_file(number + 1, text), b"tmpfs")
    for number, given in enumerate(bundle.texts):
        mount_at(namespace, given.path, _text_file(_FIRST_TEXT + number, given.content), b"tmpfs")
    if rest:
        bundle_mounts.mount_all(namespace, rest, places)
    return RootFilesystem(namespace, quota)


# Made, and imported, when a guest first goes there.


def _dev() -> Node:
    from balenawasm.vfs.filesystems.dev import DevFs  # noqa: PLC0415 - see above

    return DevFs().root


def _net(network: NetworkStack) -> Node:
    from balenawasm.vfs.filesystems.net import NetFs  # noqa: PLC0415 - see above

    return NetFs(network).root


def _proc(kernel: Kernel) -> Node:
    from balenawasm.vfs.filesystems.proc import ProcFs  # noqa: PLC0415 - see above

    return ProcFs(kernel).root


def _tmpfs(mode: int, size: int = TMPFS_BYTES) -> Node:
    from balenawasm.vfs.filesystems.tmpfs import Tmpfs  # noqa: PLC0415 - see above

    return Tmpfs(size, mode=mode).root


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


def _quota(bundle: Bundle, paths: ContainerPaths) -> Quota | None:
    if bundle.limits.storage is None:
        return None
    from balenawasm.vfs.filesystems.quota import Quota  # noqa: PLC0415 - seldom limited

    return Quota(bundle.limits.storage, paths.upper)


def _root(
    bundle: Bundle, paths: ContainerPaths, places: Collection[Path], quota: Quota | None
) -> tuple[Node, list[Mount]]:
    """The root directory, and the mounts that are not it."""
    rest = [mount for mount in bundle.mounts if mount.target != b"/"]
    for mount in bundle.mounts:
        if mount.target == b"/":
            from balenawasm.runtime.bundle_mounts import mounted_node  # noqa: PLC0415 - seldom

            return mounted_node(mount, places), rest
    if not bundle.layers:
        return _tmpfs(0o755, bundle.limits.storage or TMPFS_BYTES), rest
    paths.directory.mkdir(mode=0o700, exist_ok=True)
    lowers = []
    for layer in reversed(bundle.layers):
        image = open_layer(Path(layer.path)).image
        lowers.append(ImageFs(image, layer.digest).root)
    # What `run` and builds write is removed at the end: it need not survive a power cut.
    durable = bundle.service is not None
    return Overlay(lowers, paths.upper, durable=durable, quota=quota).root, rest


def mount_at(
    namespace: Namespace,
    path: bytes,
    node: Node | Automount,
    kind: bytes,
    options: bytes = b"rw",
) -> None:
    """Mount something as /proc/mounts will show it. StartError."""
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
