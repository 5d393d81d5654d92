from __future__ import annotations

import pytest
from preview1_guest import (
    FILE_RIGHTS,
    NOWHERE,
    READ_RIGHTS,
    CallError,
    Guest,
    dirents,
)

from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.node import Node
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno
from balenawasm.wasi.flags import Filetype
from balenawasm.wasi.structs import DIRENT


def errno(function: object, *arguments: object, **keywords: object) -> Errno:
    with pytest.raises(CallError) as caught:
        function(*arguments, **keywords)  # type: ignore[operator]
    return caught.value.errno


@pytest.fixture
def tree(guest: Guest) -> Guest:
    """`dir/sub`, `dir/file` ("data"); `link` → `dir/file`, `dirlink` → `dir`; two useless links."""
    guest.on_path("path_create_directory", b"dir")
    guest.on_path("path_create_directory", b"dir/sub")
    guest.create(b"dir/file", b"data")
    for target, name in (
        (b"dir/file", b"link"),
        (b"dir", b"dirlink"),
        (b"nothing", b"dangling"),
        (b"loop", b"loop"),
    ):
        guest.symlink(target, name)
    return guest


# path_open.


def test_access_follows_rights(tree: Guest) -> None:
    reading = tree.open(b"dir/file", rights=READ_RIGHTS)
    writing = tree.open(b"dir/file", rights=w.FD_WRITE)
    assert tree.read(reading) == b"data"
    assert errno(tree.write, reading, b"x") == Errno.ENOTCAPABLE
    assert tree.write(writing, b"DA") == 2
    assert errno(tree.read, writing) == Errno.ENOTCAPABLE
    nothing = tree.open(b"dir/file", rights=0)
    assert errno(tree.read, nothing) == Errno.ENOTCAPABLE
    assert tree.fdstat(nothing)[2:] == (0, w.RIGHTS_ALL)


@pytest.mark.parametrize(
    ("path", "oflags", "rights", "follow", "expected"),
    [
        (b"dir/file", 0, FILE_RIGHTS, True, None),
        (b"./dir//sub/../file", 0, FILE_RIGHTS, True, None),
        (b"link", 0, FILE_RIGHTS, True, None),
        (b"link", 0, FILE_RIGHTS, False, Errno.ELOOP),
        (b"dirlink/file", 0, FILE_RIGHTS, False, None),
        (b"loop", 0, FILE_RIGHTS, True, Errno.ELOOP),
        (b"dangling", 0, FILE_RIGHTS, True, Errno.ENOENT),
        (b"dangling", w.O_CREAT, FILE_RIGHTS, True, None),
        (b"dangling", w.O_CREAT | w.O_EXCL, FILE_RIGHTS, True, Errno.EEXIST),
        (b"new", w.O_CREAT | w.O_EXCL, FILE_RIGHTS, True, None),
        (b"new", w.O_CREAT, 0, True, None),
        (b"new/", w.O_CREAT, FILE_RIGHTS, True, Errno.EISDIR),
        (b"new", w.O_CREAT | w.O_DIRECTORY, FILE_RIGHTS, True, Errno.EINVAL),
        (b"dir/file", w.O_CREAT, FILE_RIGHTS, True, None),
        (b"dir/file", w.O_CREAT | w.O_EXCL, FILE_RIGHTS, True, Errno.EEXIST),
        (b"dir/file", w.O_DIRECTORY, READ_RIGHTS, True, Errno.ENOTDIR),
        (b"dir/file/", 0, READ_RIGHTS, True, Errno.ENOTDIR),
        (b"dir/file/x", w.O_CREAT, FILE_RIGHTS, True, Errno.ENOTDIR),
        (b"nothing/x", w.O_CREAT, FILE_RIGHTS, True, Errno.ENOENT),
        (b"dir", 0, READ_RIGHTS, True, None),
        (b"dir", w.O_DIRECTORY, 0, True, None),
        (b"dirlink", w.O_DIRECTORY, 0, True, None),
        (b"dirlink/", w.O_DIRECTORY, 0, False, None),
        (b"dir", 0, FILE_RIGHTS, True, Errno.EISDIR),
        (b"dir", w.O_TRUNC, 0, True, Errno.EISDIR),
        (b"dir", w.O_CREAT, 0, True, Errno.EISDIR),
        (b".", 0, 0, True, None),
        (b"", 0, FILE_RIGHTS, True, Errno.ENOENT),
        (b"..", 0, 0, True, Errno.EPERM),
        (b"dir/../../x", w.O_CREAT, FILE_RIGHTS, True, Errno.EPERM),
        (b"/dir/file", 0, FILE_RIGHTS, True, Errno.EPERM),
        (b"dir/file\0", 0, FILE_RIGHTS, True, Errno.EINVAL),
        (b"x" * 256, w.O_CREAT, FILE_RIGHTS, True, Errno.ENAMETOOLONG),
        (b"x/" * 2049, 0, FILE_RIGHTS, True, Errno.ENAMETOOLONG),
        (b"\xff\xfe", w.O_CREAT, FILE_RIGHTS, True, None),
    ],
)
def test_opening(
    tree: Guest, path: bytes, oflags: int, rights: int, follow: bool, expected: Errno | None
) -> None:
    if expected is None:
        fd = tree.open(path, oflags=oflags, rights=rights, follow=follow)
        assert fd == 0, "the lowest free number"
        kind = Filetype.DIRECTORY if oflags & w.O_DIRECTORY else tree.fdstat(fd)[0]
        assert tree.fdstat(fd)[0] == kind
    else:
        assert errno(tree.open, path, oflags=oflags, rights=rights, follow=follow) == expected
    assert len(tree.process.fds) == (1 if expected else 2)


