"""A directory of the host as a file system, or one file of it: volumes, binds and an overlay's
upper directory.

A guest's path never reaches the host: every step is one system call on one name relative to a
directory fd, and never follows a link. Links are nodes; the namespace resolves their targets in the
guest's tree. Sockets and devices are seen but cannot be opened (EACCES), except a device that was
granted as the one file.

A directory node holds an O_PATH fd, so it stays the same directory whatever the host renames. Other
nodes are a directory and a name, looked at anew each time: the host may change them, and every open
checks what it got. Times, sizes, links and locks are the host's. Ownership and permissions are the
host's for this process.

Locks: one for the small cache of directory nodes; nothing else is kept.
"""

from __future__ import annotations

import contextlib
import os
import stat as stat_mode
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

from balenawasm.vfs.directory import DirectoryDescription
from balenawasm.vfs.filesystems.hostfile import (
    HostDescription,
    HostDevice,
    host_capacity,
    host_errors,
    host_stat,
    kept_mode,
    set_times_of_fd,
    truncate_fd,
)
from balenawasm.vfs.node import (
    FILETYPE_OF_MODE,
    MAX_CONTENT,
    Caller,
    Capacity,
    Content,
    DirEntry,
    Node,
    OpenFlags,
    Stat,
)
from balenawasm.wasi.errno import Errno, GuestError, from_oserror
from balenawasm.wasi.flags import APPEND, DSYNC, SYNC, Filetype

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from balenawasm.vfs.description import Description

KEPT_DIRECTORIES = 64
"""So many directory fds are kept open for the next lookup."""

_DIRECTORY_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_UMASK = os.umask(0o077)
"""What the host takes from the mode of a new file."""
os.umask(_UMASK)
"""O_NONBLOCK: should a FIFO appear between the look and the open, the open must not hang."""


class HostDirectory:
    """What the host has at `path`, a directory or another file, as `root`.

    Links in `path` itself are followed, once, here: it is the user's word, not a guest's.
    `read_only`: EROFS for every change. `device`: the one file may be a character device, and is
    opened. OSError when `path` cannot be opened.
    """

    def __init__(self, path: Path, *, read_only: bool = False, device: bool = False) -> None:
        self.read_only = read_only
        self._lock = threading.Lock()
        self._known: weakref.WeakValueDictionary[tuple[int, int], HostFolder] = (
            weakref.WeakValueDictionary()
        )
        self._recent: OrderedDict[tuple[int, int], HostFolder] = OrderedDict()
        path = path.resolve(strict=True)
        if path.is_dir():
            fd = os.open(path, _DIRECTORY_FLAGS)
            self.root: Node = HostFolder(self, fd, os.fstat(fd))
            return
        fd = os.open(path.parent, _DIRECTORY_FLAGS)
        folder = HostFolder(self, fd, os.fstat(fd))
        name = os.fsencode(path.name)
        status = os.lstat(path)
        if device and stat_mode.S_ISCHR(status.st_mode):
            self.root = HostDevice(path)
        else:
            self.root = self.node(folder, name, status)

    def node(self, folder: HostFolder, name: bytes, status: os.stat_result) -> Node:
        """Return the node for a name that lstat described."""
        kind = stat_mode.S_IFMT(status.st_mode)
        if kind == stat_mode.S_IFDIR:
            return self._folder(folder, name, status)
        if kind == stat_mode.S_IFREG:
            return HostFile(self, folder, name)
        if kind == stat_mode.S_IFLNK:
            return HostLink(self, folder, name)
        if kind == stat_mode.S_IFSOCK:
            return HostSocket(self, folder, name, Filetype.SOCKET_STREAM)
        if kind == stat_mode.S_IFIFO:
            return HostFifo(self, folder, name, Filetype.UNKNOWN)
        return HostName(self, folder, name, FILETYPE_OF_MODE.get(kind, Filetype.UNKNOWN))

    def _folder(self, folder: HostFolder, name: bytes, status: os.stat_result) -> HostFolder:
        """Return the node of a directory; an open fd keeps an inode number from being used again,
        so (dev, ino) is a sound key.
        """
        key = (status.st_dev, status.st_ino)
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._keep(known)
                return known
        fd = os.open(name, _DIRECTORY_FLAGS, dir_fd=folder.fd)
        node = HostFolder(self, fd, os.fstat(fd))
        with self._lock:
            node = self._known.setdefault(node.key, node)
            self._keep(node)
        return node

    def _keep(self, node: HostFolder) -> None:
        self._recent[node.key] = node
        self._recent.move_to_end(node.key)
        if len(self._recent) > KEPT_DIRECTORIES:
            self._recent.popitem(last=False)

    def check_writable(self) -> None:
        """EROFS when it is read only."""
        if self.read_only:
            raise GuestError(Errno.EROFS)


