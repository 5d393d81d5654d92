"""Random changes to a limited overlay: what is counted is always what is there."""

from __future__ import annotations

import io
import random
import stat
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from balenawasm.disk.entry import Entry
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.disk.ext4.writer import write_image
from balenawasm.vfs.filesystems.image import ImageFs
from balenawasm.vfs.filesystems.overlay import Overlay
from balenawasm.vfs.filesystems.quota import BLOCK, Quota
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import APPEND, Filetype

if TYPE_CHECKING:
    from pathlib import Path

    from balenawasm.vfs.description import Description
    from balenawasm.vfs.node import Node

LIMIT = 12 * BLOCK
NAMES = (b"a", b"b", b"c", b"d", b"e")
EXPECTED = {
    Errno.ENOENT, Errno.EEXIST, Errno.ENOSPC, Errno.ENOTEMPTY, Errno.EISDIR, Errno.ENOTDIR,
    Errno.EINVAL, Errno.EPERM, Errno.ELOOP, Errno.EACCES, Errno.ESTALE,
}  # fmt: skip


def lower() -> Node:
    out = io.BytesIO()
    entries = [Entry(path=b"", mode=stat.S_IFDIR | 0o755)]
    for directory in (b"a", b"b"):
        entries.append(Entry(path=directory, mode=stat.S_IFDIR | 0o755))
        entries += [
            Entry(path=directory + b"/" + name, mode=stat.S_IFREG | 0o644, source=b"x" * size)
            for name, size in ((b"c", 0), (b"d", 5000), (b"e", 3 * BLOCK))
        ]
    entries.append(Entry(path=b"c", mode=stat.S_IFREG | 0o644, source=b"y" * 100))
    write_image(entries, out)
    return ImageFs(Ext4Image(out.getvalue()), "sha256:x").root


class Walk:
    """Random changes; what is refused is part of it."""

    def __init__(self, root: Node, seed: int) -> None:
        self.random = random.Random(seed)
        self.root = root
        self.open: list[Description] = []
        self.refused: Counter[Errno] = Counter()

    def directory(self) -> Node:
        node = self.root
        while self.random.random() < 0.5:
            try:
                inner = node.lookup(NOBODY, self.random.choice(NAMES))
            except GuestError:
                break
            if inner.filetype is not Filetype.DIRECTORY:
                break
            node = inner
        return node

    def step(self) -> None:
        pick, choose = self.random.choice, self.random.randrange
        kinds = (self.make, self.remove, self.open_one, self.change, self.change, self.close_one)
        try:
            pick(kinds)(self.directory(), pick(NAMES), choose(6 * BLOCK))
        except GuestError as error:
            self.refused[error.errno] += 1
            if error.errno not in EXPECTED:
                raise

    def make(self, directory: Node, name: bytes, size: int) -> None:
        match size % 4:
            case 0:
                directory.mkdir(name)
            case 1:
                directory.symlink(name, b"target")
            case 2:
                other = self.directory()
                directory.link(name, other.lookup(NOBODY, self.random.choice(NAMES)))
            case _:
                self.hold(directory.create(name), OpenFlags(write=True))

    def remove(self, directory: Node, name: bytes, size: int) -> None:
        match size % 3:
            case 0:
                directory.unlink(name)
            case 1:
                directory.rmdir(name)
            case _:
                directory.rename(name, self.directory(), self.random.choice(NAMES))

    def open_one(self, directory: Node, name: bytes, size: int) -> None:
        flags = (
            OpenFlags(),
            OpenFlags(write=True),
            OpenFlags(write=True, truncate=True),
            OpenFlags(write=True, fdflags=APPEND),
        )
        node = directory.lookup(NOBODY, name)
        if node.filetype is Filetype.REGULAR_FILE:
            self.hold(node, flags[size % 4])

    def hold(self, node: Node, flags: OpenFlags) -> None:
        description = node.open(NOBODY, flags)
        description.retain()
        self.open.append(description)

    def change(self, directory: Node, name: bytes, size: int) -> None:
        if not self.open:
            directory.lookup(NOBODY, name).truncate(size)
            return
        description = self.random.choice(self.open)
        if not description.writable:
            return
        match size % 4:
            case 0:
                description.truncate(size)
            case 1:
                description.pwrite(NOBODY, [memoryview(b"z" * 700)], size)
            case 2:
                description.allocate(size, 5000)
            case _:
                description.write(NOBODY, [memoryview(b"w" * size), memoryview(b"v" * 99)])

    def close_one(self, _directory: Node, _name: bytes, _size: int) -> None:
        if self.open:
            self.open.pop(self.random.randrange(len(self.open))).release()


@pytest.mark.parametrize("seed", range(40))
def test_what_is_counted_is_what_is_there(tmp_path: Path, seed: int) -> None:
    upper = tmp_path / "upper"
    quota = Quota(LIMIT, upper)
    walk = Walk(Overlay([lower()], upper, durable=False, quota=quota).root, seed)
    for _ in range(4):
        for _ in range(60):
            walk.step()
        while walk.open:
            walk.open.pop().release()
        assert quota.used == Quota(LIMIT, upper).used
    assert walk.refused[Errno.ENOSPC]
