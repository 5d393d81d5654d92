"""What a new volume holds: the image's files at the place where it is mounted, as in Docker. What
a new tmpfs holds: nothing, or a copy of a directory of the host.

A volume is filled when a container mounts it while it is empty. Containers that do so at the same
time take turns (`volumes/.filling.lock`), and a volume that is being filled has a mark beside it
(`volumes/.filling-<name>`), so a copy that a power cut interrupted is made again, over what is
there. Files are copied in place, because another container may have the empty volume mounted.
"""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.atomicfile import file_lock, fsync_directory
from balenawasm.runtime.bundle import MountKind
from balenawasm.runtime.exitrecord import StartError
from balenawasm.vfs.filesystems.copy_up import CHUNK, copy_leaf, host_mode
from balenawasm.vfs.filesystems.hostdir import HostDirectory, HostFolder
from balenawasm.vfs.filesystems.overlay import OverlayDirectory
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from balenawasm.runtime.bundle import Mount
    from balenawasm.vfs.node import Node
    from balenawasm.vfs.path import Namespace

_COPIED = (Filetype.REGULAR_FILE, Filetype.SYMBOLIC_LINK)
_TEMPORARY = b".balenawasm-filling"
"""What a file is called in the volume until it is whole."""


MAX_ENTRIES = 1_000_000
MAX_DEPTH = 2048
"""An image with more files and directories, or deeper ones (no path of 4096 bytes leads there), is
not copied.
"""


class _ImageError(Exception):
    """What the image holds is not copied."""


def fill_volume(namespace: Namespace, mount: Mount) -> None:
    """Copy the image's directory into a mount's volume if that is empty. StartError.

    Call it before anything of the user's is mounted in `namespace`.
    """
    if mount.kind is not MountKind.VOLUME or mount.nocopy:
        return
    volume = Path(mount.source)
    mark = volume.with_name(f".filling-{volume.name}")
    try:
        if not _wants_filling(volume, mark):
            return
        source = _image_directory(namespace, mount.target)
        if source is None:
            return
        with file_lock(volume.with_name(".filling.lock")):
            if _wants_filling(volume, mark):
                mark.touch()
                fsync_directory(volume.parent)
                _copy_tree(source, volume)
                mark.unlink()
    except (OSError, GuestError, _ImageError) as error:
        what = _told(error)
        raise StartError(
            f"cannot copy the image's files at {mount.target.decode('utf-8', 'replace')}"
            f" into the new volume {volume.name}: {what}",
            hint="make room, or mount the volume with `nocopy`",
        ) from error


def fill_tmpfs(root: Node, source: Path) -> None:
    """Copy a directory of the host into an empty tmpfs, with modes and times. StartError.

    What is no file, directory or symbolic link is left out; hard links become files of their own.
    """
    try:
        _copy_into_memory(HostDirectory(source, read_only=True).root, root)
    except (OSError, GuestError, _ImageError) as error:
        raise StartError(
            f"cannot copy {source} into memory: {_told(error)}",
            hint="check that it is a directory that may be read, or give the tmpfs a larger size",
        ) from error


def _copy_into_memory(source: Node, target: Node) -> None:
    pending = [(source, target, 0)]
    while pending:
        folder, into, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise _ImageError("its directories are too deep")
        for entry in folder.entries(NOBODY):
            node = folder.lookup(NOBODY, entry.name)
            stat = node.stat()
            if entry.filetype is Filetype.DIRECTORY:
                made = into.mkdir(entry.name, stat.mode)
                pending.append((node, made, depth + 1))
                continue
            if entry.filetype is Filetype.SYMBOLIC_LINK:
                made = into.symlink(entry.name, node.readlink(NOBODY))
            elif entry.filetype is Filetype.REGULAR_FILE:
                made = into.create(entry.name, stat.mode)
                _copy_file_into_memory(node, made)
            else:
                continue
            made.set_times(stat.atim, stat.mtim)


