"""What is particular to the overlay: layers' whiteouts, copying up, markers, and what a new life
finds.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat

import pytest

from balenawasm.disk.entry import Entry
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.disk.ext4.writer import write_image
from balenawasm.layer.changes import change_entries
from balenawasm.layer.whiteout import OPAQUE_VALUE, OPAQUE_XATTR
from balenawasm.layer.whiteout_entries import whiteout_entry
from balenawasm.vfs.filesystems import overlay_rename
from balenawasm.vfs.filesystems.hostdir import HostDirectory, HostFolder
from balenawasm.vfs.filesystems.image import ImageFs
from balenawasm.vfs.filesystems.overlay import Overlay
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype, Whence

BOTH = OpenFlags(write=True)
TIME = 1_700_000_000_000_000_001
OPAQUE = {OPAQUE_XATTR: OPAQUE_VALUE}


def refused(errno):
    return pytest.raises(GuestError, match=f"^{errno.value}$")


def folder(path, **more):
    return Entry(path=path, mode=stat.S_IFDIR | 0o755, mtime_ns=TIME, **more)


def file(path, data=b"", mode=0o644, **more):
    return Entry(path=path, mode=stat.S_IFREG | mode, mtime_ns=TIME, source=data, **more)


def layer(*entries, root=None):
    out = io.BytesIO()
    write_image([root or folder(b""), *entries], out)
    return ImageFs(Ext4Image(out.getvalue()), "sha256:x").root


@pytest.fixture
def upper(tmp_path):
    return tmp_path / "container" / "upper"


def at(root, path):
    node = root
    for name in path.split(b"/"):
        node = node.lookup(NOBODY, name)
    return node


def data(node) -> bytes:
    description = node.open(NOBODY, OpenFlags())
    description.retain()
    buffer = bytearray(1 << 20)
    count = description.read(NOBODY, [memoryview(buffer)])
    description.release()
    return bytes(buffer[:count])


def write(node, content, flags=BOTH) -> None:
    description = node.open(NOBODY, flags)
    description.retain()
    description.write(NOBODY, [memoryview(content)])
    description.release()


def names(node):
    return {entry.name for entry in node.entries(NOBODY)}


def on_host(upper):
    return {
        str(path.relative_to(upper)): path.read_bytes() if path.is_file() else None
        for path in upper.rglob("*")
    }


# What layers show.


def test_layers_hide_what_is_below(upper) -> None:
    bottom = layer(
        folder(b"merged"),
        file(b"merged/low", b"low"),
        file(b"merged/both", b"old"),
        file(b"merged/gone"),
        folder(b"opaque"),
        file(b"opaque/old"),
        file(b"was-file"),
        folder(b"was-folder"),
        file(b"was-folder/x"),
        folder(b"gone"),
        file(b"gone/x"),
        folder(b"back"),
        file(b"back/old"),
    )
    middle = layer(
        whiteout_entry(b"gone"),
        whiteout_entry(b"back"),
        whiteout_entry(b"never-was"),
        folder(b"merged"),
        whiteout_entry(b"merged/gone"),
        folder(b"opaque", xattrs=OPAQUE),
        file(b"opaque/new"),
        folder(b"was-file"),
        file(b"was-file/y"),
        file(b"was-folder", b"now a file"),
    )
    top = layer(folder(b"merged"), file(b"merged/both", b"new"), folder(b"back"), folder(b"opaque"))
    root = Overlay([top, middle, bottom], upper).root
    assert names(root) == {b"merged", b"opaque", b"was-file", b"was-folder", b"back"}
    assert names(at(root, b"merged")) == {b"low", b"both"}
    assert data(at(root, b"merged/both")) == b"new"
    assert names(at(root, b"opaque")) == {b"new"}
    assert names(at(root, b"was-file")) == {b"y"}
    assert data(at(root, b"was-folder")) == b"now a file"
    assert names(at(root, b"back")) == set()
    for path in (b"gone", b"never-was", b"merged/gone", b"opaque/old", b"back/old"):
        with refused(Errno.ENOENT):
            at(root, path)
    assert not upper.exists()


def test_an_opaque_root_hides_all_below(upper) -> None:
    top = layer(file(b"new"), root=folder(b"", xattrs=OPAQUE))
    assert names(Overlay([top, layer(file(b"old"))], upper).root) == {b"new"}


def test_attributes_are_the_layers(upper) -> None:
    root = Overlay([layer(file(b"f", b"x", 0o4755, uid=70_000, gid=5))], upper).root
    found = at(root, b"f").stat()
    assert (found.mode, found.uid, found.gid, found.mtim) == (0o4755, 70_000, 5, TIME)
    identity = at(root, b"f").content().identity
    assert identity is not None
    assert identity.startswith("sha256:x@")


def test_reading_writes_nothing(upper) -> None:
    root = Overlay([layer(folder(b"d"), file(b"d/f", b"x"))], upper).root
    data(at(root, b"d/f"))
    names(root)
    root.stat()
    with refused(Errno.ENOENT):
        root.unlink(b"none")
    with refused(Errno.EISDIR):
        root.unlink(b"d")
    with refused(Errno.EEXIST):
        root.mkdir(b"d")
    root.open(NOBODY, OpenFlags()).sync(data_only=False)
    assert not upper.parent.exists()


# Copying up.


def test_a_copy_keeps_number_mode_and_times(upper) -> None:
    root = Overlay([layer(folder(b"d"), file(b"d/f", b"data", 0o751))], upper).root
    node = at(root, b"d/f")
    before, above = node.stat(), at(root, b"d").stat()
    reading = node.open(NOBODY, OpenFlags())
    node.open(NOBODY, BOTH)
    assert on_host(upper) == {"d": None, "d/f": b"data"}
    after = node.stat()
    assert (after.dev, after.ino, after.mode, after.mtim) == (before.dev, before.ino, 0o751, TIME)
    assert at(root, b"d").stat().mtim == above.mtim == TIME
    assert root.stat().mtim == TIME
    assert (reading.stat().dev, reading.stat().ino) == (before.dev, before.ino)
    entry = at(root, b"d").entries(NOBODY)[0]
    assert entry.ino == before.ino
    assert node.content().identity is None
    assert bytes(node.content().data) == b"data"


def test_set_id_bits_do_not_reach_the_host(upper) -> None:
    root = Overlay([layer(file(b"f", b"x", 0o6711), folder(b"d"))], upper).root
    write(at(root, b"f"), b"y")
    assert stat.S_IMODE((upper / "f").stat().st_mode) == 0o711
    root.create(b"g", 0o4111)
    assert stat.S_IMODE((upper / "g").stat().st_mode) == 0o711


def test_open_files_keep_what_they_had(upper) -> None:
    root = Overlay([layer(file(b"f", b"old data"))], upper).root
    node = at(root, b"f")
    reading = node.open(NOBODY, OpenFlags())
    write(node, b"new")
    buffer = memoryview(bytearray(100))
    assert reading.pread(NOBODY, [buffer], 0) == 8
    assert bytes(buffer[:8]) == b"old data"
    assert data(node) == b"new data"
    root.unlink(b"f")
    assert reading.pread(NOBODY, [buffer], 0) == 8
    assert reading.stat().nlink == 0
    assert on_host(upper) == {".wh.f": b""}
    with refused(Errno.ENOENT):
        node.open(NOBODY, BOTH)
    with refused(Errno.ENOENT):
        node.set_times(1, 1)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_data_is_copied_whole(upper, size) -> None:
    content = os.urandom(size // 2) + bytes(size - size // 2)
    root = Overlay([layer(file(b"f", content))], upper).root
    description = at(root, b"f").open(NOBODY, BOTH)
    assert (upper / "f").read_bytes() == content
    assert description.seek(0, Whence.END) == size


def test_truncating_copies_no_data(upper, monkeypatch) -> None:
    root = Overlay([layer(file(b"f", b"x" * 10_000), file(b"g", b"y" * 10_000))], upper).root
    monkeypatch.setattr(os, "pwrite", None)
    at(root, b"f").open(NOBODY, OpenFlags(write=True, truncate=True))
    at(root, b"g").truncate(0)
    assert on_host(upper) == {"f": b"", "g": b""}


def test_a_failed_copy_leaves_nothing(upper, monkeypatch) -> None:
    root = Overlay([layer(file(b"f", b"x" * 10_000))], upper).root

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with refused(Errno.ENOSPC):
            at(root, b"f").open(NOBODY, BOTH)
    assert on_host(upper) == {}
    assert data(at(root, b"f")) == b"x" * 10_000
    write(at(root, b"f"), b"y")
    assert data(at(root, b"f")) == b"y" + b"x" * 9999


def test_names_of_one_file_in_a_layer_part_when_one_is_changed(upper) -> None:
    hard = Entry(path=b"g", mode=stat.S_IFREG, hardlink=b"f")
    root = Overlay([layer(file(b"f", b"old"), hard)], upper).root
    one, two = at(root, b"f"), at(root, b"g")
    assert one.stat() == two.stat()
    assert one.stat().nlink == 2
    write(one, b"new")
    assert (data(one), data(two)) == (b"new", b"old")
    assert one.stat().ino != two.stat().ino


def test_links_are_copied_up_too(upper) -> None:
    link = Entry(path=b"l", mode=stat.S_IFLNK | 0o777, target=b"there", mtime_ns=TIME)
    root = Overlay([layer(link)], upper).root
    number = at(root, b"l").stat().ino
    root.link(b"m", at(root, b"l"))
    assert os.readlink(upper / "m") == os.readlink(upper / "l") == "there"
    assert at(root, b"m").stat().nlink == 2
    assert at(root, b"m").stat().ino == number
    assert at(root, b"m").stat().mtim == TIME


def test_devices_of_a_layer_can_be_removed_but_not_copied(upper) -> None:
    device = Entry(path=b"null", mode=stat.S_IFCHR | 0o666, rdev=(1, 3))
    root = Overlay([layer(folder(b"d"), device)], upper).root
    with refused(Errno.EACCES):
        at(root, b"null").open(NOBODY, BOTH)
    for call in (
        lambda: root.rename(b"null", root, b"x"),
        lambda: root.link(b"x", at(root, b"null")),
        lambda: at(root, b"null").set_times(1, 1),
    ):
        with refused(Errno.EXDEV):
            call()
    root.unlink(b"null")
    assert names(root) == {b"d"}


# Markers.


def test_markers(upper) -> None:
    root = Overlay([layer(folder(b"d"), file(b"d/f"), file(b"g"), file(b"h"))], upper).root
    root.unlink(b"g")
    at(root, b"d").unlink(b"f")
    root.rmdir(b"d")
    assert on_host(upper) == {".wh.g": b"", ".wh.d": b""}
    root.mkdir(b"d")
    root.create(b"g")
    root.rename(b"h", root, b"moved")
    assert on_host(upper) == {
        "d": None,
        "d/.wh..wh..opq": b"",
        "g": b"",
        "moved": b"",
        ".wh.h": b"",
    }
    assert names(root) == {b"d", b"g", b"moved"}
    assert names(at(root, b"d")) == set()


def test_guests_see_and_make_no_markers(upper) -> None:
    upper.mkdir(parents=True)
    (upper / ".wh.low").touch()
    (upper / ".wh..wh.plnk").mkdir()
    (upper / ".wh..wh.aufs").touch()
    (upper / "f").touch()
    root = Overlay([layer(file(b"low"), file(b".wh.odd"))], upper).root
    assert names(root) == {b"f"}
    for name in (b".wh.low", b".wh..wh..opq", b".wh.", b".wh.new"):
        with refused(Errno.ENOENT):
            root.lookup(NOBODY, name)
        with refused(Errno.ENOENT):
            root.unlink(name)
        for call in (
            root.create,
            root.mkdir,
            lambda name: root.symlink(name, b"x"),
            lambda name: root.link(name, at(root, b"f")),
            lambda name: root.rename(b"f", root, name),
        ):
            with refused(Errno.EINVAL):
                call(name)


def test_leftovers_of_a_crash_are_removed(upper) -> None:
    leftover = upper / ".wh..wh.tmp.1"
    leftover.mkdir(parents=True)
    (leftover / ".wh.x").touch()
    (upper / ".wh..wh.tmp.2").write_bytes(b"half a copy")
    (upper / "both").write_bytes(b"the name counts")
    (upper / ".wh.both").touch()
    root = Overlay([layer(file(b"both", b"old"))], upper).root
    assert names(root) == {b"both"}
    assert data(at(root, b"both")) == b"the name counts"
    assert on_host(upper) == {"both": b"the name counts", ".wh.both": b""}
    root.unlink(b"both")
    assert names(Overlay([layer(file(b"both"))], upper).root) == set()


def test_a_second_life_finds_the_first(upper) -> None:
    low = layer(folder(b"d"), folder(b"d/e"), file(b"d/e/f", b"f"), file(b"d/x"), file(b"top"))
    root = Overlay([low], upper).root
    write(at(root, b"d/e/f"), b"F")
    at(root, b"d").unlink(b"x")
    at(root, b"d").create(b"new")
    at(root, b"d").link(b"hard", at(root, b"d/new"))
    root.unlink(b"top")
    again = Overlay([low], upper).root
    assert names(again) == {b"d"}
    assert names(at(again, b"d")) == {b"e", b"new", b"hard"}
    assert data(at(again, b"d/e/f")) == b"F"
    assert at(again, b"d/new") is at(again, b"d/hard")
    at(again, b"d").unlink(b"new")
    assert at(again, b"d/hard").stat().nlink == 1


def test_the_upper_directory_as_a_node(tmp_path) -> None:
    root = Overlay([layer(file(b"f"))], HostDirectory(tmp_path).root).root
    root.unlink(b"f")
    assert on_host(tmp_path) == {".wh.f": b""}
    (tmp_path / ".wh..wh..opq").touch()
    assert names(Overlay([layer(file(b"g"))], tmp_path).root) == set()


def test_no_layers_at_all(upper) -> None:
    root = Overlay([], upper).root
    assert root.stat().filetype is Filetype.DIRECTORY
    assert names(root) == set()
    root.create(b"f")
    assert root.stat().mode & 0o700 == 0o700


def test_the_upper_directory_as_a_layer(upper) -> None:
    low = layer(folder(b"d"), file(b"d/f"), file(b"gone"))
    root = Overlay([low], upper).root
    at(root, b"d").symlink(b"link", b".//d/../f/")
    root.unlink(b"gone")
    out = io.BytesIO()
    write_image(change_entries(upper), out)
    top = ImageFs(Ext4Image(out.getvalue()), "sha256:y").root
    again = Overlay([top, low], upper.parent / "other").root
    assert at(again, b"d/link").readlink(NOBODY) == b".//d/../f/"
    assert names(again) == {b"d"}
    assert names(at(again, b"d")) == {b"f", b"link"}


# Renaming.


def tree(root):
    found, pending = {}, [(b"", root)]
    while pending:
        prefix, node = pending.pop()
        for entry in node.entries(NOBODY):
            child = node.lookup(NOBODY, entry.name)
            found[prefix + entry.name] = None
            if entry.filetype is Filetype.DIRECTORY:
                pending.append((prefix + entry.name + b"/", child))
            else:
                found[prefix + entry.name] = data(child)
    return found


def deep_layer():
    return layer(
        folder(b"a"),
        folder(b"a/b"),
        file(b"a/b/f", b"f"),
        file(b"a/g", b"g"),
        file(b"a/gone"),
        folder(b"empty"),
        folder(b"other"),
        file(b"other/low", b"low"),
    )


@pytest.mark.parametrize("durable", [False, True])
def test_a_layers_directory_is_moved_whole(upper, durable) -> None:
    root = Overlay([deep_layer()], upper, durable=durable).root
    at(root, b"a").unlink(b"gone")
    inner, number = at(root, b"a/b"), at(root, b"a").stat().ino
    root.rename(b"a", root, b"moved")
    moved = {b"moved", b"moved/b", b"moved/b/f", b"moved/g", b"empty", b"other", b"other/low"}
    assert set(tree(root)) == moved
    assert at(root, b"moved").stat().ino == number
    assert at(root, b"moved/b") is inner
    inner.create(b"new")
    assert tree(Overlay([deep_layer()], upper).root) == tree(root)
    root.rename(b"moved", root, b"a")
    assert b"a/gone" not in tree(Overlay([deep_layer()], upper).root)


def test_a_directory_replaces_an_empty_one_of_a_layer(upper) -> None:
    root = Overlay([deep_layer()], upper).root
    old = at(root, b"empty")
    root.rename(b"a", root, b"empty")
    assert tree(root) == tree(Overlay([deep_layer()], upper).root)
    assert data(at(root, b"empty/b/f")) == b"f"
    with refused(Errno.ENOENT):
        old.create(b"x")
    at(root, b"other").unlink(b"low")
    root.rename(b"empty", root, b"other")
    assert set(tree(Overlay([deep_layer()], upper).root)) == {
        b"other",
        b"other/b",
        b"other/b/f",
        b"other/g",
        b"other/gone",
    }


def test_moved_into_a_name_that_a_layer_had(upper) -> None:
    """What the layer has under the new name must not show through the directory that was moved
    there.
    """
    root = Overlay([deep_layer()], upper).root
    at(root, b"other").unlink(b"low")
    root.rmdir(b"other")
    root.mkdir(b"new")
    root.rename(b"new", root, b"other")
    assert names(at(Overlay([deep_layer()], upper).root, b"other")) == set()


def test_too_large_to_move(upper, monkeypatch) -> None:
    root = Overlay([deep_layer()], upper).root
    for limit in ("MAX_ENTRIES", "MAX_BYTES"):
        with monkeypatch.context() as patched:
            patched.setattr(overlay_rename, limit, 1)
            with refused(Errno.EXDEV):
                root.rename(b"a", root, b"moved")
            assert set(tree(root)) == set(tree(Overlay([deep_layer()], upper).root))


def test_a_failed_rename_changes_nothing(upper, monkeypatch) -> None:
    root = Overlay([deep_layer()], upper).root
    before = tree(root)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    at(root, b"a/g").open(NOBODY, BOTH)
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", full)
        with refused(Errno.ENOSPC):
            at(root, b"a").rename(b"g", root, b"moved")
    assert tree(root) == before == tree(Overlay([deep_layer()], upper).root)


# Crashes.


class Crash(BaseException):
    """The machine stops."""


CHANGING = ("rename", "unlink", "mkdir", "rmdir", "symlink", "link", "utime", "fchmod", "ftruncate")

STORIES = {
    "unlink": lambda root: root.unlink(b"file"),
    "unlink-copied": lambda root: (at(root, b"copied"), root.unlink(b"copied")),
    "create-over": lambda root: root.create(b"whited"),
    "symlink-over": lambda root: root.symlink(b"whited", b"x"),
    "mkdir-over": lambda root: root.mkdir(b"whited-d"),
    "rmdir": lambda root: root.rmdir(b"emptied"),
    "rename-file": lambda root: root.rename(b"file", root, b"new"),
    "rename-over": lambda root: root.rename(b"file", root, b"copied"),
    "rename-to-whited": lambda root: root.rename(b"copied", root, b"whited"),
    "rename-dir": lambda root: root.rename(b"dir", root, b"moved"),
    "rename-dir-to-whited": lambda root: root.rename(b"dir", root, b"whited-d"),
    "rename-dir-over": lambda root: root.rename(b"dir", root, b"low-empty"),
    "copy-up": lambda root: at(root, b"dir/f").open(NOBODY, BOTH),
    "link": lambda root: root.link(b"hard", at(root, b"dir/f")),
}


def crash_layer():
    return layer(
        file(b"file", b"file"),
        file(b"copied", b"copied"),
        file(b"whited"),
        folder(b"whited-d"),
        file(b"whited-d/x"),
        folder(b"emptied"),
        file(b"emptied/x"),
        folder(b"low-empty"),
        folder(b"dir"),
        file(b"dir/f", b"f"),
        folder(b"dir/sub"),
        file(b"dir/sub/g", b"g"),
    )


def prepare(upper):
    root = Overlay([crash_layer()], upper, durable=False).root
    write(at(root, b"copied"), b"COPIED")
    root.unlink(b"whited")
    at(root, b"whited-d").unlink(b"x")
    root.rmdir(b"whited-d")
    at(root, b"emptied").unlink(b"x")
    return Overlay([crash_layer()], upper, durable=False).root


@pytest.mark.parametrize("story", STORIES)
def test_a_crash_at_any_moment_leaves_before_or_after(tmp_path, monkeypatch, story) -> None:
    before = shown(prepare(tmp_path / "before"))
    whole = prepare(tmp_path / "whole")
    STORIES[story](whole)
    after = shown(Overlay([crash_layer()], tmp_path / "whole").root)
    for step in range(1000):
        upper = tmp_path / str(step)
        root = prepare(upper)
        with monkeypatch.context() as patched:
            crashed = crash_after(patched, step)
            with contextlib.suppress(Crash):
                STORIES[story](root)
            if not crashed:
                assert step > 0
                break
        found = shown(Overlay([crash_layer()], upper).root)
        assert found in (before, after), step
    else:
        pytest.fail("never came to an end")


def shown(root):
    found, pending = {}, [(b"", root)]
    while pending:
        prefix, node = pending.pop()
        for entry in node.entries(NOBODY):
            child = node.lookup(NOBODY, entry.name)
            path = prefix + entry.name
            if entry.filetype is Filetype.DIRECTORY:
                found[path] = None
                pending.append((path + b"/", child))
            elif entry.filetype is Filetype.SYMBOLIC_LINK:
                found[path] = child.readlink(NOBODY)
            else:
                found[path] = data(child)
    return found


def crash_after(patched, steps):
    """Let `steps` changes of the host pass; from then on nothing is changed any more."""
    crashed = []
    left = [steps]

    def guarded(real, counts):
        def call(*args, **kwargs):
            if counts(args):
                if left[0] == 0:
                    crashed.append(real)
                    raise Crash
                left[0] -= 1
            return real(*args, **kwargs)

        return call

    for name in CHANGING:
        patched.setattr(os, name, guarded(getattr(os, name), lambda _: True))
    patched.setattr(os, "open", guarded(os.open, lambda args: args[1] & os.O_CREAT))
    return crashed


def test_a_deep_tree_takes_a_time_linear_in_its_depth(upper, monkeypatch) -> None:
    steps = 0
    plain = HostFolder.child

    def counted(folder, name):
        nonlocal steps
        steps += 1
        return plain(folder, name)

    monkeypatch.setattr(HostFolder, "child", counted)
    depth = 2000
    way = [Overlay([], upper).root]
    for _ in range(depth):
        way[-1].mkdir(b"d", 0o755)
        way.append(way[-1].lookup(NOBODY, b"d"))
    made = steps
    assert made < 4 * depth
    way[0].stat()
    for parent in reversed(way[:-1]):
        parent.rmdir(b"d")
    # Each search from the root is good for 64 directories.
    assert steps - made < depth * (4 + depth // 64)
    assert os.listdir(upper) == []
