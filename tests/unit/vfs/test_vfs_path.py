"""Mounts, placeholders, magic links and the limits of path resolution."""

from __future__ import annotations

import pytest

from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY, Automount
from balenawasm.vfs.node import Node, OpenFlags, Stat
from balenawasm.vfs.path import MAX_LINKS, Namespace
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import O_CREAT, O_EXCL, Filetype


def refused(errno):
    return pytest.raises(GuestError, match=f"^{errno.value}$")


@pytest.fixture
def root():
    return Tmpfs(1 << 20).root


@pytest.fixture
def space(root):
    return Namespace(root)


def find(space, path, **how):
    return space.resolve(NOBODY, space.root, path, follow=True, **how)


def names(space, path):
    return {entry.name for entry in space.children(NOBODY, find(space, path))}


def test_mount_hides_what_was_there(space, root) -> None:
    root.mkdir(b"mnt").create(b"below")
    top = Tmpfs(1 << 20).root
    top.create(b"above")
    space.mount(b"/mnt", top)
    assert find(space, b"/mnt").node is top
    assert names(space, b"/mnt") == {b"above"}
    assert find(space, b"/mnt/..").node is root
    assert find(space, b"mnt/above").path() == b"/mnt/above"


def test_mounts_stack_and_nest(space) -> None:
    one, two, inner = (Tmpfs(1 << 20).root for _ in range(3))
    space.mount(b"/m", one)
    space.mount(b"/m/inner", inner)
    space.mount(b"//m/./", two, source=b"vol", kind=b"tmpfs", options=b"ro")
    assert find(space, b"/m").node is two
    assert find(space, b"/m/inner").node is inner
    assert names(space, b"/m") == {b"inner"}
    assert [mount.path for mount in space.mounts()] == [b"/", b"/m", b"/m/inner", b"/m"]
    assert space.mounts()[-1][2:] == (b"vol", b"tmpfs", b"ro")


def test_mount_of_a_file(space, root) -> None:
    root.mkdir(b"etc").create(b"hosts")
    file = Tmpfs(1 << 20).root.create(b"x")
    space.mount(b"/etc/hosts", file)
    space.mount(b"/etc/new", file)
    assert find(space, b"/etc/hosts").node is file
    entries = {e.name: e for e in space.children(NOBODY, find(space, b"/etc"))}
    assert set(entries) == {b"hosts", b"new"}
    assert entries[b"hosts"].ino == file.stat().ino
    assert entries[b"hosts"].filetype is Filetype.REGULAR_FILE
    for path in (b"/etc/hosts", b"/etc/new"):
        with refused(Errno.EBUSY):
            space.unlink(NOBODY, space.root, path)
        with refused(Errno.EEXIST):
            space.open(
                NOBODY,
                space.root,
                path,
                oflags=O_CREAT | O_EXCL,
                flags=OpenFlags(),
                follow=True,
            )
        with refused(Errno.EEXIST):
            space.symlink(NOBODY, b"x", space.root, path)


def test_mount_follows_links_of_the_tree(space, root) -> None:
    root.mkdir(b"run")
    root.mkdir(b"var").symlink(b"run", b"../run")
    root.symlink(b"abs", b"/var/run")
    node = Tmpfs(1 << 20).root
    space.mount(b"/abs/app/data", node)
    assert find(space, b"/run/app/data").node is node
    assert find(space, b"/var/run/app/data").path() == b"/run/app/data"


@pytest.mark.parametrize("path", [b"relative", b"/", b"/..", b"/none/../x", b"/nul\0"])
def test_mount_refused(space, path) -> None:
    with refused(Errno.EINVAL):
        space.mount(path, Tmpfs(1 << 20).root)


def test_mount_below_a_file_is_refused(space, root) -> None:
    root.create(b"file")
    with refused(Errno.ENOTDIR):
        space.mount(b"/file/x", Tmpfs(1 << 20).root)