@pytest.mark.parametrize(
    ("dirflags", "oflags", "fdflags"), [(2, 0, 0), (0, 1 << 4, 0), (0, 0, 1 << 5)]
)
def test_unknown_flags_are_einval(tree: Guest, dirflags: int, oflags: int, fdflags: int) -> None:
    arguments = (*tree.path(b"dir"), oflags, 0, 0, fdflags, 1024)
    assert errno(tree.call, "path_open", 3, dirflags, *arguments) == Errno.EINVAL


def test_truncating(tree: Guest) -> None:
    fd = tree.open(b"dir/file", oflags=w.O_TRUNC, rights=0)
    assert tree.stat(b"dir/file").size == 0
    assert errno(tree.write, fd, b"x") == Errno.ENOTCAPABLE


def test_directories_pass_on_no_more_than_they_have(tree: Guest) -> None:
    narrow = tree.open(b"dir", rights=w.PATH_OPEN, inheriting=w.FD_READ)
    fd = tree.open(b"file", rights=w.FD_READ, inheriting=0, fd=narrow)
    assert tree.read(fd) == b"data"
    for rights, inheriting, oflags in (
        (w.FD_WRITE, 0, 0),
        (0, w.FD_WRITE, 0),
        (0, 0, w.O_CREAT),
        (0, 0, w.O_TRUNC),
    ):
        found = errno(
            tree.open, b"file", rights=rights, inheriting=inheriting, oflags=oflags, fd=narrow
        )
        assert found == Errno.ENOTCAPABLE


def test_bits_that_are_no_rights_are_ignored(tree: Guest) -> None:
    fd = tree.open(b"dir/file", rights=0xFFFF_FFFF, inheriting=0xFFFF_FFFF)
    assert tree.fdstat(fd)[2] & w.FD_WRITE
    assert tree.fdstat(fd)[3] == w.RIGHTS_ALL


def test_a_bad_result_pointer_creates_nothing(tree: Guest) -> None:
    arguments = (*tree.path(b"new"), w.O_CREAT, FILE_RIGHTS, 0, 0, NOWHERE)
    assert errno(tree.call, "path_open", 3, 0, *arguments) == Errno.EFAULT
    assert errno(tree.stat, b"new") == Errno.ENOENT
    assert len(tree.process.fds) == 1


def test_paths_start_at_directories_only(tree: Guest) -> None:
    fd = tree.open(b"dir/file")
    assert errno(tree.open, b"x", fd=fd) == Errno.ENOTDIR
    assert errno(tree.on_path, "path_create_directory", b"x", fd=fd) == Errno.ENOTDIR


def test_beneath_a_lower_directory(tree: Guest) -> None:
    sub = tree.open(b"dir/sub", rights=w.RIGHTS_ALL & ~w.FD_WRITE)
    assert errno(tree.open, b"../file", fd=sub) == Errno.EPERM
    tree.symlink(b"../file", b"dir/sub/up")
    assert tree.read(tree.open(b"up", fd=sub)) == b"data", "links may lead anywhere in the tree"


# Every other path call.

