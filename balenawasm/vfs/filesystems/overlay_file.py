"""Files of an overlay that are no directories: each is in a layer until it is first changed, then
in the upper directory. And directories that are open.

A file keeps its inode number when it is copied up. A description that was opened for reading before
goes on reading the layer's data, as in Linux's overlayfs. A file with several names in a layer
loses that tie, and its number, when one name is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.vfs.directory import DirectoryDescription
from balenawasm.vfs.filesystems.copy_up import copy_leaf, needed_mode
from balenawasm.vfs.filesystems.hostdir import HostFile, HostFolder
from balenawasm.vfs.node import Caller, Capacity, Content, Node, OpenFlags, Stat
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from balenawasm.vfs.description import Description
    from balenawasm.vfs.filesystems.overlay import Overlay, OverlayDirectory


class OverlayFile(Node):
    """A regular file, link or device. `names` are those known; the lock of the overlay guards all
    fields.

    `lower` is None for a file made in the upper directory. `in_upper` never goes back to False.
    """

    def __init__(self, fs: Overlay, number: int, filetype: Filetype, *, lower: Node | None) -> None:
        self.fs = fs
        self.number = number
        self.filetype = filetype
        self.lower = lower
        self.in_upper = lower is None
        self.names: list[tuple[OverlayDirectory, bytes]] = []

    def stat(self) -> Stat:
        """See Node.stat."""
        lower = self.lower
        if lower is not None and not self.in_upper:
            return lower.stat()._replace(dev=self.fs.device, ino=self.number)
        with self.fs.lock:
            if not self.names and lower is not None:
                stat = lower.stat()._replace(nlink=0)  # removed, but open from before the copy
            else:
                folder, name = self.place()
                stat = folder.child(name).stat()
        return stat._replace(dev=self.fs.device, ino=self.number)

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """See Node.open; copies up for writing."""
        if self.filetype is Filetype.UNKNOWN:
            return self._open_fifo(caller, flags)
        lower = self.lower
        if lower is not None and not self.in_upper and not flags.write and not flags.truncate:
            description = lower.open(caller, flags)
            description.node = self
            return description
        with self.fs.lock:
            if flags.write or flags.truncate:
                self._check_regular()
                self.copy_up(data=not flags.truncate)
            return self._open_upper(caller, flags)

    def _open_fifo(self, caller: Caller, flags: OpenFlags) -> Description:
        """Open a named pipe, which may have to wait, so without the lock; EACCES for a layer's."""
        with self.fs.lock:
            if not self.in_upper:
                raise GuestError(Errno.EACCES)
            folder, name = self.place()
            pipe = folder.child(name)
        description = pipe.open(caller, flags)
        description.node = self
        return description

    def _open_upper(self, caller: Caller, flags: OpenFlags) -> Description:
        folder, name = self.place()
        if self.filetype is Filetype.REGULAR_FILE:
            return self._open_regular(HostFile(folder.fs, folder, name), flags)
        description = folder.child(name).open(caller, flags)
        description.node = self
        return description

    def _open_regular(self, file: HostFile, flags: OpenFlags) -> Description:
        quota = self.fs.quota
        if quota is not None and flags.truncate:
            quota.truncate(file, 0)
            flags = flags._replace(truncate=False)
        description = file.open_file(flags)
        description.node = self
        description.identity = (self.fs.device, self.number)
        return description if quota is None else quota.opened(description, flags)

    def readlink(self, caller: Caller) -> bytes:
        """See Node.readlink."""
        if self.lower is not None:
            return self.lower.readlink(caller)  # a target never changes
        with self.fs.lock:
            folder, name = self.place()
            return folder.child(name).readlink(caller)

    def content(self) -> Content:
        """See Node.content."""
        if self.lower is not None and not self.in_upper:
            return self.lower.content()
        with self.fs.lock:
            folder, name = self.place()
            return folder.child(name).content()

    def truncate(self, size: int) -> None:
        """See Node.truncate."""
        with self.fs.lock:
            self._check_regular()
            self.copy_up(data=size > 0)
            folder, name = self.place()
            file = HostFile(folder.fs, folder, name)
            if self.fs.quota is None:
                file.truncate(size)
            else:
                self.fs.quota.truncate(file, size)

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        """See Node.set_times."""
        with self.fs.lock:
            self.copy_up()
            folder, name = self.place()
            folder.child(name).set_times(atim, mtim)

    def set_mode(self, mode: int) -> None:
        """See Node.set_mode; the runner's own access stays."""
        with self.fs.lock:
            self._check_regular()
            self.copy_up()
            folder, name = self.place()
            folder.child(name).set_mode(needed_mode(mode, 0o600))

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """See Node.set_owner."""
        with self.fs.lock:
            self.copy_up()
            folder, name = self.place()
            folder.child(name).set_owner(uid, gid)

    def capacity(self) -> Capacity:
        """See Node.capacity."""
        return self.fs.upper.capacity()

    def copy_up(self, *, data: bool = True, durable: bool | None = None) -> None:
        """Make sure that the file is in the upper directory; ENOENT when it was removed. The lock
        is held.
        """
        if self.in_upper or self.lower is None:
            return
        if not self.names:
            raise GuestError(Errno.ENOENT)
        directory, name = self.names[0]
        directory.make_upper()
        size = self.lower.stat().size if data and self.filetype is Filetype.REGULAR_FILE else 0
        quota = self.fs.quota
        if quota is not None:
            quota.reserve(size)
        try:
            copy_leaf(
                self.lower,
                directory.folder(),
                name,
                temporary=self.fs.upper.temporary_name(),
                data=data,
                durable=self.fs.durable if durable is None else durable,
            )
        except BaseException:
            if quota is not None:
                quota.give_back(size)
            raise
        directory.note_upper(name)
        self.in_upper = True
        if self.lower.stat().nlink > 1:
            self.number = self.fs.next_number()

    def place(self) -> tuple[HostFolder, bytes]:
        """Where the upper file is; ENOENT when it was removed."""
        if not self.names:
            raise GuestError(Errno.ENOENT)
        directory, name = self.names[0]
        return directory.folder(), name

    def _check_regular(self) -> None:
        if self.filetype is Filetype.SYMBOLIC_LINK:
            raise GuestError(Errno.ELOOP)
        if self.filetype is not Filetype.REGULAR_FILE:
            raise GuestError(Errno.EACCES)


class OverlayDirectoryDescription(DirectoryDescription):
    """An open directory."""

    def __init__(self, directory: OverlayDirectory, flags: int) -> None:
        super().__init__(directory, flags)
        self._overlay = directory

    def sync(self, *, data_only: bool) -> None:
        """Make the entries durable; what is only in layers already is."""
        with self._overlay.fs.lock:
            if not self._overlay.in_upper or self._overlay.removed:
                return
            folder = self._overlay.folder()
        folder.sync()


def note_lost_name(directory: OverlayDirectory, name: bytes) -> None:
    """A file of the upper part of a directory is about to lose this name."""
    if directory.fs.quota is None:
        return
    stat = directory.folder().child(name).stat()
    if stat.filetype is Filetype.REGULAR_FILE:
        directory.fs.quota.removed(stat)