class HostName(Node):
    """A name in a host directory; this class itself serves what may not be opened."""

    def __init__(self, fs: HostDirectory, folder: HostFolder, name: bytes, kind: Filetype) -> None:
        self.fs = fs
        self.folder = folder
        self.name = name
        self.filetype = kind

    def stat(self) -> Stat:
        """See Node.stat."""
        with host_errors:
            return host_stat(os.stat(self.name, dir_fd=self.folder.fd, follow_symlinks=False))

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        """See Node.set_times."""
        self.fs.check_writable()
        with host_errors:
            fd = self.folder.fd
            if atim is None or mtim is None:
                status = os.stat(self.name, dir_fd=fd, follow_symlinks=False)
                atim = status.st_atime_ns if atim is None else atim
                mtim = status.st_mtime_ns if mtim is None else mtim
            os.utime(self.name, ns=(atim, mtim), dir_fd=fd, follow_symlinks=False)

    def set_mode(self, mode: int) -> None:
        """See Node.set_mode; ENOTSUP for a link."""
        self.fs.check_writable()
        # Linux has no fchmodat that does not follow: an O_PATH fd through /proc names the file.
        with host_errors:
            flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self.name, flags, dir_fd=self.folder.fd)
            try:
                if stat_mode.S_ISLNK(os.fstat(fd).st_mode):
                    raise GuestError(Errno.ENOTSUP)
                os.chmod(f"/proc/self/fd/{fd}", kept_mode(mode))  # noqa: PTH101 - no path
            finally:
                os.close(fd)

    def capacity(self) -> Capacity:
        """See Node.capacity."""
        return self.folder.capacity()

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """See Node.set_owner; a link's own."""
        self.fs.check_writable()
        with host_errors:
            owner = (-1 if uid is None else uid, -1 if gid is None else gid)
            os.chown(self.name, *owner, dir_fd=self.folder.fd, follow_symlinks=False)


class HostLink(HostName):
    """A symbolic link."""

    def __init__(self, fs: HostDirectory, folder: HostFolder, name: bytes) -> None:
        super().__init__(fs, folder, name, Filetype.SYMBOLIC_LINK)

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """ELOOP: links are followed, not opened."""
        raise GuestError(Errno.ELOOP)

    def readlink(self, caller: Caller) -> bytes:
        """See Node.readlink."""
        with host_errors:
            return os.readlink(self.name, dir_fd=self.folder.fd)


class HostSocket(HostName):
    """A Unix socket: a mere name (`kernel.local_names`)."""

    shares_sockets = True

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """ENXIO: sockets are connected to, not opened."""
        raise GuestError(Errno.ENXIO)


class HostFifo(HostName):
    """A named pipe."""

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """See fifo.open_fifo."""
        from balenawasm.vfs.filesystems import fifo  # noqa: PLC0415 - seldom used

        path_fd = fifo.path_fd_of(self.name, self.folder.fd)
        try:
            return fifo.open_fifo(self, caller, flags, path_fd)
        finally:
            os.close(path_fd)