def test_missing_directories_on_the_way(space, root) -> None:
    node = Tmpfs(1 << 20).root
    space.mount(b"/a/b/c", node)
    assert names(space, b"/") == {b"a"}
    assert names(space, b"/a") == {b"b"}
    assert names(space, b"/a/b") == {b"c"}
    stat = find(space, b"/a/b").node.stat()
    assert stat.filetype is Filetype.DIRECTORY
    assert stat.ino != find(space, b"/a").node.stat().ino
    _, description = space.open(
        NOBODY, space.root, b"/a/b", oflags=0, flags=OpenFlags(), follow=True
    )
    listing = description.listing(NOBODY, restart=True)
    assert [entry.name for entry in listing] == [b".", b"..", b"c"]
    assert listing[2].ino == node.stat().ino
    with refused(Errno.EISDIR):
        space.open(NOBODY, space.root, b"/a", oflags=0, flags=OpenFlags(write=True), follow=True)
    with refused(Errno.ENOENT):
        find(space, b"/a/none")
    with refused(Errno.ENOENT):
        space.unlink(NOBODY, space.root, b"/a/b/none")
    for path in (b"/a", b"/a/b", b"/a/b/c"):
        with refused(Errno.EBUSY):
            space.remove_directory(NOBODY, space.root, path)
        with refused(Errno.EEXIST):
            space.make_directory(NOBODY, space.root, path)
    assert root.entries(NOBODY) == []


def test_missing_directories_come_true_when_something_is_made_in_them(space, root) -> None:
    space.mount(b"/a/b/c", Tmpfs(1 << 20).root)
    place = find(space, b"/a/b")
    space.make_directory(NOBODY, place, b"new")
    assert root.lookup(NOBODY, b"a").lookup(NOBODY, b"b").lookup(NOBODY, b"new")
    place.node.create(b"file")
    place.node.symlink(b"link", b"new")
    place.node.link(b"hard", find(space, b"/a/b/file").node)
    assert names(space, b"/a/b") == {b"new", b"file", b"link", b"hard", b"c"}
    assert {e.name for e in place.node.entries(NOBODY)} == {b"new", b"file", b"link", b"hard"}
    place.node.unlink(b"hard")
    place.node.rename(b"file", root, b"out")
    place.node.rmdir(b"new")
    assert place.node.lookup(NOBODY, b"link").filetype is Filetype.SYMBOLIC_LINK
    space.rename(NOBODY, space.root, b"/out", space.root, b"/a/back")
    assert find(space, b"/a/back").node.filetype is Filetype.REGULAR_FILE


def test_rename_into_a_missing_directory_makes_it(space, root) -> None:
    space.mount(b"/a/b", Tmpfs(1 << 20).root)
    root.create(b"file")
    space.rename(NOBODY, space.root, b"file", space.root, b"a/file")
    assert root.lookup(NOBODY, b"a").lookup(NOBODY, b"file")


def test_as_many_links_as_linux(space, root) -> None:
    root.create(b"l0")
    for number in range(1, MAX_LINKS + 2):
        root.symlink(b"l%d" % number, b"l%d" % (number - 1))
    assert find(space, b"l%d" % MAX_LINKS).path() == b"/l0"
    with refused(Errno.ELOOP):
        find(space, b"l%d" % (MAX_LINKS + 1))
    root.symlink(b"x", b"x/" * 100 + b"x")
    with refused(Errno.ELOOP):
        find(space, b"x")
    with refused(Errno.ELOOP):
        space.open(NOBODY, space.root, b"x", oflags=O_CREAT, flags=OpenFlags(), follow=True)


def test_links_may_leave_the_start_but_paths_may_not(space, root) -> None:
    folder = root.mkdir(b"dir")
    root.mkdir(b"other").create(b"file")
    folder.symlink(b"rel", b"../other")
    folder.symlink(b"abs", b"/other")
    start = find(space, b"dir")
    for path in (b"rel/file", b"abs/file"):
        found = space.resolve(NOBODY, start, path, follow=True, beneath=True)
        assert found.path() == b"/other/file"
    with refused(Errno.EPERM):
        space.resolve(NOBODY, start, b"../other/file", follow=True, beneath=True)
    root.symlink(b"up", b"../../../other/file")
    assert find(space, b"up").path() == b"/other/file"
    folder.symlink(b"new", b"../made")
    location, _ = space.open(
        NOBODY, start, b"new", oflags=O_CREAT, flags=OpenFlags(), follow=True, beneath=True
    )
    assert location.path() == b"/made"