PATH_RIGHTS = [
    ("path_create_directory", w.PATH_CREATE_DIRECTORY, "p"),
    ("path_remove_directory", w.PATH_REMOVE_DIRECTORY, "p"),
    ("path_unlink_file", w.PATH_UNLINK_FILE, "p"),
    ("path_filestat_get", w.PATH_FILESTAT_GET, "0pr"),
    ("path_filestat_set_times", w.PATH_FILESTAT_SET_TIMES, "0p000"),
    ("path_readlink", w.PATH_READLINK, "p00r"),
]


@pytest.mark.parametrize(("name", "right", "shape"), PATH_RIGHTS)
def test_rights_are_enforced(tree: Guest, name: str, right: int, shape: str) -> None:
    base = tree.fdstat(3)[2]
    tree.call("fd_fdstat_set_rights", 3, base & ~right, w.RIGHTS_ALL)
    arguments: list[int] = []
    for letter in shape:
        arguments += {"p": tree.path(b"dir/file"), "r": (1024,), "0": (0,)}[letter]
    assert errno(tree.call, name, 3, *arguments) == Errno.ENOTCAPABLE


def test_two_directories_two_rights(tree: Guest) -> None:
    base = tree.fdstat(3)[2]
    tree.call(
        "fd_fdstat_set_rights",
        3,
        base & ~(w.PATH_LINK_TARGET | w.PATH_RENAME_SOURCE | w.PATH_SYMLINK),
        w.RIGHTS_ALL,
    )
    assert errno(tree.link, b"dir/file", b"x") == Errno.ENOTCAPABLE
    assert errno(tree.rename, b"dir/file", b"x") == Errno.ENOTCAPABLE
    assert errno(tree.symlink, b"dir/file", b"x") == Errno.ENOTCAPABLE


def test_stat(tree: Guest) -> None:
    file = tree.stat(b"dir/file")
    assert (file.filetype, file.nlink, file.size) == (Filetype.REGULAR_FILE, 1, 4)
    assert tree.stat(b"link") == file
    assert tree.stat(b"link", follow=False).filetype == Filetype.SYMBOLIC_LINK
    assert tree.stat(b"dirlink/", follow=False).filetype == Filetype.DIRECTORY
    assert errno(tree.stat, b"dangling") == Errno.ENOENT
    assert errno(tree.stat, b"dir/file/") == Errno.ENOTDIR
    assert errno(tree.call, "path_filestat_get", 3, 2, *tree.path(b"dir"), 1024) == Errno.EINVAL


def test_set_times(tree: Guest) -> None:
    def set_times(path: bytes, flags: int, *, follow: int = 1, atim: int = 5) -> None:
        arguments = (follow, *tree.path(path), atim, 6, flags)
        tree.call("path_filestat_set_times", 3, *arguments)

    set_times(b"link", w.ATIM | w.MTIM)
    assert (tree.stat(b"dir/file").atim, tree.stat(b"dir/file").mtim) == (5, 6)
    set_times(b"link", w.ATIM, follow=0, atim=9)
    assert tree.stat(b"link", follow=False).atim == 9
    assert tree.stat(b"dir/file").atim == 5
    set_times(b"dir/file", w.MTIM_NOW)
    assert tree.stat(b"dir/file").mtim > 10**18
    assert errno(set_times, b"link", w.ATIM | w.ATIM_NOW) == Errno.EINVAL
    assert errno(set_times, b"link", 1 << 4) == Errno.EINVAL
    assert errno(set_times, b"link", 0, follow=2) == Errno.EINVAL
    assert errno(set_times, b"link", w.ATIM, atim=1 << 63) == Errno.EINVAL
    assert errno(set_times, b"nothing", 0) == Errno.ENOENT


def test_readlink(tree: Guest) -> None:
    assert tree.readlink(b"link") == b"dir/file"
    assert tree.readlink(b"link", 3) == b"dir"
    assert tree.readlink(b"link", 0) == b""
    assert errno(tree.readlink, b"dir/file") == Errno.EINVAL
    assert errno(tree.readlink, b"nothing") == Errno.ENOENT


