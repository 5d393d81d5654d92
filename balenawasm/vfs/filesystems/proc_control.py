"""The files in /proc that do something: start programs, make pipes, wait, kill
(docs/guest-files.md).

This file system only translates: openings, reads, writes and commands to calls of the container's
kernel, which it knows as the `ProcessControl` protocol (the kernel lies above the VFS). A command
runs when its link is read, never by a lookup alone, and acts for the process that reads it.

Limits: a spawn request has `REQUEST_MAX` bytes, all requests of a container that are being written
`PENDING_MAX`. Locks: one for the sum of those bytes.
"""

from __future__ import annotations

import threading
import zlib
from typing import TYPE_CHECKING, Final

from balenawasm.vfs.description import Buffers, Description
from balenawasm.vfs.directory import open_directory
from balenawasm.vfs.filesystems.open_files import number_of
from balenawasm.vfs.node import Caller, DirEntry, Node, OpenFlags, Stat
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.vfs.filesystems.process_view import ProcessControl

REQUEST_MAX: Final = (2 << 20) + (1 << 16)
"""Bytes of one spawn request: what arguments and environment may have, and the rest."""
PENDING_MAX: Final = 16 << 20
"""Bytes of all requests that are written and not yet started."""


class ControlFiles:
    """The files themselves; `make_stat` gives attributes to an inode number."""

    def __init__(self, control: ProcessControl, make_stat: Callable[[int, Filetype], Stat]) -> None:
        self._control = control
        self._make_stat = make_stat
        self._budget = Budget(PENDING_MAX)
        self._directories: dict[bytes, Callable[[Caller, bytes], Node]] = {
            b"control": self._command,
            b"pipe": self._pipe,
            b"pidfd": self._pidfd,
        }

    def node(self, name: bytes) -> Node:
        """One of the names in /proc that are here."""
        if name == b"spawn":
            return self._opener(
                name, lambda _, flags: SpawnRequest(self._control, self._budget, flags)
            )
        if name == b"mkfifo":
            return self._opener(name, lambda _, flags: FifoMaker(self._control, flags))
        return AnyName(self._stat(name, Filetype.DIRECTORY), self._directories[name])

    def _command(self, caller: Caller, text: bytes) -> Node:
        stat = self._stat(b"control/" + text, Filetype.SYMBOLIC_LINK)
        return CommandLink(stat, self._control, text)

    def _pipe(self, caller: Caller, name: bytes) -> Node:
        control = self._control
        if name == b"new":
            return self._opener(b"pipe/new", lambda _, flags: control.new_pipe(flags.fdflags))
        inode = number_of(name)
        if inode is None:
            raise GuestError(Errno.ENOENT)

        def entry(_: Caller, word: bytes) -> Node:
            if word != b"peer":
                raise GuestError(Errno.ENOENT)
            return self._opener(
                b"pipe/%d/peer" % inode,
                lambda caller, flags: control.pipe_peer(caller, inode, flags.fdflags),
            )

        return AnyName(self._stat(b"pipe/" + name, Filetype.DIRECTORY), entry)

    def _pidfd(self, caller: Caller, name: bytes) -> Node:
        pid = number_of(name)
        if pid is None:
            raise GuestError(Errno.ENOENT)
        control = self._control
        return self._opener(
            b"pidfd/" + name, lambda _, flags: control.exit_watch(pid, flags.fdflags)
        )

    def _opener(self, name: bytes, make: Callable[[Caller, OpenFlags], Description]) -> Node:
        return Opener(self._stat(name, Filetype.CHARACTER_DEVICE)._replace(mode=0o666), make)

    def _stat(self, name: bytes, filetype: Filetype) -> Stat:
        return self._make_stat(1 << 62 | zlib.crc32(name), filetype)


