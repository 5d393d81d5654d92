"""Random calls on each writable file system answer what Linux answers, and leave the same tree."""

from __future__ import annotations

import contextlib
import errno as host_errno
import os
import stat as stat_mode
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balenawasm.disk.entry import Entry
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.disk.ext4.writer import write_image
from balenawasm.layer.changes import change_entries
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.image import ImageFs
from balenawasm.vfs.filesystems.overlay import Overlay
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import MODE_OF_FILETYPE, OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.errno import FROM_HOST, GuestError
from balenawasm.wasi.flags import O_CREAT, O_EXCL, O_TRUNC, Filetype

DEPTH = b"top/" * 12
"""So far below the root that no random path climbs out of the tree."""

names = st.sampled_from([b"a", b"b", b"c"])
components = st.one_of(names, names, names, st.sampled_from([b".", b"..", b""]))
paths = st.builds(
    lambda parts, slash: (b"/".join(parts).lstrip(b"/") or b"a") + slash,
    st.lists(components, min_size=1, max_size=4),
    st.sampled_from([b"", b"", b"", b"/"]),
)
targets = st.sampled_from([b"a", b"b", b"c", b"a/b", b"../a", b"./c/", b"b/..", b"nowhere"])
calls = st.one_of(
    st.tuples(st.just("mkdir"), paths),
    st.tuples(st.just("mkdir"), paths),
    st.tuples(st.just("rmdir"), paths),
    st.tuples(st.just("unlink"), paths),
    st.tuples(st.just("rename"), paths, paths),
    st.tuples(st.just("rename"), paths, paths),
    st.tuples(st.just("link"), paths, paths),
    st.tuples(st.just("symlink"), targets, paths),
    st.tuples(
        st.just("write"),
        paths,
        st.sampled_from([O_CREAT, O_CREAT, O_CREAT | O_EXCL, O_TRUNC, 0]),
        st.binary(max_size=5),
    ),
    st.tuples(st.just("read"), paths),
    st.tuples(st.just("readlink"), paths),
    st.tuples(st.just("stat"), paths, st.booleans()),
    st.tuples(st.just("list"), paths),
)


class Linux:
    """The calls on the host itself."""

    def __init__(self, top: bytes) -> None:
        self.top = os.open(top, os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        os.close(self.top)

    def mkdir(self, path):
        os.mkdir(path, dir_fd=self.top)

    def rmdir(self, path):
        os.rmdir(path, dir_fd=self.top)

    def unlink(self, path):
        os.unlink(path, dir_fd=self.top)

    def rename(self, old, new):
        os.rename(old, new, src_dir_fd=self.top, dst_dir_fd=self.top)

    def link(self, old, new):
        os.link(old, new, src_dir_fd=self.top, dst_dir_fd=self.top, follow_symlinks=False)

    def symlink(self, target, path):
        os.symlink(target, path, dir_fd=self.top)

    def write(self, path, oflags, data):
        flags = os.O_WRONLY
        for bit, host in ((O_CREAT, os.O_CREAT), (O_EXCL, os.O_EXCL), (O_TRUNC, os.O_TRUNC)):
            flags |= host if oflags & bit else 0
        fd = os.open(path, flags, 0o644, dir_fd=self.top)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)

    def read(self, path):
        fd = os.open(path, os.O_RDONLY, dir_fd=self.top)
        try:
            return os.read(fd, 1000)
        finally:
            os.close(fd)

    def readlink(self, path):
        return os.readlink(path, dir_fd=self.top)

    def stat(self, path, follow):
        status = os.stat(path, dir_fd=self.top, follow_symlinks=follow)
        kind = stat_mode.S_IFMT(status.st_mode)
        return kind, None if kind == stat_mode.S_IFDIR else (status.st_size, status.st_nlink)

    def list(self, path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.top)
        try:
            return sorted(os.fsencode(name) for name in os.listdir(fd))
        finally:
            os.close(fd)


class Ours:
    """The same calls on a namespace."""

    def __init__(self, root) -> None:
        self.space = Namespace(root)
        self.top = self.space.resolve(NOBODY, self.space.root, DEPTH, follow=True)

    def mkdir(self, path):
        self.space.make_directory(NOBODY, self.top, path)

    def rmdir(self, path):
        self.space.remove_directory(NOBODY, self.top, path)

    def unlink(self, path):
        self.space.unlink(NOBODY, self.top, path)

    def rename(self, old, new):
        self.space.rename(NOBODY, self.top, old, self.top, new)

    def link(self, old, new):
        self.space.link(NOBODY, self.top, old, self.top, new)

    def symlink(self, target, path):
        self.space.symlink(NOBODY, target, self.top, path)

    def _open(self, path, oflags, flags):
        _, description = self.space.open(
            NOBODY, self.top, path, oflags=oflags, flags=flags, follow=True
        )
        description.retain()
        return description

    def write(self, path, oflags, data):
        description = self._open(path, oflags, OpenFlags(read=False, write=True))
        description.write(NOBODY, [memoryview(data)])
        description.release()

    def read(self, path):
        description = self._open(path, 0, OpenFlags())
        try:
            buffer = bytearray(1000)
            return bytes(buffer[: description.read(NOBODY, [memoryview(buffer)])])
        finally:
            description.release()

    def readlink(self, path):
        return self.space.read_link(NOBODY, self.top, path)

    def stat(self, path, follow):
        found = self.space.stat(NOBODY, self.top, path, follow=follow)
        kind = MODE_OF_FILETYPE[found.filetype]
        return kind, None if found.filetype is Filetype.DIRECTORY else (found.size, found.nlink)

    def list(self, path):
        location = self.space.resolve(NOBODY, self.top, path, follow=True)
        return sorted(entry.name for entry in self.space.children(NOBODY, location))


