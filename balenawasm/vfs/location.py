"""Locations: a node together with how it was reached, and the single steps of path resolution.

Limits: 255 bytes a name, 4,096 bytes a path or a link's target (Linux's NAME_MAX and PATH_MAX).
A location remembers the names it was reached by: after a rename of a directory above it, `path()`
and `..` still go the old way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.record import NamedTuple
from balenawasm.vfs.mounts import MountPoint, Placeholder
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from balenawasm.vfs.node import Caller, Node

MAX_PATH = 4096
MAX_NAME = 255

SPECIAL = frozenset((b"", b".", b".."))
"""Components that name no entry of a directory."""


class Location:
    """A node and the way to it.

    Compare with `is`, or compare the nodes; never changed after it was made.
    """

    __slots__ = ("name", "node", "parent", "point")

    def __init__(
        self, node: Node, parent: Location | None, name: bytes, point: MountPoint | None
    ) -> None:
        self.node = node
        self.parent = parent
        self.name = name
        self.point = point

    def names(self) -> list[bytes]:
        """The components from the namespace's root to here."""
        names: list[bytes] = []
        here = self
        while here.parent is not None:
            names.append(here.name)
            here = here.parent
        names.reverse()
        return names

    def path(self) -> bytes:
        """The absolute path in the guest's tree."""
        return b"/" + b"/".join(self.names())


class Parent(NamedTuple):
    """The directory that a path's last component is, or will be, in.

    `name` is special when it is empty (the path was the root), `.` or `..`; `must_be_directory`
    says that slashes followed.
    """

    location: Location
    name: bytes
    must_be_directory: bool

    @property
    def special(self) -> bool:
        """No name that could be created or removed."""
        return self.name in SPECIAL

    @property
    def mounted(self) -> bool:
        """The name is a mount point or leads to one: it exists and may be neither moved nor
        removed.
        """
        point = self.location.point
        return point is not None and self.name in point.children


def components(path: bytes) -> list[bytes]:
    """Check a path and split it at its slashes; a leading or trailing slash gives an empty name."""
    if not path:
        raise GuestError(Errno.ENOENT)
    if b"\0" in path:
        raise GuestError(Errno.EINVAL)
    names = path.split(b"/")
    if len(path) > MAX_NAME and (len(path) > MAX_PATH or max(map(len, names)) > MAX_NAME):
        raise GuestError(Errno.ENAMETOOLONG)
    return names


def stay_or_climb(here: Location, name: bytes, floor: Location | None) -> Location:
    """Take a step of ``, `.` or `..`."""
    if here.node.filetype is not Filetype.DIRECTORY:
        raise GuestError(Errno.ENOTDIR)
    if name != b"..":
        return here
    if here is floor:
        raise GuestError(Errno.EPERM)
    return here.parent or here


def cross(
    caller: Caller, here: Location, point: MountPoint, name: bytes
) -> tuple[Node, MountPoint | None]:
    """Look a name up where mount points may be below."""
    below = point.children.get(name)
    if below is None:
        return here.node.lookup(caller, name), None
    mounted = below.mounted()
    if mounted is not None:
        return mounted, below
    try:
        return here.node.lookup(caller, name), below
    except GuestError as error:
        if error.errno is not Errno.ENOENT:
            raise
    return Placeholder(here.node, name, below.number), below


def landing(jumped: Node | Location, here: Location, name: bytes) -> Location:
    """Where a link called `name` in `here` that jumps leads to."""
    if isinstance(jumped, Location):
        return jumped
    return Location(jumped, here, name, None)
