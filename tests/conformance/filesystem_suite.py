"""What the file system suite works with: trees to begin from, the file systems to put them on, and
a short hand for calls.
"""

from __future__ import annotations

import contextlib
import io
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from balenawasm.disk.entry import Entry
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.disk.ext4.writer import write_image
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.image import ImageFs
from balenawasm.vfs.filesystems.overlay import Overlay
from balenawasm.vfs.filesystems.quota import Quota
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import O_CREAT, Filetype, Whence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from balenawasm.vfs.description import Description
    from balenawasm.vfs.node import Node, Stat
    from balenawasm.vfs.path import Location

READ = OpenFlags()
WRITE = OpenFlags(read=False, write=True)
BOTH = OpenFlags(write=True)

TIME = 1_700_000_123_456_789_012
"""The modification time of everything in a tree."""


@dataclass(frozen=True)
class Link:
    """A symbolic link in a tree."""

    target: bytes


Tree = dict[bytes, "bytes | Link | None"]
"""Path → content; None is a directory. Parents come first."""


def entries_of(tree: Mapping[bytes, bytes | Link | None]) -> Iterator[Entry]:
    """Return a tree as a layer's entries."""
    yield Entry(path=b"", mode=stat.S_IFDIR | 0o755, mtime_ns=TIME)
    for path, content in tree.items():
        if content is None:
            yield Entry(path=path, mode=stat.S_IFDIR | 0o755, mtime_ns=TIME)
        elif isinstance(content, Link):
            yield Entry(path=path, mode=stat.S_IFLNK | 0o777, mtime_ns=TIME, target=content.target)
        else:
            yield Entry(path=path, mode=stat.S_IFREG | 0o644, mtime_ns=TIME, source=content)


def layer(*entries: Entry) -> Node:
    """Return the root of an image made of these entries."""
    out = io.BytesIO()
    write_image(entries, out)
    return ImageFs(Ext4Image(out.getvalue()), "sha256:test").root


def fill(root: Node, tree: Tree) -> None:
    """Make a tree through the nodes themselves."""
    folders = {b"": root}
    made = []
    for path, content in tree.items():
        above, _, name = path.rpartition(b"/")
        if content is None:
            node = folders[path] = folders[above].mkdir(name)
        elif isinstance(content, Link):
            node = folders[above].symlink(name, content.target)
        else:
            node = folders[above].create(name)
            description = node.open(NOBODY, WRITE)
            description.retain()
            assert description.write(NOBODY, [memoryview(content)]) == len(content)
            description.release()
        made.append(node)
    for node in [*reversed(made), root]:
        node.set_times(TIME, TIME)


@dataclass
class Files:
    """A file system at the root of a namespace, called the way system calls do."""

    root: Node
    namespace: Namespace = field(init=False)
    opened: list[Description] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.namespace = Namespace(self.root)
        self.start: Location = self.namespace.root

    def at(self, path: bytes) -> Location:
        return self.namespace.resolve(NOBODY, self.start, path, follow=True)

    def open(
        self,
        path: bytes,
        flags: OpenFlags = READ,
        oflags: int = 0,
        *,
        follow: bool = True,
        start: Location | None = None,
        beneath: bool = False,
    ) -> Description:
        _, description = self.namespace.open(
            NOBODY,
            start or self.start,
            path,
            oflags=oflags,
            flags=flags,
            follow=follow,
            beneath=beneath,
        )
        description.retain()
        self.opened.append(description)
        return description

    def close(self, description: Description) -> None:
        self.opened.remove(description)
        description.release()

    def close_all(self) -> None:
        while self.opened:
            self.opened.pop().release()

    def read(self, path: bytes) -> bytes:
        description = self.open(path)
        data = read_all(description)
        self.close(description)
        return data

    def write(self, path: bytes, data: bytes) -> None:
        description = self.open(path, OpenFlags(read=False, write=True, truncate=True), O_CREAT)
        assert write(description, data) == len(data)
        self.close(description)

    def stat(self, path: bytes, *, follow: bool = False) -> Stat:
        return self.namespace.stat(NOBODY, self.start, path, follow=follow)

    def exists(self, path: bytes) -> bool:
        parent = self.namespace.resolve_parent(NOBODY, self.start, path)
        return parent.name in self.names(parent.location.path())

    def mkdir(self, path: bytes) -> None:
        self.namespace.make_directory(NOBODY, self.start, path)

    def rmdir(self, path: bytes) -> None:
        self.namespace.remove_directory(NOBODY, self.start, path)

    def unlink(self, path: bytes) -> None:
        self.namespace.unlink(NOBODY, self.start, path)

    def rename(self, old: bytes, new: bytes) -> None:
        self.namespace.rename(NOBODY, self.start, old, self.start, new)

    def link(self, old: bytes, new: bytes, *, follow: bool = False) -> None:
        self.namespace.link(NOBODY, self.start, old, self.start, new, follow=follow)

    def symlink(self, target: bytes, path: bytes) -> None:
        self.namespace.symlink(NOBODY, target, self.start, path)

    def readlink(self, path: bytes) -> bytes:
        return self.namespace.read_link(NOBODY, self.start, path)

    def set_times(self, path: bytes, atim: int | None, mtim: int | None) -> None:
        self.namespace.set_times(NOBODY, self.start, path, atim, mtim, follow=False)

    def names(self, path: bytes) -> set[bytes]:
        found = [entry.name for entry in self.namespace.children(NOBODY, self.at(path))]
        assert len(set(found)) == len(found)
        return set(found)

    def tree(self, path: bytes = b".") -> Tree:
        """Everything below a directory, as it was given to a maker."""
        found: Tree = {}
        pending = [(b"", self.at(path))]
        while pending:
            prefix, location = pending.pop()
            for entry in self.namespace.children(NOBODY, location):
                name = prefix + entry.name
                node = location.node.lookup(NOBODY, entry.name)
                assert node.filetype is entry.filetype
                assert node.stat().ino == entry.ino
                if entry.filetype is Filetype.DIRECTORY:
                    found[name] = None
                    pending.append((name + b"/", self.at(location.path() + b"/" + entry.name)))
                elif entry.filetype is Filetype.SYMBOLIC_LINK:
                    found[name] = Link(node.readlink(NOBODY))
                else:
                    description = node.open(NOBODY, READ)
                    description.retain()
                    found[name] = read_all(description)
                    description.release()
        return found


