"""The writable upper directory of an overlay on the host: its markers, its temporary names, and fds
of its directories.

Markers are AUFS's (`layer.whiteout`): `.wh.NAME` hides NAME of the layers below, `.wh..wh..opq` in
a directory hides all of them. Names that start with `.wh.` are never shown to guests.

When a name and its marker are both there, the name counts. So each change has an order in which a
crash between two steps leaves what was before or what was to be: a marker is made before its name
is removed and removed after its name was made. Names that start with `.wh..wh.tmp.` are unfinished
copies; they are removed when their directory is next read.

The overlay's lock is held in every call.
"""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from balenawasm.layer.whiteout import (
    OPAQUE_MARKER,
    RESERVED_PREFIX,
    hidden_name,
    is_reserved_name,
    marker_name,
)
from balenawasm.record import NamedTuple
from balenawasm.vfs.filesystems.hostdir import HostDirectory, HostFolder
from balenawasm.vfs.filesystems.hostfile import host_capacity, host_errors
from balenawasm.vfs.mounts import NOBODY
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from balenawasm.vfs.filesystems.quota import Quota
    from balenawasm.vfs.node import Capacity, Node

KEPT_FOLDERS = 128
"""So many directories of the upper directory are kept open."""
_KEPT_OF_A_WAY = KEPT_FOLDERS // 2
"""So many of those that one search came through: `rm -r` of a deep tree wants them next."""

TEMPORARY_PREFIX = RESERVED_PREFIX + b"tmp."


class Place(Protocol):
    """A directory in the overlay, hashable; the root has no parent."""

    @property
    def parent(self) -> Place | None:
        """The directory it is in."""
        ...

    @property
    def name(self) -> bytes:
        """What it is called there."""
        ...


class UpperNames(NamedTuple):
    """What one directory holds: names that guests see (in order), names hidden below it, and
    whether everything is.
    """

    names: dict[bytes, None]
    whiteouts: set[bytes]
    opaque: bool


class Upper:
    """The upper directory. It comes into being with the first write: `root(make=True)`."""

    def __init__(self, where: Path | Node, quota: Quota | None = None) -> None:
        self._quota = quota
        self._path = where if isinstance(where, Path) else None
        self._root = as_folder(where) if not isinstance(where, Path) else None
        self._folders: OrderedDict[Place, HostFolder] = OrderedDict()
        self._numbers = itertools.count()
        self._session = os.urandom(4).hex()
        if self._path is not None and self._path.is_dir():
            self.make()

    @property
    def present(self) -> bool:
        """Whether the directory exists."""
        return self._root is not None

    @property
    def root(self) -> HostFolder:
        """The directory itself, which is present."""
        if self._root is None:
            raise GuestError(Errno.EIO)
        return self._root

    def make(self) -> None:
        """Make the directory on the host unless it is there."""
        if self._root is None and self._path is not None:
            with host_errors:
                self._path.mkdir(parents=True, exist_ok=True)
                self._root = as_folder(HostDirectory(self._path).root)

    def folder(self, place: Place) -> HostFolder:
        """Return the directory that is at `place`, found from the nearest one above it that is
        known: deep trees are made and removed in a time linear in their depth.

        `place` finds it again until it is dropped; what is above it may be renamed meanwhile.
        """
        folder = self._folders.get(place)
        if folder is not None:
            self._folders.move_to_end(place)
            return folder
        way: list[Place] = []
        above: Place | None = place
        while above is not None and above.parent is not None and folder is None:
            way.append(above)
            above = above.parent
            folder = self._folders.get(above)
        folder = self.root if folder is None else folder
        for left in range(len(way) - 1, -1, -1):
            folder = as_folder(folder.child(way[left].name))
            if left < _KEPT_OF_A_WAY:
                self._keep(way[left], folder)
        return folder

    def _keep(self, place: Place, folder: HostFolder) -> None:
        self._folders[place] = folder
        if len(self._folders) > KEPT_FOLDERS:
            self._folders.popitem(last=False)

    def drop(self, place: Place) -> None:
        """Forget a directory that was removed."""
        self._folders.pop(place, None)

    def capacity(self) -> Capacity:
        """The host's file system that the directory is, or would be, in, as far as it may be
        filled.
        """
        found = self._host_capacity()
        return found if self._quota is None else self._quota.limited(found)

    def _host_capacity(self) -> Capacity:
        path = self._path
        if self._root is not None or path is None:
            return self.root.capacity()
        while not path.exists() and path != path.parent:
            path = path.parent
        with host_errors:
            return host_capacity(os.statvfs(path))

    def temporary_name(self) -> bytes:
        """Return a name that is not in use and that guests do not see."""
        return TEMPORARY_PREFIX + f"{self._session}.{next(self._numbers)}".encode()


def read_names(folder: HostFolder) -> UpperNames:
    """Read a directory, removing what a crash left unfinished."""
    names: dict[bytes, None] = {}
    whiteouts: set[bytes] = set()
    opaque = False
    for entry in folder.entries(NOBODY):
        name = entry.name
        if not is_reserved_name(name):
            names[name] = None
        elif name == OPAQUE_MARKER:
            opaque = True
        elif name.startswith(TEMPORARY_PREFIX):
            _remove_leftover(folder, name, entry.filetype)
        elif (hidden := hidden_name(name)) is not None:
            whiteouts.add(hidden)
    return UpperNames(names, whiteouts, opaque)


def is_opaque(folder: HostFolder) -> bool:
    """Tell whether the directory hides those below it."""
    return _exists(folder, OPAQUE_MARKER)


def put_whiteout(folder: HostFolder, name: bytes) -> None:
    """Hide `name` of the layers below; ENAMETOOLONG when the marker's name would be too long for
    the host.
    """
    _touch(folder, marker_name(name))


def remove_whiteout(folder: HostFolder, name: bytes) -> None:
    """Stop hiding `name`."""
    folder.unlink(marker_name(name))


def put_opaque(folder: HostFolder) -> None:
    """Hide everything of the layers below this directory."""
    _touch(folder, OPAQUE_MARKER)


def remove_directory(folder: HostFolder, name: bytes, temporary: bytes) -> None:
    """Remove a directory in which only markers are left, by way of a temporary name, so that it is
    gone at once.
    """
    try:
        folder.rmdir(name)
    except GuestError as error:
        if error.errno is not Errno.ENOTEMPTY:
            raise
        folder.rename(name, folder, temporary)
        _remove_leftover(folder, temporary, Filetype.DIRECTORY)


def _remove_leftover(folder: HostFolder, name: bytes, filetype: Filetype) -> None:
    if filetype is not Filetype.DIRECTORY:
        folder.unlink(name)
        return
    inner = as_folder(folder.child(name))
    for entry in inner.entries(NOBODY):
        if entry.filetype is not Filetype.DIRECTORY:
            inner.unlink(entry.name)
    folder.rmdir(name)


def _touch(folder: HostFolder, name: bytes) -> None:
    try:
        folder.create(name, 0o600)
    except GuestError as error:
        if error.errno is not Errno.EEXIST:
            raise


def _exists(folder: HostFolder, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def as_folder(node: Node) -> HostFolder:
    """Insist on a directory; what else is there was put there behind our back."""
    if not isinstance(node, HostFolder):
        raise GuestError(Errno.EIO)
    return node
