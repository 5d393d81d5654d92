"""The root file system of a container: read-only layers, top first, under a writable directory of
the host.

Semantics are those of Linux's overlayfs: a layer's whiteout (character device 0:0) hides a name of
the layers below it, an opaque directory hides everything below, and what is changed is copied up
first. The upper directory uses markers instead (`vfs.filesystems.upper`). Directories of layers can
be renamed, which copies them up whole, within the bounds of `copy_up` (EXDEV beyond, as overlayfs
answers always).

The merged tree is kept in memory as guests discover it: a second lookup is one dictionary access.
This holds because nobody else changes the layers or the upper directory while the overlay lives.

Invariants: a node in `children` is what its name shows; a directory's `lowers` are exactly the
layers' directories that show through it; inode numbers are given once for a file and live as long
as the overlay. Locks: one for the whole overlay, taken for everything but a lookup of a known name
and data of open files; taken before the host directory's.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from typing import TYPE_CHECKING

from balenawasm.layer.whiteout import is_reserved_name
from balenawasm.vfs.directory import open_directory
from balenawasm.vfs.filesystems import upper as upper_files
from balenawasm.vfs.filesystems.anonymous import new_device
from balenawasm.vfs.filesystems.copy_up import host_mode, needed_mode
from balenawasm.vfs.filesystems.lowers import child_of, showing, shown_by
from balenawasm.vfs.filesystems.overlay_file import (
    OverlayDirectoryDescription,
    OverlayFile,
    note_lost_name,
)
from balenawasm.vfs.filesystems.overlay_rename import rename
from balenawasm.vfs.filesystems.upper import Upper, UpperNames
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import Caller, Capacity, DirEntry, Node, OpenFlags, Stat
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from balenawasm.vfs.description import Description
    from balenawasm.vfs.filesystems.hostdir import HostFolder
    from balenawasm.vfs.filesystems.quota import Quota

_NO_NAMES = UpperNames({}, set(), opaque=False)


class Overlay:
    """A merged tree with its `root`.

    `lowers` are the layers' root directories, top first. `upper` is made with the first write when
    it is a path that does not exist. `durable`: copies are synced before they replace a layer's
    file, so that a power cut loses nothing; builds do without. `quota` bounds the upper directory.
    """

    def __init__(
        self,
        lowers: Sequence[Node],
        upper: Path | Node,
        *,
        durable: bool = True,
        quota: Quota | None = None,
    ) -> None:
        self.device = new_device()
        self.durable = durable
        self.quota = quota
        self.lock = threading.RLock()
        self.upper = Upper(upper, quota)
        self._numbers = itertools.count(1)
        self._shared_numbers: dict[tuple[int, int], int] = {}
        self._shared_files: weakref.WeakValueDictionary[tuple[int, int], OverlayFile] = (
            weakref.WeakValueDictionary()
        )
        present = self.upper.present
        if present and upper_files.is_opaque(self.upper.root):
            lowers = ()
        self.root: Node = OverlayDirectory(self, None, b"", showing(lowers), in_upper=present)

    def next_number(self) -> int:
        """Return an inode number never used before here."""
        return next(self._numbers)

    def lower_file(self, lower: Node) -> OverlayFile:
        """Make the node of a layer's file; names of one inode get one number."""
        stat = lower.stat()
        number = self.next_number()
        if stat.nlink > 1:
            number = self._shared_numbers.setdefault((stat.dev, stat.ino), number)
        return OverlayFile(self, number, lower.filetype, lower=lower)

    def upper_file(self, host: Node) -> OverlayFile:
        """Return the node of a file in the upper directory: the same one for all its names."""
        stat = host.stat()
        file = self._shared_files.get((stat.dev, stat.ino)) if stat.nlink > 1 else None
        if file is None or not file.names:
            file = OverlayFile(self, self.next_number(), host.filetype, lower=None)
            if stat.nlink > 1:
                self._shared_files[stat.dev, stat.ino] = file
        return file