class HostFile(HostName):
    """A regular file."""

    def __init__(self, fs: HostDirectory, folder: HostFolder, name: bytes) -> None:
        super().__init__(fs, folder, name, Filetype.REGULAR_FILE)

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """See Node.open."""
        return self.open_file(flags)

    def open_file(self, flags: OpenFlags) -> HostDescription:
        """Open with a host fd of its own."""
        if flags.write or flags.truncate:
            self.fs.check_writable()
        access = os.O_RDWR if flags.read else os.O_WRONLY
        mode = access if flags.write else os.O_RDONLY
        if flags.fdflags & APPEND:
            mode |= os.O_APPEND
        if flags.fdflags & SYNC:
            mode |= os.O_SYNC
        elif flags.fdflags & DSYNC:
            mode |= os.O_DSYNC
        fd = self._open_regular(mode)
        description = HostDescription(self, flags, fd, read_only=self.fs.read_only)
        if flags.truncate:
            try:
                (description if flags.write else self).truncate(0)
            except BaseException:
                description.close()
                raise
        return description

    def _open_regular(self, mode: int) -> int:
        """Open and make sure that it is a regular file still: ENOENT or ELOOP from the host, EACCES
        for other kinds.
        """
        with host_errors:
            fd = os.open(self.name, mode | _FILE_FLAGS, dir_fd=self.folder.fd)
            if stat_mode.S_ISREG(os.fstat(fd).st_mode):
                return fd
            os.close(fd)
        raise GuestError(Errno.EACCES)

    def truncate(self, size: int) -> None:
        """See Node.truncate."""
        self.fs.check_writable()
        fd = self._open_regular(os.O_WRONLY)
        try:
            truncate_fd(fd, size)
        finally:
            os.close(fd)

    def content(self) -> Content:
        """A copy of the file (a mapping would let the host, by truncating it, kill this process);
        EFBIG above MAX_CONTENT.
        """
        fd = self._open_regular(os.O_RDONLY)
        with host_errors, open(fd, "rb", buffering=0) as file:  # noqa: PTH123 - an fd has no path
            size = os.fstat(fd).st_size
            if size > MAX_CONTENT:
                raise GuestError(Errno.EFBIG)
            return Content(None, memoryview(file.read(size)))


