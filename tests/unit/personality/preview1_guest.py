"""A guest without code: a process on a tmpfs whose system calls a test makes itself."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from balenawasm.kernel.dispatch import errno_of
from balenawasm.kernel.fd_table import FdEntry
from balenawasm.kernel.guest_memory import GuestMemory
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.process import Process
from balenawasm.personality.preview1 import TABLE
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.node import OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno
from balenawasm.wasi.structs import DIRENT, EVENT, FDSTAT, FILESTAT

if TYPE_CHECKING:
    from balenawasm.vfs.description import Description

MEMORY = 1 << 20
NOWHERE = 0xFFFF_FF00
"""A pointer outside the memory."""
FILE_RIGHTS = (
    w.FD_READ
    | w.FD_WRITE
    | w.FD_SEEK
    | w.FD_TELL
    | w.FD_ADVISE
    | w.FD_ALLOCATE
    | w.FD_SYNC
    | w.FD_DATASYNC
    | w.FD_FDSTAT_SET_FLAGS
    | w.FD_FILESTAT_GET
    | w.FD_FILESTAT_SET_SIZE
    | w.FD_FILESTAT_SET_TIMES
    | w.POLL_FD_READWRITE
)
READ_RIGHTS = FILE_RIGHTS & ~(w.FD_WRITE | w.FD_ALLOCATE | w.FD_FILESTAT_SET_SIZE)


class CallError(Exception):
    """A system call answered an errno."""

    def __init__(self, errno: int) -> None:
        super().__init__(Errno(errno).name)
        self.errno = Errno(errno)


class Filestat(NamedTuple):
    dev: int
    ino: int
    filetype: int
    nlink: int
    size: int
    atim: int
    mtim: int
    ctim: int


class Guest:
    """`guest.fd_write(...)` calls; results come back decoded, an errno as CallError.

    fd 3 is the root directory.
    """

    def __init__(self, argv: list[bytes] | None = None, environ: list[bytes] | None = None) -> None:
        self.root = Tmpfs(8 << 20).root
        self.namespace = Namespace(self.root)
        self.process = Process(
            pid=1,
            argv=[b"guest"] if argv is None else argv,
            environ=environ or [],
            cwd=b"/",
            namespace=self.namespace,
            limits=Limits(open_files=64),
        )
        self.buffer = bytearray(MEMORY)
        self.process.memory = GuestMemory.over(self.buffer)
        self.preopen(b"/", 3)
        self._top = 1024

    def preopen(self, path: bytes, fd: int) -> None:
        location, description = self.namespace.open(
            self.process, self.namespace.root, path, oflags=0, flags=OpenFlags(), follow=True
        )
        self.process.fds.put(fd, FdEntry(description, prestat=path, location=location))

    def install(self, description: Description, **more: int) -> int:
        return self.process.fds.add(FdEntry(description, **more))

    # Memory.

    def alloc(self, size: int) -> int:
        self._top = (self._top + 15) & ~15
        pointer = self._top
        self._top += size
        if self._top > MEMORY:
            raise MemoryError
        return pointer

    def put(self, data: bytes) -> int:
        pointer = self.alloc(len(data))
        self.buffer[pointer : pointer + len(data)] = data
        return pointer

    def get(self, pointer: int, size: int) -> bytes:
        return bytes(self.buffer[pointer : pointer + size])

    def u32(self, pointer: int) -> int:
        value: int = struct.unpack_from("<I", self.buffer, pointer)[0]
        return value

    def u64(self, pointer: int) -> int:
        value: int = struct.unpack_from("<Q", self.buffer, pointer)[0]
        return value

    def iovecs(self, *buffers: tuple[int, int]) -> int:
        return self.put(b"".join(struct.pack("<II", *buffer) for buffer in buffers))

    # Calls.

    def call(self, name: str, *arguments: int) -> None:
        """One call, as the engine makes it: 32- and 64-bit arguments unsigned."""
        syscall = TABLE[name]
        widths = {"i": (1 << 32) - 1, "q": (1 << 64) - 1}
        values = [a & widths[t] for a, t in zip(arguments, syscall.signature, strict=True)]
        mark = self._top
        try:
            errno = syscall.handler(self.process, *values)
        except Exception as error:
            found = errno_of(error)
            if found is None:
                raise
            raise CallError(found) from error
        finally:
            self._top = max(self._top, mark)
        if errno:
            raise CallError(errno)

    def path(self, path: bytes) -> tuple[int, int]:
        return self.put(path), len(path)

    def open(
        self,
        path: bytes,
        *,
        oflags: int = 0,
        rights: int = FILE_RIGHTS,
        inheriting: int = w.RIGHTS_ALL,
        fdflags: int = 0,
        follow: bool = True,
        fd: int = 3,
    ) -> int:
        result = self.alloc(4)
        self.call(
            "path_open",
            fd,
            int(follow),
            *self.path(path),
            oflags,
            rights,
            inheriting,
            fdflags,
            result,
        )
        return self.u32(result)

    def create(self, path: bytes, data: bytes = b"") -> None:
        fd = self.open(path, oflags=w.O_CREAT | w.O_TRUNC)
        if data:
            assert self.write(fd, data) == len(data)
        self.close(fd)

    def close(self, fd: int) -> None:
        self.call("fd_close", fd)

    def write(self, fd: int, data: bytes, offset: int | None = None) -> int:
        vectors, result = self.iovecs((self.put(data), len(data))), self.alloc(4)
        if offset is None:
            self.call("fd_write", fd, vectors, 1, result)
        else:
            self.call("fd_pwrite", fd, vectors, 1, offset, result)
        return self.u32(result)

    def read(self, fd: int, size: int = 100, offset: int | None = None) -> bytes:
        into, result = self.alloc(size), self.alloc(4)
        vectors = self.iovecs((into, size))
        if offset is None:
            self.call("fd_read", fd, vectors, 1, result)
        else:
            self.call("fd_pread", fd, vectors, 1, offset, result)
        return self.get(into, self.u32(result))

    def seek(self, fd: int, offset: int, whence: int = 0) -> int:
        result = self.alloc(8)
        self.call("fd_seek", fd, offset, whence, result)
        return self.u64(result)

    def tell(self, fd: int) -> int:
        result = self.alloc(8)
        self.call("fd_tell", fd, result)
        return self.u64(result)

    def fdstat(self, fd: int) -> tuple[int, int, int, int]:
        """(filetype, flags, rights base, rights inheriting)."""
        result = self.alloc(FDSTAT.size)
        self.call("fd_fdstat_get", fd, result)
        kind, flags, base, inheriting = FDSTAT.unpack_from(self.buffer, result)
        return kind, flags, base, inheriting

    def stat(self, path: bytes | int, *, follow: bool = True) -> Filestat:
        result = self.alloc(FILESTAT.size)
        if isinstance(path, int):
            self.call("fd_filestat_get", path, result)
        else:
            self.call("path_filestat_get", 3, int(follow), *self.path(path), result)
        return Filestat(*FILESTAT.unpack_from(self.buffer, result))

    def on_path(self, name: str, path: bytes, *, fd: int = 3) -> None:
        """path_create_directory, path_remove_directory, path_unlink_file."""
        self.call(name, fd, *self.path(path))

    def symlink(self, target: bytes, path: bytes) -> None:
        self.call("path_symlink", *self.path(target), 3, *self.path(path))

    def link(self, old: bytes, new: bytes, *, follow: bool = False) -> None:
        self.call("path_link", 3, int(follow), *self.path(old), 3, *self.path(new))

    def rename(self, old: bytes, new: bytes) -> None:
        self.call("path_rename", 3, *self.path(old), 3, *self.path(new))

    def readlink(self, path: bytes, size: int = 100) -> bytes:
        into, result = self.alloc(size), self.alloc(4)
        self.call("path_readlink", 3, *self.path(path), into, size, result)
        return self.get(into, self.u32(result))

    def readdir(self, fd: int, size: int = 4096, cookie: int = 0) -> bytes:
        into, result = self.alloc(size), self.alloc(4)
        self.call("fd_readdir", fd, into, size, cookie, result)
        return self.get(into, self.u32(result))

    def names(self, fd: int, size: int = 4096) -> list[bytes]:
        """A whole directory as a libc reads it: again with the last cookie until it is not full."""
        names: list[bytes] = []
        cookie = 0
        while True:
            data = self.readdir(fd, size, cookie)
            for name, _, cookie, _ in dirents(data):  # noqa: B007 - the last one stays
                names.append(name)
            if len(data) < size:
                return names

    def poll(self, *subscriptions: bytes) -> list[tuple[int, int, int, int, int]]:
        """(userdata, error, type, nbytes, flags) of each event."""
        count = len(subscriptions)
        events, result = self.alloc(EVENT.size * count), self.alloc(4)
        self.call("poll_oneoff", self.put(b"".join(subscriptions)), events, count, result)
        data = self.get(events, EVENT.size * self.u32(result))
        return [EVENT.unpack_from(data, at) for at in range(0, len(data), EVENT.size)]


def dirents(data: bytes) -> list[tuple[bytes, int, int, int]]:
    """(name, ino, next cookie, type) of each complete entry."""
    found = []
    at = 0
    while at + DIRENT.size <= len(data):
        cookie, ino, length, kind = DIRENT.unpack_from(data, at)
        name = data[at + DIRENT.size : at + DIRENT.size + length]
        if len(name) < length:
            break
        found.append((name, ino, cookie, kind))
        at += DIRENT.size + length
    return found


def clock_subscription(userdata: int, timeout: int, *, clock: int = 1, flags: int = 0) -> bytes:
    return struct.pack("<QB7xI4xQQH6x", userdata, 0, clock, timeout, 0, flags)


def fd_subscription(userdata: int, fd: int, *, write: bool = False) -> bytes:
    return struct.pack("<QB7xI28x", userdata, 2 if write else 1, fd)