class OverlayDirectory(Node):
    """A directory: its part in the upper directory, when it has one, over those in the layers."""

    filetype = Filetype.DIRECTORY

    def __init__(
        self,
        fs: Overlay,
        parent: OverlayDirectory | None,
        name: bytes,
        lowers: tuple[Node, ...],
        *,
        in_upper: bool,
    ) -> None:
        self.fs = fs
        self.parent = parent
        self.name = name
        self.lowers = lowers
        self.in_upper = in_upper
        self.number = fs.next_number()
        self.removed = False
        self.children: dict[bytes, OverlayDirectory | OverlayFile] = {}
        self._names: UpperNames | None = None if in_upper else _NO_NAMES
        self._made = time.time_ns()

    # What guests ask.

    def stat(self) -> Stat:
        """See Node.stat; a directory has one link, as in overlayfs: nobody counts."""
        with self.fs.lock:
            if self.in_upper and not self.removed:
                stat = self.folder().stat()
            elif self.lowers:
                stat = self.lowers[0].stat()
            else:
                now = self._made
                stat = Stat(0, 0, self.filetype, 1, 0, now, now, now, 0o755)
            nlink = 0 if self.removed else 1
        return stat._replace(dev=self.fs.device, ino=self.number, nlink=nlink)

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """See Node.open."""
        if flags.write or flags.truncate:
            return open_directory(self, flags)
        return OverlayDirectoryDescription(self, flags.fdflags)

    def lookup(self, caller: Caller, name: bytes) -> Node:
        """See Node.lookup."""
        node = self.children.get(name)
        if node is None:
            with self.fs.lock:
                node = self.find(name)
            if node is None:
                raise GuestError(Errno.ENOENT)
        return node

    def entries(self, caller: Caller) -> list[DirEntry]:
        """See Node.entries: those of the upper directory first."""
        with self.fs.lock:
            return [
                DirEntry(name, node.number, node.filetype)
                for name in self._all_names()
                if (node := self.find(name)) is not None
            ]

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        """See Node.set_times."""
        with self.fs.lock:
            self.check_alive()
            self.make_upper()
            self.folder().set_times(atim, mtim)

    def set_mode(self, mode: int) -> None:
        """See Node.set_mode; the runner's own access stays."""
        with self.fs.lock:
            self.check_alive()
            self.make_upper()
            self.folder().set_mode(needed_mode(mode, 0o700))

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """See Node.set_owner."""
        with self.fs.lock:
            self.check_alive()
            self.make_upper()
            self.folder().set_owner(uid, gid)

    def capacity(self) -> Capacity:
        """See Node.capacity."""
        return self.fs.upper.capacity()

    def create(self, name: bytes, mode: int = 0o644) -> Node:
        """See Node.create; EINVAL for a name like a marker's."""
        with self.fs.lock:
            self._prepare_new(name)
            self.folder().create(name, host_mode(mode, 0o600))
            return self._add_file(name, Filetype.REGULAR_FILE)

    def symlink(self, name: bytes, target: bytes) -> Node:
        """See Node.symlink; EINVAL for a name like a marker's."""
        with self.fs.lock:
            self._prepare_new(name)
            self.folder().symlink(name, target)
            return self._add_file(name, Filetype.SYMBOLIC_LINK)

    def mkfifo(self, name: bytes, mode: int = 0o644) -> Node:
        """See Node.mkfifo; EINVAL for a name like a marker's."""
        with self.fs.lock:
            self._prepare_new(name)
            self.folder().mkfifo(name, host_mode(mode, 0o600))
            return self._add_file(name, Filetype.UNKNOWN)

    def mksocket(self, name: bytes, mode: int = 0o755) -> Node:
        """See Node.mksocket; EINVAL for a name like a marker's."""
        with self.fs.lock:
            self._prepare_new(name)
            self.folder().mksocket(name, mode)
            return self._add_file(name, Filetype.SOCKET_STREAM)

    def mkdir(self, name: bytes, mode: int = 0o755) -> Node:
        """See Node.mkdir; EINVAL for a name like a marker's."""
        with self.fs.lock:
            self._prepare_new(name)
            folder = self.folder()
            if name in self.upper_names().whiteouts:
                # It must not show what the whiteout hid: opaque before it has its name.
                temporary = self.fs.upper.temporary_name()
                made = upper_files.as_folder(folder.mkdir(temporary, host_mode(mode, 0o700)))
                upper_files.put_opaque(made)
                folder.rename(temporary, folder, name)
            else:
                folder.mkdir(name, host_mode(mode, 0o700))
            self.note_upper(name)
            node = OverlayDirectory(self.fs, self, name, (), in_upper=True)
            self.children[name] = node
            return node

    def link(self, name: bytes, node: Node) -> None:
        """See Node.link."""
        if isinstance(node, OverlayDirectory):
            raise GuestError(Errno.EPERM)
        if not isinstance(node, OverlayFile) or node.fs is not self.fs:
            raise GuestError(Errno.EXDEV)
        with self.fs.lock:
            self._prepare_new(name)
            node.copy_up()
            folder, old = node.place()
            self.folder().link(name, folder.child(old))
            self.note_upper(name)
            node.names.append((self, name))
            self.children[name] = node

    def unlink(self, name: bytes) -> None:
        """See Node.unlink."""
        with self.fs.lock:
            node = self.find(name)
            if node is None:
                raise GuestError(Errno.ENOENT)
            if isinstance(node, OverlayDirectory):
                raise GuestError(Errno.EISDIR)
            self.hide_below(name)
            if name in self.upper_names().names:
                note_lost_name(self, name)
                self.folder().unlink(name)
                self.forget_upper(name)
            node.names.remove((self, name))
            del self.children[name]

    def rmdir(self, name: bytes) -> None:
        """See Node.rmdir."""
        with self.fs.lock:
            node = self.find(name)
            if node is None:
                raise GuestError(Errno.ENOENT)
            if not isinstance(node, OverlayDirectory):
                raise GuestError(Errno.ENOTDIR)
            if not node.empty():
                raise GuestError(Errno.ENOTEMPTY)
            self.hide_below(name)
            self.remove_folder(name)

    def rename(self, name: bytes, directory: Node, new_name: bytes) -> None:
        """See Node.rename; EXDEV also for a directory too large to copy up, EINVAL for a name like
        a marker's.
        """
        if not isinstance(directory, OverlayDirectory) or directory.fs is not self.fs:
            raise GuestError(Errno.EXDEV)
        with self.fs.lock:
            rename(self, name, directory, new_name)

    # What the parts of the overlay ask each other; the lock is held.

    def find(self, name: bytes) -> OverlayDirectory | OverlayFile | None:
        """Return what `name` shows, or None."""
        node = self.children.get(name)
        if node is None and not is_reserved_name(name) and not self.removed:
            node = self._discover(name)
            if node is not None:
                self.children[name] = node
        return node

    def folder(self) -> HostFolder:
        """The directory's part in the upper directory, which it has."""
        return self.fs.upper.folder(self)

    def upper_names(self) -> UpperNames:
        """What the upper part holds."""
        if self._names is None:
            self._names = upper_files.read_names(self.folder())
        return self._names

    def note_upper(self, name: bytes) -> None:
        """Note that `name` is in the upper part now, so that a whiteout of it is out of date."""
        names = self.upper_names()
        if self.fs.quota is not None and name not in names.names:
            self.fs.quota.add_name()
        names.names[name] = None
        if name in names.whiteouts:
            upper_files.remove_whiteout(self.folder(), name)
            names.whiteouts.discard(name)

    def forget_upper(self, name: bytes) -> None:
        """Note that `name` is not in the upper part any more."""
        if name in self.upper_names().names:
            del self.upper_names().names[name]
            if self.fs.quota is not None:
                self.fs.quota.remove_name()

    def make_upper(self) -> None:
        """Make it, and what it is in, in the upper directory, with the layers' modes and times."""
        missing: list[OverlayDirectory] = []
        here: OverlayDirectory | None = self
        while here is not None and not here.in_upper:
            missing.append(here)
            here = here.parent
        if here is not None:
            here.upper_names()
        for directory in reversed(missing):
            directory._make_folder()
            directory.upper_names()  # known before something is made in it, which a quota counts
        for directory in missing:  # innermost first: making one changes the times of the next
            if directory.lowers:
                stat = directory.lowers[0].stat()
                directory.folder().set_times(stat.atim, stat.mtim)

    def _make_folder(self) -> None:
        if self.parent is None:
            self.fs.upper.make()
        else:
            before = self.parent.folder().stat()
            mode = host_mode(self.lowers[0].stat().mode if self.lowers else 0o755, 0o700)
            # The host's umask is no business of a layer's directory.
            self.parent.folder().mkdir(self.name, mode).set_mode(mode)
            self.parent.note_upper(self.name)
            self.parent.folder().set_times(before.atim, before.mtim)
        self.in_upper = True
        self._names = UpperNames({}, set(), opaque=False)
        if self.parent is None:
            self._names = None  # the directory may have been there, and not empty

    def below(self, name: bytes) -> bool:
        """Tell whether a layer shows something of this name here."""
        return shown_by(self.lowers, name) is not None

    def hide_below(self, name: bytes) -> bool:
        """Make a whiteout if a layer shows something of this name; tells whether it made one."""
        if not self.below(name):
            return False
        self.make_upper()
        names = self.upper_names()
        if name in names.whiteouts:
            return False
        upper_files.put_whiteout(self.folder(), name)
        names.whiteouts.add(name)
        return True

    def unhide_below(self, name: bytes) -> None:
        """Take back what hide_below did."""
        upper_files.remove_whiteout(self.folder(), name)
        self.upper_names().whiteouts.discard(name)

    def empty(self) -> bool:
        """Tell whether it shows nothing."""
        return not self.nodes()

    def remove_folder(self, name: bytes) -> None:
        """Remove an empty directory from the tree and from the upper directory."""
        node = self.children[name]
        if isinstance(node, OverlayDirectory):
            if node.in_upper:
                upper_files.remove_directory(self.folder(), name, self.fs.upper.temporary_name())
                self.forget_upper(name)
            node.note_removed()
        del self.children[name]

    def note_removed(self) -> None:
        """Note that nothing can be made in it any more."""
        self.removed = True
        self.fs.upper.drop(self)

    def has_markers(self) -> bool:
        """Tell whether the upper part of an empty directory is not empty on the host."""
        return self.in_upper and not self.removed and bool(self.folder().entries(NOBODY))

    def nodes(self) -> list[OverlayDirectory | OverlayFile]:
        """Everything in it."""
        found = (self.find(name) for name in self._all_names())
        return [node for node in found if node is not None]

    def cut_off(self) -> None:
        """Show nothing of the layers any more: everything was copied up."""
        self.lowers = ()

    def is_or_is_below(self, other: OverlayDirectory) -> bool:
        """Tell whether it is `other` or somewhere in it."""
        here: OverlayDirectory | None = self
        while here is not None and here is not other:
            here = here.parent
        return here is not None

    def check_new_name(self, name: bytes) -> None:
        """EINVAL for a name that the upper directory would take for a marker; ENOENT as
        check_alive.
        """
        if is_reserved_name(name):
            raise GuestError(Errno.EINVAL)
        self.check_alive()

    def check_alive(self) -> None:
        """ENOENT when the directory was removed while somebody was in it."""
        if self.removed:
            raise GuestError(Errno.ENOENT)

    def _all_names(self) -> list[bytes]:
        """Every name that might show something, once."""
        upper = self.upper_names()
        names = dict(upper.names)
        for lower in self.lowers:
            for entry in lower.entries(NOBODY):
                if entry.name not in upper.whiteouts:
                    names[entry.name] = None
        return list(names)

    def _prepare_new(self, name: bytes) -> None:
        """Make ready for a new name: EINVAL, ENOENT, EEXIST."""
        self.check_new_name(name)
        if self.find(name) is not None:
            raise GuestError(Errno.EEXIST)
        if self.fs.quota is not None:
            self.fs.quota.check_name()
        self.make_upper()

    def _add_file(self, name: bytes, filetype: Filetype) -> OverlayFile:
        self.note_upper(name)
        file = OverlayFile(self.fs, self.fs.next_number(), filetype, lower=None)
        file.names.append((self, name))
        self.children[name] = file
        return file

    def _discover(self, name: bytes) -> OverlayDirectory | OverlayFile | None:
        """Look in the upper directory, then in the layers."""
        names = self.upper_names()
        hidden = name in names.whiteouts
        if name in names.names:
            host = self.folder().child(name)
            if host.filetype is Filetype.DIRECTORY:
                opaque = hidden or upper_files.is_opaque(upper_files.as_folder(host))
                lowers = () if opaque else self._lower_directories(name)
                return OverlayDirectory(self.fs, self, name, lowers, in_upper=True)
            file = self.fs.upper_file(host)
        elif hidden:
            return None
        else:
            lowers = self._lower_directories(name)
            if lowers:
                return OverlayDirectory(self.fs, self, name, lowers, in_upper=False)
            lower = shown_by(self.lowers, name)
            if lower is None:
                return None
            file = self.fs.lower_file(lower)
        file.names.append((self, name))
        return file

    def _lower_directories(self, name: bytes) -> tuple[Node, ...]:
        """The layers' directories that show through `name`, down to the first thing that hides the
        rest.
        """
        found = (child_of(lower, name) for lower in self.lowers)
        return showing([node for node in found if node is not None])