class HostFolder(Node):
    """A directory, held by an O_PATH fd that closes with the node."""

    filetype = Filetype.DIRECTORY

    def __init__(self, fs: HostDirectory, fd: int, status: os.stat_result) -> None:
        self.fs = fs
        self.fd = fd
        self.key = (status.st_dev, status.st_ino)

    def __del__(self) -> None:
        os.close(self.fd)

    def stat(self) -> Stat:
        """See Node.stat."""
        with host_errors:
            return host_stat(os.fstat(self.fd))

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """See Node.open."""
        if flags.write or flags.truncate:
            raise GuestError(Errno.EISDIR)
        return HostFolderDescription(self, flags.fdflags)

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        """See Node.set_times."""
        self.fs.check_writable()
        with host_errors, self.opened() as fd:
            set_times_of_fd(fd, atim, mtim)

    def set_mode(self, mode: int) -> None:
        """See Node.set_mode."""
        self.fs.check_writable()
        with host_errors:
            os.chmod(f"/proc/self/fd/{self.fd}", kept_mode(mode))  # noqa: PTH101 - no path

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """See Node.set_owner."""
        self.fs.check_writable()
        with host_errors, self.opened() as fd:
            os.fchown(fd, -1 if uid is None else uid, -1 if gid is None else gid)

    def capacity(self) -> Capacity:
        """See Node.capacity."""
        with host_errors:
            return host_capacity(os.fstatvfs(self.fd), read_only=self.fs.read_only)

    def sync(self) -> None:
        """Make the directory's entries durable."""
        with host_errors, self.opened() as fd:
            os.fsync(fd)

    def lookup(self, caller: Caller, name: bytes) -> Node:
        """See Node.lookup."""
        return self.child(name)

    def child(self, name: bytes) -> Node:
        """The node called `name`; ENOENT."""
        try:
            status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            return self.fs.node(self, name, status)
        except OSError as error:
            raise GuestError(from_oserror(error)) from None

    def entries(self, caller: Caller) -> list[DirEntry]:
        """See Node.entries; the host's order."""
        with host_errors, self.opened() as fd, os.scandir(fd) as found:
            return [
                DirEntry(os.fsencode(entry.name), entry.inode(), _kind(entry)) for entry in found
            ]

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """Yield an fd that can be read and synced, which an O_PATH one cannot; OSError."""
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def create(self, name: bytes, mode: int = 0o644) -> Node:
        """See Node.create."""
        self._check_free(name)
        with host_errors:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE_FLAGS
            os.close(os.open(name, flags, kept_mode(mode), dir_fd=self.fd))
        return _with_mode(HostFile(self.fs, self, name), mode)

    def mkdir(self, name: bytes, mode: int = 0o755) -> Node:
        """See Node.mkdir."""
        self._check_free(name)
        with host_errors:
            os.mkdir(name, kept_mode(mode), dir_fd=self.fd)
        return _with_mode(self.child(name), mode)

    def symlink(self, name: bytes, target: bytes) -> Node:
        """See Node.symlink."""
        self._check_free(name)
        with host_errors:
            os.symlink(target, name, dir_fd=self.fd)
        return HostLink(self.fs, self, name)

    def mkfifo(self, name: bytes, mode: int = 0o644) -> Node:
        """See Node.mkfifo; the host's errno where its file system has none."""
        self._check_free(name)
        with host_errors:
            os.mkfifo(name, kept_mode(mode), dir_fd=self.fd)
        return _with_mode(HostFifo(self.fs, self, name, Filetype.UNKNOWN), mode)

    def mksocket(self, name: bytes, mode: int = 0o755) -> Node:
        """See Node.mksocket: nobody listens behind the node, so the host cannot connect to it."""
        self._check_free(name)
        with host_errors:
            os.mknod(name, stat_mode.S_IFSOCK | kept_mode(mode), dir_fd=self.fd)
        return _with_mode(HostSocket(self.fs, self, name, Filetype.SOCKET_STREAM), mode)

    def link(self, name: bytes, node: Node) -> None:
        """See Node.link."""
        if isinstance(node, HostFolder):
            raise GuestError(Errno.EPERM)
        if not isinstance(node, HostName) or node.fs is not self.fs:
            raise GuestError(Errno.EXDEV)
        self._check_free(name)
        with host_errors:
            os.link(
                node.name,
                name,
                src_dir_fd=node.folder.fd,
                dst_dir_fd=self.fd,
                follow_symlinks=False,
            )

    def unlink(self, name: bytes) -> None:
        """See Node.unlink."""
        self.fs.check_writable()
        with host_errors:
            os.unlink(name, dir_fd=self.fd)

    def rmdir(self, name: bytes) -> None:
        """See Node.rmdir."""
        self.fs.check_writable()
        with host_errors:
            os.rmdir(name, dir_fd=self.fd)

    def rename(self, name: bytes, directory: Node, new_name: bytes) -> None:
        """See Node.rename."""
        if not isinstance(directory, HostFolder) or directory.fs is not self.fs:
            raise GuestError(Errno.EXDEV)
        self.fs.check_writable()
        with host_errors:
            os.rename(name, new_name, src_dir_fd=self.fd, dst_dir_fd=directory.fd)

    def _check_free(self, name: bytes) -> None:
        if self.fs.read_only:
            with contextlib.suppress(OSError):
                os.stat(name, dir_fd=self.fd, follow_symlinks=False)
                raise GuestError(Errno.EEXIST)
            raise GuestError(Errno.EROFS)


class HostFolderDescription(DirectoryDescription):
    """An open host directory."""

    def __init__(self, folder: HostFolder, flags: int) -> None:
        super().__init__(folder, flags)
        self._folder = folder

    def sync(self, *, data_only: bool) -> None:
        """Make the directory's entries durable."""
        self._folder.sync()


def _with_mode(made: Node, mode: int) -> Node:
    """A new file with all of its mode: the guest's umask counts, not the host's."""
    if mode & _UMASK:
        made.set_mode(mode)
    return made


def _kind(entry: os.DirEntry[str]) -> Filetype:
    if entry.is_symlink():
        return Filetype.SYMBOLIC_LINK
    if entry.is_dir(follow_symlinks=False):
        return Filetype.DIRECTORY
    if entry.is_file(follow_symlinks=False):
        return Filetype.REGULAR_FILE
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except OSError:
        return Filetype.UNKNOWN  # gone since
    return FILETYPE_OF_MODE.get(stat_mode.S_IFMT(mode), Filetype.UNKNOWN)
