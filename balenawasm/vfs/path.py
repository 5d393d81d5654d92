"""Path resolution and everything a path can be asked to do: the one place where names become nodes.

Follows path_resolution(7) and the WASI preview 1 rule that a path may not leave the directory it
starts from (`beneath`). A *location* is a node together with how it was reached, which is what `..`
and the working directory need: nodes have no parents, for a file may have many names.

Limits: 40 symbolic links; those of names and paths are in `vfs.location`.
Invariants: a host path never appears here; a link's target resolves inside the guest's tree; every
name given to a node is one component, not empty, not `.` or `..`, without `/` and NUL.
Locks: none here; mounts do not change while guests run, and each file system guards itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.vfs.directory import DirectoryDescription
from balenawasm.vfs.location import (
    SPECIAL,
    Location,
    Parent,
    components,
    cross,
    landing,
    stay_or_climb,
)
from balenawasm.vfs.mounts import NOBODY, Mount, MountPoint, Placeholder
from balenawasm.vfs.node import DirEntry
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import O_CREAT, O_DIRECTORY, O_EXCL, O_TRUNC, Filetype

if TYPE_CHECKING:
    from balenawasm.vfs.description import Description
    from balenawasm.vfs.mounts import Automount
    from balenawasm.vfs.node import Caller, Node, OpenFlags, Stat

MAX_LINKS = 40

_DIRECTORY = Filetype.DIRECTORY
_LINK = Filetype.SYMBOLIC_LINK
_SLASH = 0x2F

__all__ = ["MAX_LINKS", "Location", "Namespace", "Parent"]


class Namespace:
    """A root directory and what is mounted below it; shared by all processes of a container."""

    def __init__(self, root: Node, *, source: bytes = b"overlay", kind: bytes = b"overlay") -> None:
        self._mounts = [Mount(b"/", root, source, kind, b"rw")]
        self.root = Location(root, None, b"", MountPoint())

    # Mounts.

    def mount(
        self,
        path: bytes,
        node: Node | Automount,
        *,
        source: bytes = b"none",
        kind: bytes = b"none",
        options: bytes = b"rw",
    ) -> None:
        """Put `node`, a directory or any other file, at an absolute path; before the first process
        starts.

        Links on the way are followed as a guest would; directories that are missing are shown as
        empty ones and made when a guest first creates something in them. A second mount at a place
        hides the first. An Automount is made by the first walk that arrives there. `source`, `kind`
        and `options` are for /proc/mounts. GuestError: EINVAL (relative, the root, `..` behind a
        missing name), ENOTDIR, ELOOP.
        """
        names = components(path)
        if path[0] != _SLASH:
            raise GuestError(Errno.EINVAL)
        here = self.root
        missing: list[bytes] = []
        for name in names:
            if name in (b"", b"."):
                continue
            found = None if missing else self._step(here, name)
            if found is not None:
                here = found
            elif name == b"..":
                raise GuestError(Errno.EINVAL)
            else:
                missing.append(name)
        if missing and here.node.filetype is not _DIRECTORY:
            raise GuestError(Errno.ENOTDIR)
        place = here.names() + missing
        point = self.root.point
        if not place or point is None:
            raise GuestError(Errno.EINVAL)
        point.reach(place).node = node
        self._mounts.append(Mount(b"/" + b"/".join(place), node, source, kind, options))

    def mounts(self) -> list[Mount]:
        """Everything mounted, the root first, in the order of mounting."""
        return list(self._mounts)

    def _step(self, here: Location, name: bytes) -> Location | None:
        try:
            return self._walk(NOBODY, here, [name], follow=True, floor=None)
        except GuestError as error:
            if error.errno is Errno.ENOENT:
                return None
            raise

    # Resolution.

    def resolve(
        self,
        caller: Caller,
        start: Location,
        path: bytes,
        *,
        follow: bool,
        beneath: bool = False,
    ) -> Location:
        """Find what `path` names, from `start` or, when it is absolute, from the root.

        `follow`: a link in last place is followed too (one with a slash behind always is).
        `beneath`: EPERM for an absolute path and for a `..` of `path` itself at `start`; targets of
        links may lead anywhere in the tree. GuestError: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG,
        EINVAL (NUL), EPERM and what the file systems answer.
        """
        names = components(path)
        if path[0] == _SLASH:
            if beneath:
                raise GuestError(Errno.EPERM)
            start = self.root
        return self._walk(caller, start, names, follow=follow, floor=start if beneath else None)

    def resolve_parent(
        self, caller: Caller, start: Location, path: bytes, *, beneath: bool = False
    ) -> Parent:
        """Find the directory of the last component, which need not exist and is not looked up.

        Errors as in resolve.
        """
        names = components(path)
        if path[0] == _SLASH:
            if beneath:
                raise GuestError(Errno.EPERM)
            start = self.root
        floor = start if beneath else None
        must_be_directory = not names[-1]
        while names and not names[-1]:
            names.pop()
        if not names:
            return Parent(self.root, b"", must_be_directory)
        name = names[-1]
        names[-1] = b""  # as with a slash behind: a directory, reached through links too
        location = self._walk(caller, start, names, follow=True, floor=floor)
        if name == b".." and location is floor:
            raise GuestError(Errno.EPERM)
        return Parent(location, name, must_be_directory)

    def _walk(
        self,
        caller: Caller,
        here: Location,
        names: list[bytes],
        *,
        follow: bool,
        floor: Location | None,
    ) -> Location:
        """Take the names one by one. Hot: about 0.4 µs a name.

        A link replaces the names up to it by those of its target and starts over; `own` is where
        the names begin that the guest wrote, to which alone the floor applies.
        """
        links = own = 0
        while True:
            last = len(names) - 1
            for index, name in enumerate(names):
                if name in SPECIAL:
                    here = stay_or_climb(here, name, floor if index >= own else None)
                    continue
                point = here.point
                if point is None:
                    node = here.node.lookup(caller, name)
                else:
                    node, point = cross(caller, here, point, name)
                if node.filetype is _LINK and (index < last or follow):
                    break
                here = Location(node, here, name, point)
            else:
                return here
            links += 1
            if links > MAX_LINKS:
                raise GuestError(Errno.ELOOP)
            rest = names[index + 1 :]
            jumped = node.jump(caller)
            if jumped is not None:
                here = landing(jumped, here, name)
                if not rest:
                    return here
                names = rest
                own = max(0, own - index - 1)
                continue
            here, target = self._target(caller, here, node)
            names = target + rest
            own = len(target) + max(0, own - index - 1)

    def _target(self, caller: Caller, here: Location, link: Node) -> tuple[Location, list[bytes]]:
        """Return where a link's target starts from and its names."""
        target = link.readlink(caller)
        names = components(target)
        return (self.root if target[0] == _SLASH else here), names

    def _find(self, caller: Caller, location: Location, name: bytes) -> Location | None:
        """The child called `name`, or None; links are not followed."""
        try:
            return self._walk(caller, location, [name], follow=False, floor=None)
        except GuestError as error:
            if error.errno is Errno.ENOENT:
                return None
            raise

    # Open and list.

    def open(
        self,
        caller: Caller,
        start: Location,
        path: bytes,
        *,
        oflags: int,
        flags: OpenFlags,
        follow: bool,
        beneath: bool = False,
        mode: int = 0o644,
    ) -> tuple[Location, Description]:
        """Open, and with O_CREAT make, a file as Linux does; `follow` False is O_NOFOLLOW. `mode`
        is a new file's.

        GuestError as in resolve, and ELOOP (link in last place, not followed), EISDIR (directory
        for writing or with O_CREAT), ENOTDIR (O_DIRECTORY, or a slash behind a file), EEXIST
        (O_EXCL), EINVAL (O_CREAT with O_DIRECTORY), EROFS, ENOSPC.
        """
        if oflags & O_TRUNC and not flags.truncate:
            flags = flags._replace(truncate=True)
        if oflags & O_CREAT:
            location = self._find_or_create(
                caller, start, path, oflags, follow=follow, beneath=beneath, mode=mode
            )
        else:
            location = self.resolve(caller, start, path, follow=follow, beneath=beneath)
        node = location.node
        filetype = node.filetype
        if filetype is not _DIRECTORY and oflags & O_DIRECTORY:
            raise GuestError(Errno.ENOTDIR)
        if filetype is _LINK:
            raise GuestError(Errno.ELOOP)
        description = node.open(caller, flags)
        if filetype is _DIRECTORY and isinstance(description, DirectoryDescription):
            parent = location.parent or location
            description.bind(parent.node, lambda caller: self.children(caller, location))
        return location, description

    def _find_or_create(
        self,
        caller: Caller,
        start: Location,
        path: bytes,
        oflags: int,
        *,
        follow: bool,
        beneath: bool,
        mode: int,
    ) -> Location:
        """The last component of an open with O_CREAT, through dangling links too."""
        if oflags & O_DIRECTORY:
            raise GuestError(Errno.EINVAL)
        exclusive = bool(oflags & O_EXCL)
        for _ in range(MAX_LINKS + 1):
            parent = self.resolve_parent(caller, start, path, beneath=beneath)
            if parent.special or parent.must_be_directory:
                raise GuestError(Errno.EEXIST if exclusive and parent.special else Errno.EISDIR)
            found = self._find(caller, parent.location, parent.name)
            if found is None:
                created = self._create(parent, mode, exclusive=exclusive)
                if created is not None:
                    return created
                continue  # another thread was faster: look again
            if exclusive:
                raise GuestError(Errno.EEXIST)
            if found.node.filetype is _LINK and follow:
                jumped = found.node.jump(caller)
                if jumped is not None:
                    return landing(jumped, parent.location, parent.name)
                # From here on it is the link's path, which may leave the start.
                start, path, beneath = parent.location, found.node.readlink(caller), False
                continue
            if found.node.filetype is _DIRECTORY:
                raise GuestError(Errno.EISDIR)
            return found
        raise GuestError(Errno.ELOOP)

    def _create(self, parent: Parent, mode: int, *, exclusive: bool) -> Location | None:
        try:
            node = parent.location.node.create(parent.name, mode)
        except GuestError as error:
            if error.errno is Errno.EEXIST and not exclusive:
                return None
            raise
        return Location(node, parent.location, parent.name, None)

    def children(self, caller: Caller, location: Location) -> list[DirEntry]:
        """A directory's entries, with the mount points in it, without `.` and `..`; mount points
        come last.
        """
        entries = location.node.entries(caller)
        point = location.point
        if point is None or not point.children:
            return entries
        entries = [entry for entry in entries if entry.name not in point.children]
        for name in list(point.children):
            node, _ = cross(caller, location, point, name)
            entries.append(DirEntry(name, node.stat().ino, node.filetype))
        return entries

    # What system calls do with a path besides opening it.

    def stat(
        self, caller: Caller, start: Location, path: bytes, *, follow: bool, beneath: bool = False
    ) -> Stat:
        """Answer as `stat` does, or as l`stat` without `follow`."""
        return self.resolve(caller, start, path, follow=follow, beneath=beneath).node.stat()

    def set_times(
        self,
        caller: Caller,
        start: Location,
        path: bytes,
        atim: int | None,
        mtim: int | None,
        *,
        follow: bool,
        beneath: bool = False,
    ) -> None:
        """Do as utimensat(2) does, nanoseconds; None leaves that one."""
        location = self.resolve(caller, start, path, follow=follow, beneath=beneath)
        location.node.set_times(atim, mtim)

    def read_link(
        self, caller: Caller, start: Location, path: bytes, *, beneath: bool = False
    ) -> bytes:
        """Do as read`link` does: the whole target: EINVAL when it is no link."""
        return self.resolve(caller, start, path, follow=False, beneath=beneath).node.readlink(
            caller
        )

    def make_directory(
        self,
        caller: Caller,
        start: Location,
        path: bytes,
        *,
        mode: int = 0o755,
        beneath: bool = False,
    ) -> None:
        """Do as mkdir(2) does."""
        parent = self.resolve_parent(caller, start, path, beneath=beneath)
        if parent.special or parent.mounted:
            raise GuestError(Errno.EEXIST)
        try:
            parent.location.node.mkdir(parent.name, mode)
        except GuestError as error:
            self._report_existing(caller, parent, error)
            raise

    def symlink(
        self, caller: Caller, target: bytes, start: Location, path: bytes, *, beneath: bool = False
    ) -> None:
        """Do as `symlink` does: ENOENT for an empty target, EINVAL for NUL in it; the target need
        not exist.
        """
        components(target)
        parent = self.resolve_parent(caller, start, path, beneath=beneath)
        self._check_free(caller, parent)
        try:
            parent.location.node.symlink(parent.name, target)
        except GuestError as error:
            self._report_existing(caller, parent, error)
            raise

    def make_fifo(
        self, caller: Caller, start: Location, path: bytes, *, mode: int, beneath: bool = False
    ) -> None:
        """Do as mkfifo(3) does."""
        parent = self.resolve_parent(caller, start, path, beneath=beneath)
        self._check_free(caller, parent)
        try:
            parent.location.node.mkfifo(parent.name, mode)
        except GuestError as error:
            self._report_existing(caller, parent, error)
            raise

    def link(
        self,
        caller: Caller,
        start: Location,
        path: bytes,
        new_start: Location,
        new_path: bytes,
        *,
        follow: bool = False,
        beneath: bool = False,
    ) -> None:
        """Do as `link` does: without `follow` a link in last place gets a second name itself.

        EPERM for a directory, EXDEV.
        """
        source = self.resolve(caller, start, path, follow=follow, beneath=beneath)
        parent = self.resolve_parent(caller, new_start, new_path, beneath=beneath)
        self._check_free(caller, parent)
        if source.node.filetype is _DIRECTORY:
            taken = self._find(caller, parent.location, parent.name) is not None
            raise GuestError(Errno.EEXIST if taken else Errno.EPERM)
        parent.location.node.link(parent.name, source.node)

    def unlink(
        self, caller: Caller, start: Location, path: bytes, *, beneath: bool = False
    ) -> None:
        """Do as `unlink` does: EISDIR for a directory, ENOTDIR for a file with a slash behind,
        EBUSY for a mount point.
        """
        parent = self.resolve_parent(caller, start, path, beneath=beneath)
        if parent.special:
            raise GuestError(Errno.EISDIR)
        if parent.mounted or parent.must_be_directory:
            found = self._find(caller, parent.location, parent.name)
            if found is None:
                raise GuestError(Errno.ENOENT)
            if found.node.filetype is _DIRECTORY:
                raise GuestError(Errno.EISDIR)
            raise GuestError(Errno.EBUSY if parent.mounted else Errno.ENOTDIR)
        parent.location.node.unlink(parent.name)

    def remove_directory(
        self, caller: Caller, start: Location, path: bytes, *, beneath: bool = False
    ) -> None:
        """Do as rmdir(2) does: EINVAL for `.`, ENOTEMPTY for `..`, EBUSY for the root, a mount
        point and what leads to one.
        """
        parent = self.resolve_parent(caller, start, path, beneath=beneath)
        if parent.special:
            refusals = {b".": Errno.EINVAL, b"..": Errno.ENOTEMPTY, b"": Errno.EBUSY}
            raise GuestError(refusals[parent.name])
        if parent.mounted:
            raise GuestError(Errno.EBUSY)
        parent.location.node.rmdir(parent.name)

    def rename(
        self,
        caller: Caller,
        start: Location,
        path: bytes,
        new_start: Location,
        new_path: bytes,
        *,
        beneath: bool = False,
    ) -> None:
        """Do as `rename` does: EBUSY for mount points and what leads to one, EXDEV between file
        systems, ENOTDIR for a slash behind a file.
        """
        old = self.resolve_parent(caller, start, path, beneath=beneath)
        new = self.resolve_parent(caller, new_start, new_path, beneath=beneath)
        if old.special or new.special or old.mounted or new.mounted:
            raise GuestError(Errno.EBUSY)
        if old.must_be_directory or new.must_be_directory:
            source = self._find(caller, old.location, old.name)
            if source is None:
                raise GuestError(Errno.ENOENT)
            if source.node.filetype is not _DIRECTORY:
                raise GuestError(Errno.ENOTDIR)
        directory = new.location.node
        if isinstance(directory, Placeholder):
            directory = directory.come_true()
        old.location.node.rename(old.name, directory, new.name)

    def _check_free(self, caller: Caller, parent: Parent) -> None:
        """Refuse a name for a new link that is special, mounted, or has a slash behind."""
        if parent.special or parent.mounted:
            raise GuestError(Errno.EEXIST)
        if parent.must_be_directory:
            found = self._find(caller, parent.location, parent.name)
            raise GuestError(Errno.ENOENT if found is None else Errno.EEXIST)

    def _report_existing(self, caller: Caller, parent: Parent, error: GuestError) -> None:
        """On a read-only file system too an existing name is EEXIST, as `mkdir -p` expects."""
        if error.errno is Errno.EROFS and self._find(caller, parent.location, parent.name):
            raise GuestError(Errno.EEXIST) from None