def _copy_file_into_memory(source: Node, target: Node) -> None:
    reading, writing = source.open(NOBODY, OpenFlags()), target.open(NOBODY, OpenFlags(write=True))
    reading.retain()
    writing.retain()
    try:
        buffer = memoryview(bytearray(CHUNK))
        while count := reading.read(NOBODY, [buffer]):
            if writing.write(NOBODY, [buffer[:count]]) != count:
                raise GuestError(Errno.ENOSPC)
    finally:
        reading.release()
        writing.release()


def _told(error: OSError | GuestError | _ImageError) -> str:
    if isinstance(error, GuestError):
        return error.errno.name
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _wants_filling(volume: Path, mark: Path) -> bool:
    with os.scandir(volume) as entries:
        return next(entries, None) is None or mark.exists()


def _image_directory(namespace: Namespace, path: bytes) -> Node | None:
    """The directory at `path` in the image; None when there is none, or nothing in it."""
    try:
        node = namespace.resolve(NOBODY, namespace.root, path, follow=True).node
        filled = node.filetype is Filetype.DIRECTORY and bool(node.entries(NOBODY))
    except GuestError:
        return None
    return node if filled else None


def _copy_tree(source: Node, volume: Path) -> None:
    """Copy everything in `source`, durably; what cannot be on the host (devices) is left out.

    The image may be a stranger's: _ImageError for more than may be or than there is room for, and
    for a directory that is in itself.
    """
    root = HostDirectory(volume).root
    assert isinstance(root, HostFolder)  # noqa: S101 - a volume is a directory
    # Folders are found anew by their paths, for each that is held costs an fd.
    pending: list[tuple[Node, tuple[bytes, ...]]] = [(source, ())]
    seen = {_inode(source)}
    entries, size, free = 0, 0, _free_bytes(volume)
    while pending:
        node, path = pending.pop()
        folder = functools.reduce(_subfolder, path, root)
        with contextlib.suppress(GuestError):
            folder.unlink(_TEMPORARY)
        listed = node.entries(NOBODY)
        entries += len(listed)
        if entries > MAX_ENTRIES:
            raise _ImageError(f"there are more than {MAX_ENTRIES}")
        for entry in listed:
            child = node.lookup(NOBODY, entry.name)
            if entry.filetype is Filetype.DIRECTORY:
                inner = (*path, entry.name)
                if _inode(child) in seen:
                    raise _ImageError("the image is damaged, a directory is in itself")
                if len(inner) > MAX_DEPTH:
                    raise _ImageError("their directories are too deep")
                seen.add(_inode(child))
                _make_subfolder(folder, entry.name, child.stat().mode)
                pending.append((child, inner))
            elif entry.filetype in _COPIED:
                # Holes count, too: in an image they cost nothing, but reading them takes time.
                size += child.stat().size
                if size > free:
                    raise _ImageError(f"they have {size} bytes or more, and {free} are free")
                copy_leaf(child, folder, entry.name, temporary=_TEMPORARY, data=True, durable=True)
        folder.sync()


def _inode(node: Node) -> tuple[int, int]:
    """Which directory it is: in an overlay, whose numbers are made up, its topmost layer's."""
    if isinstance(node, OverlayDirectory) and node.lowers:
        node = node.lowers[0]
    stat = node.stat()
    return stat.dev, stat.ino


def _free_bytes(directory: Path) -> int:
    host = os.statvfs(directory)
    return host.f_bavail * host.f_frsize


def _subfolder(folder: HostFolder, name: bytes) -> HostFolder:
    node = folder.child(name)
    if not isinstance(node, HostFolder):
        raise GuestError(Errno.ENOTDIR)
    return node


def _make_subfolder(folder: HostFolder, name: bytes, mode: int) -> None:
    try:
        folder.mkdir(name, host_mode(mode, 0o700))
    except GuestError as error:
        if error.errno is not Errno.EEXIST:
            raise