class AnyName(Node):
    """A directory where `child` decides which names exist, and listing shows none."""

    filetype = Filetype.DIRECTORY

    def __init__(self, stat: Stat, child: Callable[[Caller, bytes], Node]) -> None:
        self._stat = stat
        self._child = child

    def stat(self) -> Stat:
        """What it was made with."""
        return self._stat

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """See Node.open."""
        return open_directory(self, flags)

    def lookup(self, caller: Caller, name: bytes) -> Node:
        """See Node.lookup."""
        return self._child(caller, name)

    def entries(self, caller: Caller) -> list[DirEntry]:
        """Nothing."""
        return []


class Opener(Node):
    """A file whose opening makes something else."""

    filetype = Filetype.CHARACTER_DEVICE

    def __init__(self, stat: Stat, make: Callable[[Caller, OpenFlags], Description]) -> None:
        self._stat = stat
        self._make = make

    def stat(self) -> Stat:
        """What it was made with."""
        return self._stat

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """Make it."""
        return self._make(caller, flags)


class CommandLink(Node):
    """A command; reading the link runs it."""

    filetype = Filetype.SYMBOLIC_LINK

    def __init__(self, stat: Stat, control: ProcessControl, text: bytes) -> None:
        self._stat = stat
        self._control = control
        self._text = text

    def stat(self) -> Stat:
        """What it was made with."""
        return self._stat

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """ELOOP: a command is read, not opened."""
        raise GuestError(Errno.ELOOP)

    def readlink(self, caller: Caller) -> bytes:
        """Run it."""
        return self._control.command(caller, self._text)

    def jump(self, caller: Caller) -> Node:
        """ENOENT: a command leads nowhere, and is not to be run by following it."""
        raise GuestError(Errno.ENOENT)


class Budget:
    """Bytes that may be taken."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Take bytes: ENOMEM. A negative count gives them back."""
        with self._lock:
            if count > self._left:
                raise GuestError(Errno.ENOMEM)
            self._left -= count


class SpawnRequest(Description):
    """An open /proc/spawn: what is written is a request; reading starts it and answers the pid.

    After the answer comes the end of the file; the next write begins another request.
    """

    filetype = Filetype.CHARACTER_DEVICE

    def __init__(self, control: ProcessControl, budget: Budget, flags: OpenFlags) -> None:
        super().__init__(None, flags.fdflags)
        self._control = control
        self._budget = budget
        self._lock = threading.Lock()
        self._request = bytearray()
        self._answer = b""

    def close(self) -> None:
        """Forget what was written."""
        self._take_request()

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """Add to the request: E2BIG, ENOMEM."""
        count = sum(map(len, buffers))
        with self._lock:
            if len(self._request) + count > REQUEST_MAX:
                raise GuestError(Errno.E2BIG)
            self._budget.take(count)
            self._answer = b""
            for buffer in buffers:
                self._request += buffer
        return count

    def read(self, caller: Caller, buffers: Buffers) -> int:
        """Start what was written, or go on with the answer. A request that fails is forgotten."""
        if not sum(map(len, buffers)):
            return 0
        request = self._take_request()
        if request:
            self._answer = b"%d\n" % self._control.start(caller, request)
        answer, count = self._answer, 0
        for buffer in buffers:
            piece = answer[count : count + len(buffer)]
            buffer[: len(piece)] = piece
            count += len(piece)
        self._answer = answer[count:]
        return count

    def _take_request(self) -> bytes:
        with self._lock:
            request = bytes(self._request)
            self._request.clear()
        self._budget.take(-len(request))
        return request


class FifoMaker(Description):
    """An open /proc/mkfifo: every write makes a named pipe."""

    filetype = Filetype.CHARACTER_DEVICE

    def __init__(self, control: ProcessControl, flags: OpenFlags) -> None:
        super().__init__(None, flags.fdflags)
        self._control = control

    def write(self, caller: Caller, buffers: Buffers) -> int:
        """`<mode in octal> <absolute path>`; the errors are mkfifo(3)'s."""
        if sum(map(len, buffers)) > REQUEST_MAX:
            raise GuestError(Errno.ENAMETOOLONG)
        text = b"".join(buffers)
        self._control.make_fifo(caller, text)
        return len(text)