def read(description: Description, size: int) -> bytes:
    """Read up to `size` bytes in one call."""
    data = bytearray(size)
    return bytes(data[: description.read(NOBODY, [memoryview(data)])])


def pread(description: Description, size: int, offset: int) -> bytes:
    """Read up to `size` bytes at an offset."""
    data = bytearray(size)
    return bytes(data[: description.pread(NOBODY, [memoryview(data)], offset)])


def read_all(description: Description) -> bytes:
    """Read until the end."""
    pieces = []
    while piece := read(description, 1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def write(description: Description, data: bytes) -> int:
    """Write at the offset."""
    return description.write(NOBODY, [memoryview(data)])


def pwrite(description: Description, data: bytes, offset: int) -> int:
    """Write at `offset`."""
    return description.pwrite(NOBODY, [memoryview(data)], offset)


def tell(description: Description) -> int:
    """The current offset."""
    return description.seek(0, Whence.CUR)


@contextlib.contextmanager
def refused(*errnos: Errno) -> Iterator[None]:
    """Expect one of these errors."""
    with pytest.raises(GuestError) as caught:
        yield
    assert caught.value.errno in errnos


# The file systems: each takes a directory for its own use and a tree, and returns its root.


def make_tmpfs(directory: Path, tree: Tree) -> Node:
    root = Tmpfs(64 << 20).root
    fill(root, tree)
    return root


def make_hostdir(directory: Path, tree: Tree) -> Node:
    root = HostDirectory(directory).root
    fill(root, tree)
    return root


def make_read_only_hostdir(directory: Path, tree: Tree) -> Node:
    fill(HostDirectory(directory).root, tree)
    return HostDirectory(directory, read_only=True).root


def make_image(directory: Path, tree: Tree) -> Node:
    return layer(*entries_of(tree))


def make_overlay_of_layer(directory: Path, tree: Tree) -> Node:
    """The tree is in a layer: every change copies up."""
    return Overlay([make_image(directory, tree)], directory / "upper", durable=False).root


def make_limited_overlay(directory: Path, tree: Tree) -> Node:
    """The same with a limit that is not reached: all is counted."""
    upper = directory / "upper"
    quota = Quota(1 << 40, upper)
    return Overlay([make_image(directory, tree)], upper, durable=False, quota=quota).root


def make_overlay_of_two(directory: Path, tree: Tree) -> Node:
    """Every other entry is in a second layer, with the directories in both."""
    halves: list[Tree] = [{}, {}]
    for number, (path, content) in enumerate(tree.items()):
        for half in halves if content is None else [halves[number % 2]]:
            half[path] = content
    layers = [make_image(directory, half) for half in halves]
    return Overlay(layers, directory / "upper", durable=False).root


def make_overlay_of_upper(directory: Path, tree: Tree) -> Node:
    """The tree is in the upper directory, from an earlier life of the container."""
    fill(Overlay([], directory / "upper", durable=False).root, tree)
    return Overlay([], directory / "upper", durable=False).root


WRITABLE = {
    "tmpfs": make_tmpfs,
    "hostdir": make_hostdir,
    "overlay-layer": make_overlay_of_layer,
    "overlay-limited": make_limited_overlay,
    "overlay-two-layers": make_overlay_of_two,
    "overlay-upper": make_overlay_of_upper,
}
READ_ONLY = {"image": make_image, "hostdir-read-only": make_read_only_hostdir}