def outcome(system, call):
    """The answer of a call, or its errno's WASI name."""
    try:
        return getattr(system, call[0])(*call[1:])
    except GuestError as error:
        return error.errno.name
    except OSError as error:
        return FROM_HOST[error.errno or host_errno.EIO].name


def seed(system) -> None:
    """Something to begin with, by the calls themselves."""
    for call in (
        ("mkdir", b"a"),
        ("mkdir", b"a/b"),
        ("mkdir", b"a/b/c"),
        ("write", b"a/c", O_CREAT, b"ac"),
        ("write", b"a/b/a", O_CREAT, b"aba"),
        ("write", b"b", O_CREAT, b"b"),
        ("symlink", b"a/b", b"c"),
    ):
        assert outcome(system, call) is None


def snapshot(system):
    """Everything there is."""
    found = {}
    pending = [b"."]
    while pending:
        path = pending.pop()
        for name in system.list(path):
            inner = path + b"/" + name
            kind, _ = found[inner] = system.stat(inner, False)
            if kind == stat_mode.S_IFDIR:
                pending.append(inner)
            elif kind == stat_mode.S_IFLNK:
                found[inner] = system.readlink(inner)
            else:
                found[inner] = system.read(inner), found[inner]
    return found


def seeded_image() -> Ext4Image:
    directory, file, link = stat_mode.S_IFDIR | 0o755, stat_mode.S_IFREG | 0o644, 0o120777
    entries = [Entry(path=b"", mode=directory)]
    path = b""
    for part in DEPTH.rstrip(b"/").split(b"/"):
        path = path + b"/" + part if path else part
        entries.append(Entry(path=path, mode=directory))
    for name in (b"a", b"a/b", b"a/b/c"):
        entries.append(Entry(path=DEPTH + name, mode=directory))
    for name, data in ((b"a/c", b"ac"), (b"a/b/a", b"aba"), (b"b", b"b")):
        entries.append(Entry(path=DEPTH + name, mode=file, source=data))
    entries.append(Entry(path=DEPTH + b"c", mode=link, target=b"a/b"))
    return _image(entries)


def _image(entries) -> Ext4Image:
    with tempfile.TemporaryFile() as out:
        write_image(entries, out)
        out.seek(0)
        return Ext4Image(out.read())


IMAGE = seeded_image()


def make_tmpfs(directory: Path):
    root = Tmpfs(1 << 24).root
    _descend(root)
    seed(Ours(root))
    return root


def make_hostdir(directory: Path):
    root = HostDirectory(directory).root
    _descend(root)
    seed(Ours(root))
    return root


def make_overlay(directory: Path):
    return Overlay([ImageFs(IMAGE, "sha256:x").root], directory / "upper", durable=False).root


def make_overlay_anew(directory: Path):
    """The tree is in the upper directory, found there by a new overlay."""
    root = Overlay([], directory / "upper", durable=False).root
    _descend(root)
    seed(Ours(root))
    return Overlay([], directory / "upper", durable=False).root


def _descend(node) -> None:
    for part in DEPTH.rstrip(b"/").split(b"/"):
        node = node.mkdir(part)


MAKERS = {
    "tmpfs": make_tmpfs,
    "hostdir": make_hostdir,
    "overlay": make_overlay,
    "overlay-anew": make_overlay_anew,
}


@pytest.mark.parametrize("kind", MAKERS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sequence=st.lists(calls, max_size=30))
def test_calls(kind, sequence) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        top = os.path.join(os.fsencode(scratch), b"linux", DEPTH)
        os.makedirs(top)
        linux = Linux(top)
        with contextlib.closing(linux):
            seed(linux)
            ours = Ours(_make(kind, scratch))
            for call in sequence:
                assert (call, outcome(ours, call)) == (call, outcome(linux, call))
            assert snapshot(ours) == snapshot(linux)
            if kind.startswith("overlay"):
                _check_found_again(kind, scratch, linux)


def _make(kind, scratch):
    directory = Path(scratch, "ours")
    directory.mkdir()
    return MAKERS[kind](directory)


def _check_found_again(kind, scratch, linux) -> None:
    """A new overlay over the same upper directory shows the same, and so does one over it as a
    layer.
    """
    lowers = [ImageFs(IMAGE, "sha256:x").root] if kind == "overlay" else []
    upper = Path(scratch, "ours", "upper")
    again = Ours(Overlay(lowers, upper, durable=False).root)
    assert snapshot(again) == snapshot(linux)
    if upper.exists():
        layer = ImageFs(_image(change_entries(upper)), "sha256:y").root
        as_layer = Ours(Overlay([layer, *lowers], Path(scratch, "other")).root)
        assert _without_links(snapshot(as_layer)) == _without_links(snapshot(linux))


def _without_links(found):
    """The same without link counts: a layer cannot be linked with the one below it."""
    return {
        path: what[0] if isinstance(what, tuple) and isinstance(what[1], tuple) else what
        for path, what in found.items()
    }
