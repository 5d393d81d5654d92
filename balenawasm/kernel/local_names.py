"""What the names of a container's Unix sockets stand for on the host.

A path stands for a node of the container's file tree: a socket node, which carries no data and
which the host cannot connect to. The node's identity (device and inode number) leads to the real
socket, in a directory of ours (mode 0700). So a guest can neither reach a socket of the host that
lies in a bind mount, nor leave one behind that a program of the host would connect to. Nodes in
host directories (volumes, binds) are identified by the host's own numbers and their sockets lie in
the project's network directory: containers of one project that share a volume reach each other.
All other nodes, and abstract names, are private to the container.

Locks: one, innermost but for those of file systems.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from balenawasm.record import NamedTuple
from balenawasm.vfs.endpoint import UNNAMED, LocalName
from balenawasm.vfs.mounts import NOBODY
from balenawasm.wasi.errno import Errno, GuestError, from_oserror
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    import socket

    from balenawasm.kernel.network_unix import SocketDirectory
    from balenawasm.vfs.node import Node
    from balenawasm.vfs.path import Namespace

_FOLDER: Final = "local"
_PREFIX: Final = b"\0balenawasm-"
_SOCKETS: Final = (Filetype.SOCKET_STREAM, Filetype.SOCKET_DGRAM)
AUTOMATIC: Final = 1 << 20
"""Names that the kernel can choose: five hexadecimal digits, as on Linux."""


class Owner(NamedTuple):
    """Whose socket a host file is: its guest's name for it and the process that bound it."""

    name: LocalName
    pid: int


NO_OWNER: Final = Owner(UNNAMED, 0)


class LocalNames:
    """The bound Unix sockets of one container. Any thread may call."""

    def __init__(self, loopback: SocketDirectory, network: SocketDirectory | None) -> None:
        self._loopback = loopback
        self._network = network or loopback
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._token = os.urandom(8).hex()
        self._files: dict[bytes | tuple[int, int], str] = {}
        """Abstract names and private nodes → host file."""
        self._owners: dict[str, Owner] = {}

    def bind(
        self, namespace: Namespace | None, name: LocalName, host: socket.socket, pid: int
    ) -> tuple[LocalName, str]:
        """Give a host socket the name: the name it really got, and what to call `forget` with.

        EADDRINUSE, and what making a file answers.
        """
        if name == UNNAMED or name.path.startswith(b"\0"):
            name, file = self._claim_abstract(name)
        else:
            file = self._make_node(namespace, name)
        try:
            # Nobody else can have the node's identity: a file that is there is a dead node's.
            Path(file).unlink(missing_ok=True)
            host.bind(file)
        except OSError as error:
            self._drop(file)
            raise GuestError(from_oserror(error)) from None
        with self._lock:
            self._owners[file.rpartition("/")[2]] = Owner(name, pid)
        return name, file

    def forget(self, file: str, inode: int) -> None:
        """The socket whose host file has this inode number is closed: nobody finds it any more."""
        if inode_of(file) == inode:
            self._drop(file)

    def _drop(self, file: str) -> None:
        with self._lock:
            self._owners.pop(file.rpartition("/")[2], None)
            for key in [key for key, known in self._files.items() if known == file]:
                del self._files[key]
        with contextlib.suppress(OSError):
            Path(file).unlink()

    def find(self, namespace: Namespace | None, name: LocalName) -> str:
        """The host file to connect to. ENOENT and the like from the path; ECONNREFUSED when the
        node is no socket of ours, or nobody has the abstract name.
        """
        if name == UNNAMED:
            raise GuestError(Errno.EINVAL)
        if name.path.startswith(b"\0"):
            file = self._files.get(name.path)
        else:
            file = self._file_of(self._resolve(namespace, name))
        if file is None:
            raise GuestError(Errno.ECONNREFUSED)
        return file

    def owner(self, host_name: object) -> Owner:
        """Whose socket the host says a connection or datagram is from."""
        if isinstance(host_name, bytes) and host_name.startswith(_PREFIX):
            maker, _, pid = host_name.removeprefix(_PREFIX).rpartition(b"/")
            # Another container's pid would be that of a stranger here.
            ours = maker.startswith(self._token.encode()) and pid.isdigit()
            return Owner(UNNAMED, int(pid) if ours else 0)
        if isinstance(host_name, str):
            return self._owners.get(host_name.rpartition("/")[2], NO_OWNER)
        return NO_OWNER

    def anonymous(self, pid: int) -> bytes:
        """A host name for a connecting socket without one, which tells the process."""
        text = f"{self._token}-{next(self._numbers)}/{pid}"
        return _PREFIX + text.encode()

    def _claim_abstract(self, name: LocalName) -> tuple[LocalName, str]:
        with self._lock:
            if name == UNNAMED:
                for _ in range(AUTOMATIC):
                    path = b"\0%05x" % (next(self._numbers) % AUTOMATIC)
                    if path not in self._files:
                        name = LocalName(path)
                        break
            if name == UNNAMED or name.path in self._files:
                raise GuestError(Errno.EADDRINUSE)
            file = self._files[name.path] = self._new_file()
        return name, file

    def _make_node(self, namespace: Namespace | None, name: LocalName) -> str:
        if namespace is None:
            raise GuestError(Errno.ENOENT)
        node = make_socket_node(namespace, name.path)
        if node.shares_sockets:
            return self._shared_file(node)
        stat = node.stat()
        with self._lock:
            file = self._files[stat.dev, stat.ino] = self._new_file()
        return file

    def _resolve(self, namespace: Namespace | None, name: LocalName) -> Node:
        if namespace is None:
            raise GuestError(Errno.ENOENT)
        location = namespace.resolve(NOBODY, namespace.root, name.path, follow=True)
        if location.node.filetype not in _SOCKETS:
            raise GuestError(Errno.ECONNREFUSED)
        return location.node

    def _file_of(self, node: Node) -> str | None:
        if node.shares_sockets:
            return self._shared_file(node)
        stat = node.stat()
        return self._files.get((stat.dev, stat.ino))

    def _shared_file(self, node: Node) -> str:
        stat = node.stat()
        self._network.join(_FOLDER)
        return self._network.path(f"{_FOLDER}/{stat.dev:x}-{stat.ino:x}")

    def _new_file(self) -> str:
        self._loopback.join(_FOLDER)
        # With a name that no other container's socket has: by it `owner` knows whose it is.
        return self._loopback.path(f"{_FOLDER}/{self._token}-{next(self._numbers)}")


def make_socket_node(namespace: Namespace, path: bytes) -> Node:
    """Make the node of a Unix socket: EADDRINUSE when the name is taken, and what resolving its
    directory answers.
    """
    parent = namespace.resolve_parent(NOBODY, namespace.root, path)
    if parent.special or parent.mounted:
        raise GuestError(Errno.EADDRINUSE)
    if parent.must_be_directory:
        raise GuestError(Errno.ENOENT)
    try:
        return parent.location.node.mksocket(parent.name)
    except GuestError as error:
        if error.errno is Errno.EEXIST:
            raise GuestError(Errno.EADDRINUSE) from None
        raise


def inode_of(file: str) -> int:
    """The inode number of a host file, 0 when there is none."""
    try:
        return os.lstat(file).st_ino
    except OSError:
        return 0
