"""`/net`: sockets and name lookup as files. The contract with guests is docs/guest-files.md.

This file system only translates: paths and commands to calls of the container's network stack,
which it knows as the `Network` protocol (the kernel lies above the VFS). A command runs when its
link is read, never by a lookup alone.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from balenawasm.vfs.directory import open_directory
from balenawasm.vfs.endpoint import is_inet6, numeric, parse_endpoint, split_destination
from balenawasm.vfs.filesystems.net_commands import COMMANDS, Command, WaitingRoom, connect_to
from balenawasm.vfs.filesystems.text import TextFile
from balenawasm.vfs.node import Caller, DirEntry, Node, OpenFlags, Stat
from balenawasm.vfs.socket import DGRAM, INET, INET6, SEQPACKET, STREAM
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import NONBLOCK, Filetype

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from balenawasm.vfs.description import Description
    from balenawasm.vfs.socket import Network, SocketDescription


VERSION: Final = b"1\n"
NET_DEVICE: Final = 0x6E65  # "ne"


class NetFs:
    """The file system to mount at /net, one per container."""

    def __init__(self, network: Network) -> None:
        waiting = WaitingRoom()
        texts = {
            b"version": lambda: VERSION,
            b"hostname": lambda: network.hostname.encode() + b"\n",
            b"address": lambda: (network.address or "").encode() + b"\n",
        }
        tcp = {
            b"new": _Opener(11, lambda caller, flags: _new(network, flags)),
            b"listen": _Names(12, lambda name: _listening(network, name)),
            b"connect": _Names(13, lambda name: _connecting(network, name)),
        }
        udp = {
            b"new": _Opener(71, lambda caller, flags: _new_udp(network, INET, flags)),
            b"bind": _Names(72, lambda name: _bound_udp(network, name)),
            b"connect": _Names(73, lambda name: _connecting(network, name, DGRAM)),
        }
        unix: dict[bytes, Node] = {}
        for number, kind in enumerate((STREAM, DGRAM, SEQPACKET)):
            unix[kind.encode()] = _unix(network, waiting, 90 + 3 * number, kind)
        pair = {b"new": _Opener(21, lambda caller, flags: _new_pair(network, waiting, flags))}
        root: dict[bytes, Node] = {
            name: _text(2 + index, _always(text))
            for index, (name, text) in enumerate(texts.items())
        }
        root[b"tcp"] = _Directory(10, tcp)
        root[b"tcp6"] = _Directory(
            14, {b"new": _Opener(15, lambda caller, flags: _new(network, flags, INET6))}
        )
        root[b"udp"] = _Directory(70, udp)
        root[b"udp6"] = _Directory(
            74, {b"new": _Opener(75, lambda caller, flags: _new_udp(network, INET6, flags))}
        )
        root[b"unix"] = _Directory(80, unix)
        root[b"pair"] = _Directory(20, pair)
        root[b"sock"] = _Sockets(30, network, waiting)
        root[b"tls"] = _Directory(
            60,
            {
                b"new": _Opener(61, lambda caller, flags: _new_tls(network, flags)),
                b"connect": _Names(62, lambda name: _connecting_tls(network, name)),
            },
        )
        root[b"dns"] = _Names(40, lambda name: _text(_number(name), _addresses(network, name)))
        root[b"dns6"] = _Names(
            41, lambda name: _text(_number(name), _addresses(network, name, INET6))
        )
        root[b"names"] = _Names(50, lambda name: _text(_number(name), _names(network, name)))
        self.root: Node = _Directory(1, root)


# What openings do.


def _new(network: Network, flags: OpenFlags, family: str = INET) -> Description:
    return network.new_socket(flags.fdflags & NONBLOCK, family)


def _new_udp(network: Network, family: str, flags: OpenFlags) -> Description:
    return network.new_udp(flags.fdflags & NONBLOCK, family)


def _unix(network: Network, waiting: WaitingRoom, inode: int, kind: str) -> Node:
    def pair(caller: Caller, flags: OpenFlags) -> Description:
        first, second = network.new_local_pair(kind, flags.fdflags & NONBLOCK)
        waiting.add(first, None, second)
        return first

    def new(caller: Caller, flags: OpenFlags) -> Description:
        return network.new_local(kind, flags.fdflags & NONBLOCK)

    return _Directory(inode, {b"new": _Opener(inode + 1, new), b"pair": _Opener(inode + 2, pair)})


def _bound_udp(network: Network, name: bytes) -> Node:
    endpoint = parse_endpoint(name)

    def bind(caller: Caller, flags: OpenFlags) -> Description:
        family = INET6 if is_inet6(endpoint.host) else INET
        new = network.new_udp(flags.fdflags & NONBLOCK, family)
        with _ClosedOnError(new):
            new.bind(endpoint)
        return new

    return _Opener(_number(name), bind)


def _new_pair(network: Network, waiting: WaitingRoom, flags: OpenFlags) -> Description:
    first, second = network.new_pair(flags.fdflags & NONBLOCK)
    waiting.add(first, None, second)
    return first


def _listening(network: Network, name: bytes) -> Node:
    endpoint = parse_endpoint(name)

    def listen(caller: Caller, flags: OpenFlags) -> Description:
        family = INET6 if is_inet6(endpoint.host) else INET
        new = network.new_socket(flags.fdflags & NONBLOCK, family)
        with _ClosedOnError(new):
            new.set_option("SO_REUSEADDR", "1")
            new.bind(endpoint)
            new.listen(0)
        return new

    return _Opener(_number(name), listen)


def _connecting(network: Network, name: bytes, kind: str = STREAM) -> Node:
    host, port = split_destination(name)

    def connect(caller: Caller, flags: OpenFlags) -> Description:
        family = INET6 if ":" in host else INET
        make = network.new_socket if kind == STREAM else network.new_udp
        new = make(flags.fdflags & NONBLOCK, family)
        with _ClosedOnError(new):
            try:
                connect_to(network, new, caller, host, port)
            except GuestError as error:
                if error.errno != Errno.EINPROGRESS:
                    raise
        return new

    return _Opener(_number(name), connect)


def _new_tls(network: Network, flags: OpenFlags) -> Description:
    from balenawasm.vfs.filesystems import net_tls  # noqa: PLC0415 - most programs have none

    return net_tls.new_context(network, flags)


def _connecting_tls(network: Network, name: bytes) -> Node:
    from balenawasm.vfs.filesystems import net_tls  # noqa: PLC0415 - as above

    split_destination(name)
    return _Opener(
        _number(name), lambda caller, flags: net_tls.connect(network, caller, flags, name)
    )


class _ClosedOnError:
    """Close a socket that never got an fd when the block fails, in whatever way."""

    def __init__(self, socket: SocketDescription) -> None:
        self._socket = socket

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is not None:
            self._socket.close()


def _addresses(network: Network, name: bytes, family: str = INET) -> Callable[[Caller], bytes]:
    try:
        host = name.decode("ascii")
    except UnicodeDecodeError:
        raise GuestError(Errno.ENOENT) from None

    return lambda caller: "".join(f"{a}\n" for a in network.lookup(caller, host, family)).encode()


def _names(network: Network, name: bytes) -> Callable[[Caller], bytes]:
    address = numeric(name.decode("ascii", "replace"))
    if address is None:
        raise GuestError(Errno.ENOENT)
    return lambda caller: "".join(f"{n}\n" for n in network.names_of(address)).encode()


# Nodes.


class _NetNode(Node):
    mode = 0o444

    def __init__(self, inode: int) -> None:
        self._inode = inode

    def stat(self) -> Stat:
        return Stat(NET_DEVICE, self._inode, self.filetype, 1, 0, 0, 0, 0, self.mode)


class _Directory(_NetNode):
    """A directory with fixed entries."""

    filetype = Filetype.DIRECTORY
    mode = 0o555

    def __init__(self, inode: int, children: Mapping[bytes, Node]) -> None:
        super().__init__(inode)
        self._children = children

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        return open_directory(self, flags)

    def lookup(self, caller: Caller, name: bytes) -> Node:
        child = self._children.get(name)
        if child is None:
            raise GuestError(Errno.ENOENT)
        return child

    def entries(self, caller: Caller) -> list[DirEntry]:
        return [
            DirEntry(name, child.stat().ino, child.filetype)
            for name, child in self._children.items()
        ]


class _Names(_Directory):
    """A directory where any name exists and listing shows none."""

    def __init__(self, inode: int, child: Callable[[bytes], Node]) -> None:
        super().__init__(inode, {})
        self._child = child

    def lookup(self, caller: Caller, name: bytes) -> Node:
        return self._child(name)


class _Sockets(_Directory):
    """`/net/sock`: the sockets that the caller holds."""

    def __init__(self, inode: int, network: Network, waiting: WaitingRoom) -> None:
        super().__init__(inode, {})
        self._network = network
        self._waiting = waiting

    def lookup(self, caller: Caller, name: bytes) -> Node:
        if not name.isdigit() or len(name) > 18:
            raise GuestError(Errno.ENOENT)
        inode = int(name)
        socket = self._network.find(inode)
        if socket is not None and caller.holds(socket):
            return _SocketCommands(_number(name), self._network, self._waiting, socket)
        if self._waiting.has(inode, caller.pid):
            fetch = _Opener(_number(name + b"/data"), lambda c, flags: self._fetch(inode, c, flags))
            return _Directory(_number(name), {b"data": fetch})
        raise GuestError(Errno.ENOENT)

    def _fetch(self, inode: int, caller: Caller, flags: OpenFlags) -> Description:
        socket = self._waiting.take(inode, caller.pid)
        if socket is None:
            raise GuestError(Errno.ENOENT)
        socket.set_flags(flags.fdflags & NONBLOCK)
        return socket


class _SocketCommands(_Directory):
    """`/net/sock/<inode>` of a socket that the caller holds."""

    def __init__(
        self, inode: int, network: Network, waiting: WaitingRoom, socket: SocketDescription
    ) -> None:
        super().__init__(inode, {})
        self._network = network
        self._waiting = waiting
        self._socket = socket

    def lookup(self, caller: Caller, name: bytes) -> Node:
        if name == b"data":
            return _Opener(_number(b"%d/data" % self._inode), lambda c, flags: self._socket)
        word, _, argument = name.partition(b" ")
        run = COMMANDS.get(word)
        if run is None:
            raise GuestError(Errno.ENOENT)
        command = Command(self._network, self._waiting, self._socket, caller)
        return _CommandLink(_number(b"%d/%b" % (self._inode, name)), lambda: run(command, argument))


class _CommandLink(_NetNode):
    filetype = Filetype.SYMBOLIC_LINK

    def __init__(self, inode: int, run: Callable[[], bytes]) -> None:
        super().__init__(inode)
        self._run = run

    def readlink(self, caller: Caller) -> bytes:
        return self._run()


class _Opener(_NetNode):
    """A file whose opening makes something else."""

    filetype = Filetype.CHARACTER_DEVICE
    mode = 0o666

    def __init__(self, inode: int, make: Callable[[Caller, OpenFlags], Description]) -> None:
        super().__init__(inode)
        self._make = make

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        return self._make(caller, flags)


def _text(inode: int, make: Callable[[Caller], bytes]) -> TextFile:
    """A read-only file whose content is made when it is opened."""
    stat = Stat(NET_DEVICE, inode, Filetype.REGULAR_FILE, 1, 0, 0, 0, 0, 0o444)
    return TextFile(stat, make)


def _always(text: Callable[[], bytes]) -> Callable[[Caller], bytes]:
    return lambda caller: text()


def _number(name: bytes) -> int:
    """An inode number for a node that exists while it is used only."""
    return 1 << 32 | zlib.crc32(name)
