"""What every file description answers unless it knows better, and counting its holders."""

from __future__ import annotations

import pytest

from balenawasm.vfs.description import Description
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import DirEntry, Node, OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype, Whence


def errno_of(call) -> Errno:
    with pytest.raises(GuestError) as caught:
        call()
    return caught.value.errno


class Counted(Description):
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_the_last_release_closes() -> None:
    description = Counted()
    description.retain()
    description.retain()
    description.release()
    assert description.closed == 0
    description.release()
    assert description.closed == 1


def test_defaults() -> None:
    plain = Description()
    buffers = [memoryview(bytearray(1))]
    answers = {
        "read": lambda: plain.read(NOBODY, buffers),
        "write": lambda: plain.write(NOBODY, buffers),
        "pread": lambda: plain.pread(NOBODY, buffers, 0),
        "pwrite": lambda: plain.pwrite(NOBODY, buffers, 0),
        "seek": lambda: plain.seek(0, Whence.CUR),
        "entries": lambda: plain.entries(NOBODY),
        "truncate": lambda: plain.truncate(0),
        "allocate": lambda: plain.allocate(0, 1),
        "set_times": lambda: plain.set_times(1, 1),
        "accept": lambda: plain.accept(NOBODY, 0),
        "recv": lambda: plain.recv(NOBODY, buffers, peek=False, wait_all=False),
        "send": lambda: plain.send(NOBODY, buffers),
        "shutdown": lambda: plain.shutdown(1),
    }
    assert {name: errno_of(call).name for name, call in answers.items()} == {
        "read": "EBADF",
        "write": "EBADF",
        "pread": "ESPIPE",
        "pwrite": "ESPIPE",
        "seek": "ESPIPE",
        "entries": "ENOTDIR",
        "truncate": "EINVAL",
        "allocate": "ENOTSUP",
        "set_times": "ENOTSUP",
        "accept": "ENOTSOCK",
        "recv": "ENOTSOCK",
        "send": "ENOTSOCK",
        "shutdown": "ENOTSOCK",
    }
    plain.sync(data_only=True)
    plain.set_flags(4)
    assert plain.flags == 4
    assert plain.stat().filetype is Filetype.UNKNOWN


def test_a_description_with_a_node_asks_it() -> None:
    node = Tmpfs(1 << 20).root.create(b"x")
    description = Description(node)
    description.set_times(5, 6)
    assert (description.stat().atim, description.stat().mtim) == (5, 6)


class Listed(Description):
    names = (b"a", b"b")

    def entries(self, caller):
        return [DirEntry(name, 1, Filetype.REGULAR_FILE) for name in self.names]


def test_a_listing_stays_until_it_is_restarted() -> None:
    description = Listed()
    first = description.listing(NOBODY, restart=False)
    assert [entry.name for entry in first] == [b".", b"..", b"a", b"b"]
    description.names = (b"c",)
    assert description.listing(NOBODY, restart=False) is first
    again = description.listing(NOBODY, restart=True)
    assert [entry.name for entry in again] == [b".", b"..", b"c"]


def test_what_nodes_answer_by_default() -> None:
    node = Node()
    other = Node()
    answers = {
        "stat": node.stat,
        "open": lambda: node.open(NOBODY, OpenFlags()),
        "readlink": lambda: node.readlink(NOBODY),
        "content": node.content,
        "truncate": lambda: node.truncate(0),
        "set_times": lambda: node.set_times(0, 0),
        "lookup": lambda: node.lookup(NOBODY, b"x"),
        "entries": lambda: node.entries(NOBODY),
        "create": lambda: node.create(b"x"),
        "mkdir": lambda: node.mkdir(b"x"),
        "symlink": lambda: node.symlink(b"x", b"y"),
        "link": lambda: node.link(b"x", other),
        "unlink": lambda: node.unlink(b"x"),
        "rmdir": lambda: node.rmdir(b"x"),
        "rename": lambda: node.rename(b"x", other, b"y"),
    }
    for name, call in answers.items():
        expected = {
            "stat": "EIO",
            "open": "EACCES",
            "readlink": "EINVAL",
            "content": "EACCES",
            "truncate": "EINVAL",
            "set_times": "EROFS",
        }
        assert errno_of(call).name == expected.get(name, "ENOTDIR"), name
    assert node.jump(NOBODY) is None
    assert node.xattr(b"user.x") is None
    node.filetype = Filetype.DIRECTORY
    assert errno_of(answers["content"]) is Errno.EISDIR
    for name in ("create", "mkdir", "symlink", "link", "unlink", "rmdir", "rename"):
        assert errno_of(answers[name]) is Errno.EROFS