def test_names_up_to_the_limits(space, root) -> None:
    long = b"n" * 255
    root.mkdir(long).mkdir(long)
    assert find(space, long + b"/" + long).names() == [long, long]
    assert find(space, b"./" * 2047 + b"..").path() == b"/"
    with refused(Errno.ENAMETOOLONG):
        find(space, long + b"n")
    with refused(Errno.ENAMETOOLONG):
        space.symlink(NOBODY, b"x" * 4097, space.root, b"l")


class MagicLink(Node):
    """A link whose text leads nowhere."""

    filetype = Filetype.SYMBOLIC_LINK

    def __init__(self, target) -> None:
        self.target = target

    def stat(self):
        return Stat(1, 1, self.filetype, 1, 0, 0, 0, 0)

    def jump(self, caller):
        return self.target

    def readlink(self, caller):
        return b"pipe:[1]"


def test_magic_links(space, root) -> None:
    folder = Tmpfs(1 << 20).root
    folder.create(b"in").open(NOBODY, OpenFlags(write=True))
    file = Tmpfs(1 << 20).root.create(b"file")
    space.mount(b"/to-folder", MagicLink(folder))
    space.mount(b"/to-file", MagicLink(file))
    assert find(space, b"to-folder").node is folder
    assert find(space, b"to-folder/in").node is folder.lookup(NOBODY, b"in")
    assert find(space, b"to-folder/../to-folder/").node is folder
    assert find(space, b"to-file").node is file
    with refused(Errno.ENOTDIR):
        find(space, b"to-file/")
    assert space.read_link(NOBODY, space.root, b"to-file") == b"pipe:[1]"
    location, description = space.open(
        NOBODY, space.root, b"to-file", oflags=O_CREAT, flags=OpenFlags(), follow=True
    )
    assert location.node is file
    assert description.node is file
    with refused(Errno.ELOOP):
        space.open(NOBODY, space.root, b"to-file", oflags=0, flags=OpenFlags(), follow=False)


def test_parent(space, root) -> None:
    root.mkdir(b"d").create(b"f")
    root.symlink(b"l", b"d")
    for path, directory, name, slash in (
        (b"d/f", b"/d", b"f", False),
        (b"l/new//", b"/d", b"new", True),
        (b"x", b"/", b"x", False),
        (b"/", b"/", b"", True),
        (b"d/.", b"/d", b".", False),
        (b"d/../", b"/d", b"..", True),
        (b"d/../x", b"/", b"x", False),
    ):
        parent = space.resolve_parent(NOBODY, space.root, path)
        assert (parent.location.path(), parent.name) == (directory, name), path
        assert parent.must_be_directory is slash
        assert parent.special is (name in (b"", b".", b".."))
    for path, errno in ((b"d/f/x", Errno.ENOTDIR), (b"no/x", Errno.ENOENT), (b"", Errno.ENOENT)):
        with refused(errno):
            space.resolve_parent(NOBODY, space.root, path)
    with refused(Errno.EPERM):
        space.resolve_parent(NOBODY, space.root, b"/d/f", beneath=True)


def test_starting_from_a_file_is_refused(space, root) -> None:
    root.create(b"f")
    with refused(Errno.ENOTDIR):
        space.resolve(NOBODY, find(space, b"f"), b"x", follow=True)


def test_the_kernel_as_a_caller() -> None:
    assert NOBODY.pid == 0
    assert NOBODY.wait([(0, 1)]) == []


def test_an_automount_is_made_once_by_the_first_who_goes_there() -> None:
    made: list[Node] = []

    def make() -> Node:
        made.append(Tmpfs(1 << 20).root)
        return made[-1]

    space = Namespace(Tmpfs(1 << 20).root)
    space.mount(b"/auto", Automount(make))
    space.mount(b"/other", Tmpfs(1 << 20).root)
    find(space, b"/other")
    assert made == []
    assert find(space, b"/auto").node is find(space, b"/auto").node is made[0]
    assert space.mounts()[1].root() is made[0]
    assert len(made) == 1