def test_readlink_checks_its_pointers_before_it_reads(tree: Guest) -> None:
    class Bell(Node):
        filetype = Filetype.SYMBOLIC_LINK
        rung = 0

        def readlink(self, caller: object) -> bytes:
            self.rung += 1
            return b"ding"

    bell = Bell()
    tree.namespace.mount(b"/bell", bell)
    path = tree.path(b"bell")
    for into, result in ((NOWHERE, 1024), (1024, NOWHERE)):
        assert errno(tree.call, "path_readlink", 3, *path, into, 8, result) == Errno.EFAULT
    assert bell.rung == 0
    assert tree.readlink(b"bell") == b"ding"


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("path_create_directory", b"new", None),
        ("path_create_directory", b"new/", None),
        ("path_create_directory", b"dir", Errno.EEXIST),
        ("path_create_directory", b"link", Errno.EEXIST),
        ("path_create_directory", b".", Errno.EEXIST),
        ("path_create_directory", b"x/y", Errno.ENOENT),
        ("path_create_directory", b"dir/file/x", Errno.ENOTDIR),
        ("path_create_directory", b"../x", Errno.EPERM),
        ("path_remove_directory", b"dir/sub", None),
        ("path_remove_directory", b"dir/sub/", None),
        ("path_remove_directory", b"dir", Errno.ENOTEMPTY),
        ("path_remove_directory", b"dir/file", Errno.ENOTDIR),
        ("path_remove_directory", b"dirlink", Errno.ENOTDIR),
        ("path_remove_directory", b"x", Errno.ENOENT),
        ("path_remove_directory", b".", Errno.EINVAL),
        ("path_unlink_file", b"dir/file", None),
        ("path_unlink_file", b"link", None),
        ("path_unlink_file", b"dirlink", None),
        ("path_unlink_file", b"dir/file/", Errno.ENOTDIR),
        ("path_unlink_file", b"dir", Errno.EISDIR),
        ("path_unlink_file", b"dir/", Errno.EISDIR),
        ("path_unlink_file", b"x", Errno.ENOENT),
        ("path_unlink_file", b"", Errno.ENOENT),
    ],
)
def test_making_and_removing(tree: Guest, name: str, path: bytes, expected: Errno | None) -> None:
    if expected is not None:
        assert errno(tree.on_path, name, path) == expected
        return
    tree.on_path(name, path)
    if name == "path_create_directory":
        assert tree.stat(path).filetype == Filetype.DIRECTORY
    else:
        assert errno(tree.stat, path.rstrip(b"/"), follow=False) == Errno.ENOENT


@pytest.mark.parametrize(
    ("target", "path", "expected"),
    [
        (b"anything at all", b"new", None),
        (b"../..", b"dir/new", None),
        (b"/etc", b"new", Errno.EPERM),
        (b"", b"new", Errno.ENOENT),
        (b"a\0b", b"new", Errno.EINVAL),
        (b"x" * 4097, b"new", Errno.ENAMETOOLONG),
        (b"x", b"dir", Errno.EEXIST),
        (b"x", b"link", Errno.EEXIST),
        (b"x", b"dir/", Errno.EEXIST),
        (b"x", b"new/", Errno.ENOENT),
        (b"x", b"nothing/new", Errno.ENOENT),
    ],
)
def test_symlink(tree: Guest, target: bytes, path: bytes, expected: Errno | None) -> None:
    if expected is None:
        tree.symlink(target, path)
        assert tree.readlink(path) == target
    else:
        assert errno(tree.symlink, target, path) == expected


@pytest.mark.parametrize(
    ("old", "new", "follow", "expected"),
    [
        (b"dir/file", b"new", False, None),
        (b"link", b"new", True, None),
        (b"link", b"new", False, None),
        (b"dangling", b"new", True, Errno.ENOENT),
        (b"dir", b"new", False, Errno.EPERM),
        (b"dir/file", b"link", False, Errno.EEXIST),
        (b"dir/file", b"new/", False, Errno.ENOENT),
        (b"dir/file/", b"new", False, Errno.ENOTDIR),
        (b"nothing", b"new", False, Errno.ENOENT),
        (b"dir/file", b"../new", False, Errno.EPERM),
    ],
)
def test_link(tree: Guest, old: bytes, new: bytes, follow: bool, expected: Errno | None) -> None:
    if expected is None:
        tree.link(old, new, follow=follow)
        assert tree.stat(new, follow=False) == tree.stat(old, follow=follow)
        assert tree.stat(new, follow=False).nlink == 2
    else:
        assert errno(tree.link, old, new, follow=follow) == expected
    assert errno(tree.call, "path_link", 3, 2, 0, 0, 3, 0, 0) == Errno.EINVAL


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"dir/file", b"new", None),
        (b"dir", b"new", None),
        (b"dir/", b"new/", None),
        (b"link", b"dir/file", None),
        (b"dir/file", b"new/", Errno.ENOTDIR),
        (b"dir/file", b"dir/sub", Errno.EISDIR),
        (b"dir/sub", b"dir/file", Errno.ENOTDIR),
        (b"dir", b"dir/sub/x", Errno.EINVAL),
        (b"nothing", b"new", Errno.ENOENT),
        (b"dir/file", b"../x", Errno.EPERM),
        (b"dir/file", b"mounted/x", Errno.EXDEV),
        (b"mounted", b"new", Errno.EBUSY),
    ],
)
def test_rename(tree: Guest, old: bytes, new: bytes, expected: Errno | None) -> None:
    tree.namespace.mount(b"/mounted", Tmpfs(1 << 16).root)
    if expected is None:
        before = tree.stat(old.rstrip(b"/"), follow=False).ino
        tree.rename(old, new)
        assert tree.stat(new.rstrip(b"/"), follow=False).ino == before
        assert errno(tree.stat, old.rstrip(b"/"), follow=False) == Errno.ENOENT
    else:
        assert errno(tree.rename, old, new) == expected


