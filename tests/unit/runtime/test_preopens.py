"""Which directories a label's patterns name."""

from balenawasm.runtime.preopens import MAXIMUM, existing_directories
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.path import Namespace


def tree(*paths: bytes) -> Namespace:
    root = Tmpfs(1 << 20).root
    for path in paths:
        node = root
        *parents, name = path.split(b"/")
        for parent in parents:
            known = {entry.name for entry in node.entries(NOBODY)}
            node = node.lookup(NOBODY, parent) if parent in known else node.mkdir(parent)
        node.create(name[:-1]) if name.endswith(b"!") else node.mkdir(name)
    return Namespace(root)


def test_names_patterns_and_exceptions() -> None:
    namespace = tree(b"usr/src", b"usr/local", b"usr/local/lib", b"usr/local/app", b"usr/file!")
    found = existing_directories(
        namespace, NOBODY, [b"/usr/*", b"/usr/local/*", b"!/usr/local", b"!/usr/local/lib"]
    )
    assert found == (b"/usr/src", b"/usr/local/app")


def test_what_is_missing_or_no_directory_is_left_out() -> None:
    namespace = tree(b"a", b"file!")
    assert existing_directories(namespace, NOBODY, [b"/a", b"/b", b"/file", b"/b/*"]) == (b"/a",)
    assert existing_directories(namespace, NOBODY, [b"/a", b"/*"]) == (b"/a",)


def test_their_number_is_limited() -> None:
    namespace = tree(*(b"%d" % number for number in range(MAXIMUM + 5)))
    assert len(existing_directories(namespace, NOBODY, [b"/*"])) == MAXIMUM