# fd_readdir.


def test_a_listing_begins_with_dots(tree: Guest) -> None:
    fd = tree.open(b"dir", rights=w.FD_READDIR)
    data = tree.readdir(fd)
    found = dirents(data)
    assert [name for name, *_ in found[:2]] == [b".", b".."]
    assert found[0][1] == tree.stat(b"dir").ino
    assert found[1][1] == tree.stat(b".").ino
    assert {name: kind for name, _, _, kind in found[2:]} == {
        b"sub": Filetype.DIRECTORY,
        b"file": Filetype.REGULAR_FILE,
    }
    assert {name: ino for name, ino, *_ in found}[b"file"] == tree.stat(b"dir/file").ino
    assert dirents(tree.readdir(3))[1][1] == tree.stat(b".").ino, "the root is its own parent"


@pytest.mark.parametrize("size", [280, 300, 1000, 4096, 100_000])
def test_buffers_of_any_size_see_each_name_once(guest: Guest, size: int) -> None:
    names = [b"n%d" % index * (index % 50 + 1) for index in range(120)]
    for name in names:
        guest.create(name[:255])
    seen = guest.names(3, size)
    assert seen[:2] == [b".", b".."]
    assert sorted(seen[2:]) == sorted(name[:255] for name in names)


def test_the_last_entry_is_cut_off(tree: Guest) -> None:
    whole = tree.readdir(3)
    for size in (0, 1, DIRENT.size, DIRENT.size + 1, DIRENT.size + 3, len(whole) - 1, len(whole)):
        assert tree.readdir(3, size) == whole[:size]
    assert tree.readdir(3, len(whole) + 1) == whole


def test_removing_while_reading_skips_nothing(guest: Guest) -> None:
    guest.on_path("path_create_directory", b"d")
    for index in range(50):
        guest.create(b"d/%d" % index)
    fd = guest.open(b"d", rights=w.FD_READDIR)
    cookie, removed = 0, 0
    while True:
        data = guest.readdir(fd, 300, cookie)
        for name, _, cookie, _ in dirents(data):  # noqa: B007 - the last one stays
            if name not in (b".", b".."):
                guest.on_path("path_unlink_file", b"d/" + name)
                removed += 1
        if len(data) < 300:
            break
    assert removed == 50
    assert guest.names(fd) == [b".", b".."]


def test_a_new_pass_sees_what_is_new(tree: Guest) -> None:
    before = tree.names(3)
    tree.create(b"another")
    assert set(tree.names(3)) - set(before) == {b"another"}


@pytest.mark.parametrize("cookie", [7, 1 << 40, (1 << 64) - 1])
def test_cookies_behind_the_end(tree: Guest, cookie: int) -> None:
    assert tree.readdir(tree.open(b"dir/sub", rights=w.FD_READDIR), 100, cookie) == b""


def test_only_directories_are_listed(tree: Guest) -> None:
    fd = tree.open(b"dir/file")
    assert errno(tree.readdir, fd) == Errno.ENOTDIR
    narrow = tree.open(b"dir", rights=w.PATH_OPEN)
    assert errno(tree.readdir, narrow) == Errno.ENOTCAPABLE


def test_mounts_are_listed(tree: Guest) -> None:
    tree.namespace.mount(b"/dir/mounted", Tmpfs(1 << 16).root)
    fd = tree.open(b"dir", rights=w.FD_READDIR)
    assert b"mounted" in tree.names(fd)
