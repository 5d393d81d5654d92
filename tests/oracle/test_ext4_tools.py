"""Our images before e2fsprogs and the kernel, and e2fsprogs's images before our reader.

e2fsprogs must be there (`make test` installs it). Mounting needs root and loop devices: only where
that is not permitted are the mount tests skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ext4_examples import (
    SparseSink,
    content,
    file,
    huge_entry,
    read_everything,
    rich_entries,
    write,
)

from balenawasm.disk.entry import Entry, directory, regular_file
from balenawasm.disk.ext4.check import check_image
from balenawasm.disk.ext4.errors import UnsupportedImageError
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.disk.ext4.writer import write_image
from balenawasm.layer.image_layer import open_layer
from balenawasm.layer.image_writer import check_layer, write_layer
from balenawasm.layer.tree import tree_entries
from balenawasm.layer.whiteout_entries import opaque_entry, whiteout_entry

SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def run(*words, check=True):
    tool = shutil.which(words[0], path=SEARCH)
    assert tool, f"{words[0]} is missing: install e2fsprogs"
    return subprocess.run(
        [tool, *map(str, words[1:])], check=check, capture_output=True, text=True, timeout=100
    )


def assert_clean(path):
    done = run("e2fsck", "-fn", path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# What e2fsck says.


@pytest.mark.parametrize(
    "entries",
    [
        [],
        rich_entries(),
        [directory(b"%05d" % index) for index in range(3000)],
        [
            entry
            for top in range(70)
            for entry in (
                directory(b"d%d" % top),
                *(regular_file(b"d%d/%d" % (top, i), b"") for i in range(500)),
            )
        ],
        [
            file(b"fills one group but for a few blocks", bytes((32768 - 30) * 4096)),
            file(b"b", b"b"),
        ],
    ],
    ids=["nothing", "rich", "directories", "groups of inodes", "groups of blocks"],
)
def test_e2fsck_finds_nothing(entries, tmp_path):
    (tmp_path / "image").write_bytes(write(entries))
    assert_clean(tmp_path / "image")


@pytest.mark.parametrize("blocks", [32761, 32762, 32763, 32764, 32765, 65522, 65523, 65524, 65525])
def test_e2fsck_finds_nothing_around_full_groups(blocks, tmp_path):
    """The last group may have very few blocks, or a few must be added for it to exist."""
    source = tmp_path / "source"
    with source.open("wb") as out:
        out.truncate(blocks * 4096)
    sink = SparseSink(tmp_path / "image")
    write_image(
        [Entry(path=b"f", mode=stat.S_IFREG | 0o600, size=blocks * 4096, source=source)], sink
    )
    sink.close()
    assert_clean(tmp_path / "image")


def test_e2fsck_finds_nothing_in_a_huge_file(tmp_path):
    sink = SparseSink(tmp_path / "image")
    write_image([huge_entry(tmp_path), file(b"z")], sink)
    sink.close()
    assert_clean(tmp_path / "image")


def test_e2fsck_accepts_too_many_subdirectories(tmp_path):
    entries = [directory(b"d"), *(directory(b"d/%d" % index) for index in range(65_010))]
    image = write(entries)
    (tmp_path / "image").write_bytes(image)
    assert_clean(tmp_path / "image")
    opened = Ext4Image(image)
    assert opened.inode(opened.directory(2)[b"d"][0]).nlink == 1
    check_image(opened)


def test_debugfs_reads_our_attributes_and_content(tmp_path):
    (tmp_path / "image").write_bytes(write(rich_entries()))
    done = run("debugfs", "-R", 'ea_list "/large xattrs"', tmp_path / "image")
    assert "user.big (2000)" in done.stdout
    assert 'trusted.overlay.opaque (1) = "y"' in done.stdout
    assert run("debugfs", "-R", "cat /a/b/c", tmp_path / "image").stdout == "nested"


# What our reader says of mke2fs's images.


@pytest.fixture(scope="module")
def host_tree(tmp_path_factory):
    tree = tmp_path_factory.mktemp("tree")
    (tree / "d" / "e").mkdir(parents=True)
    for index in range(2500):
        (tree / "d" / f"a name of some length, to fill blocks {index:05}").write_bytes(
            b"%d" % index
        )
    (tree / "large").write_bytes(bytes(range(256)) * 4 * 5000)
    with (tree / "holes").open("wb") as out:
        for position in range(0, 40_000_000, 4_000_000):
            out.seek(position)
            out.write(b"data at %d" % position)
        out.truncate(41_000_001)
    (tree / "link").symlink_to("d/e")
    (tree / "long link").symlink_to("t" * 80)
    os.link(tree / "large", tree / "hard link")
    os.mkfifo(tree / "pipe", 0o640)
    (tree / "setgid").write_bytes(b"x")
    (tree / "setgid").chmod(0o2751)
    os.utime(tree / "setgid", ns=(1_000_000_007, 5_000_000_000_123_456_789))
    return tree


@pytest.mark.parametrize(
    "form",
    [
        ["-t", "ext4"],
        ["-t", "ext4", "-b", "1024"],
        ["-t", "ext4", "-b", "2048", "-O", "64bit,metadata_csum,metadata_csum_seed"],
        ["-t", "ext4", "-O", "^64bit,^metadata_csum,^flex_bg,^resize_inode"],
        ["-t", "ext4", "-O", "large_dir,bigalloc", "-C", "16384"],
        ["-t", "ext4", "-O", "uninit_bg,^metadata_csum"],
        ["-t", "ext3", "-b", "1024"],
        ["-t", "ext3", "-b", "4096"],
        ["-t", "ext2", "-b", "1024", "-I", "128"],
        ["-t", "ext2", "-O", "^filetype,^dir_index"],
        ["-t", "ext4", "-I", "1024"],
    ],
    ids=" ".join,
)
def test_images_of_mke2fs(form, host_tree, tmp_path):
    path = tmp_path / "image"
    run("mke2fs", "-q", *form, "-N", "4000", "-d", host_tree, path, "80M")
    # Hashed directories: e2fsck makes them.
    run("e2fsck", "-fyD", path, check=False)
    with open_layer(path) as layer:
        compare(layer.image, host_tree)
    check_layer(path)


def compare(image, tree):
    """Compare all that stat(2), readlink(2) and read(2) tell; mke2fs makes /lost+found too."""
    found = read_everything(image)
    found.pop(b"lost+found", None)
    expected = {os.fsencode(path.relative_to(tree)): path for path in tree.rglob("*")}
    assert set(found) == {b"", *expected}
    for name, path in expected.items():
        status = path.lstat()
        inode = found[name][0]
        assert (inode.mode, inode.uid, inode.gid) == (status.st_mode, status.st_uid, status.st_gid)
        assert inode.nlink == status.st_nlink
        if status.st_mtime_ns < 2**31 * 10**9:
            # mke2fs keeps whole seconds only.
            assert inode.mtime_ns // 10**9 == status.st_mtime_ns // 10**9
        if stat.S_ISREG(status.st_mode):
            assert content(image, inode.ino) == path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            assert inode.target == os.fsencode(path.readlink())


def test_extent_trees_of_several_levels(tmp_path):
    """A file in 3,000 pieces: ours are never so, mke2fs keeps the holes of its source."""
    tree = tmp_path / "tree"
    tree.mkdir()
    with (tree / "pieces").open("wb") as out:
        for index in range(3000):
            out.seek(index * 8192)
            out.write(b"piece %d" % index)
    run("mke2fs", "-q", "-t", "ext4", "-b", "1024", "-d", tree, tmp_path / "image", "40M")
    with open_layer(tmp_path / "image") as layer:
        image = layer.image
        ino = image.directory(image.root_ino)[b"pieces"][0]
        assert len(image.inode(ino).runs) == 2 * 3000 - 1
        assert content(image, ino) == (tree / "pieces").read_bytes()
    check_layer(tmp_path / "image")


def test_inline_data_is_refused_clearly(host_tree, tmp_path):
    path = tmp_path / "image"
    run(
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-O",
        "inline_data",
        "-N",
        "4000",
        "-d",
        host_tree,
        path,
        "80M",
    )
    with open_layer(path) as layer, pytest.raises(UnsupportedImageError, match="inline data"):
        read_everything(layer.image)


@pytest.mark.parametrize("feature", ["meta_bg,^resize_inode", "encrypt", "casefold"])
def test_other_features_are_refused_clearly_or_read(feature, tmp_path):
    run("mke2fs", "-q", "-t", "ext4", "-O", feature, tmp_path / "image", "8M")
    with pytest.raises(UnsupportedImageError, match="are not supported"):
        Ext4Image((tmp_path / "image").read_bytes())


# What the kernel says.

LIST_MOUNTED = """
import json, os, subprocess, sys
point, *commands = sys.argv[1:]
for command in commands:
    done = subprocess.run(command.split(chr(31)), capture_output=True, text=True)
    if done.returncode:
        sys.exit(command + done.stderr)
found = {}
for top, directories, files in os.walk(os.fsencode(point)):
    for name in [b"."] * (top == os.fsencode(point)) + directories + files:
        path = os.path.join(top, name)
        status = os.lstat(path)
        entry = {"mode": status.st_mode, "uid": status.st_uid, "gid": status.st_gid}
        entry["nlink"] = status.st_nlink
        entry["mtime"] = status.st_mtime_ns
        entry["rdev"] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
        if status.st_mode >> 12 == 0o12:
            entry["target"] = os.readlink(path).hex()
        if status.st_mode >> 12 == 0o10:
            with open(path, "rb") as file:
                entry["content"] = file.read().hex()
        entry["xattrs"] = {
            name: os.getxattr(path, name, follow_symlinks=False).hex()
            for name in os.listxattr(path, follow_symlinks=False)
        }
        found[os.path.relpath(path, os.fsencode(point)).hex()] = entry
print(json.dumps(found))
"""


def mounted(point, *commands):
    """Run mount commands in a mount namespace of their own and return what is then below `point`.

    The namespace, and so every mount and loop device, ends with the process.
    """
    words = [sys.executable, "-c", LIST_MOUNTED, str(point)]
    words += ["\x1f".join(map(str, command)) for command in commands]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if done.returncode:
        for reason in ("ermission", "not permitted", "superuser", "loop device"):
            if reason in done.stderr:
                pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {bytes.fromhex(path): entry for path, entry in found.items()}


def mount_ext4(image, point):
    point.mkdir()
    return ["mount", "-t", "ext4", "-o", "ro,loop,noatime", image, point]


def test_the_kernel_sees_what_was_written(tmp_path):
    entries = rich_entries()
    (tmp_path / "image").write_bytes(write(entries))
    found = mounted(tmp_path / "m", mount_ext4(tmp_path / "image", tmp_path / "m"))
    found[b""] = found.pop(b".")
    assert set(found) == {entry.path for entry in entries}
    for entry in entries:
        if entry.hardlink is not None:
            assert found[entry.path] == found[entry.hardlink]
            continue
        seen = found[entry.path]
        assert (seen["mode"], seen["uid"], seen["gid"]) == (entry.mode, entry.uid, entry.gid)
        assert seen["mtime"] == entry.mtime_ns
        assert tuple(seen["rdev"]) == entry.rdev
        if entry.target is not None:
            assert bytes.fromhex(seen["target"]) == entry.target
        if stat.S_ISREG(entry.mode):
            assert bytes.fromhex(seen["content"]) == entry.source
        attributes = {name.encode(): bytes.fromhex(value) for name, value in seen["xattrs"].items()}
        assert attributes == entry.xattrs


def test_overlayfs_takes_our_whiteouts(tmp_path):
    lower = [
        file(b"kept/below", b"below"),
        file(b"kept/gone", b"gone"),
        file(b"kept/changed", b"old"),
        file(b"opaque/below", b"below"),
        file(b"removed/below", b"below"),
    ]
    upper = [
        whiteout_entry(b"kept/gone"),
        file(b"kept/changed", b"new"),
        opaque_entry(directory(b"opaque")),
        file(b"opaque/above", b"above"),
        whiteout_entry(b"removed"),
    ]
    for name, entries in (("lower", lower), ("upper", upper)):
        with (tmp_path / f"{name}.image").open("wb") as out:
            write_layer(entries, out)
    point = tmp_path / "m"
    commands = [
        mount_ext4(tmp_path / "lower.image", tmp_path / "lower"),
        mount_ext4(tmp_path / "upper.image", tmp_path / "upper"),
        ["mkdir", point],
        [
            "mount",
            *("-t", "overlay", "-o", f"ro,lowerdir={tmp_path}/upper:{tmp_path}/lower"),
            *("overlay", point),
        ],
    ]
    found = mounted(point, *commands)
    texts = {
        path: bytes.fromhex(entry["content"]) for path, entry in found.items() if "content" in entry
    }
    assert texts == {b"kept/below": b"below", b"kept/changed": b"new", b"opaque/above": b"above"}
    assert b"removed" not in found


def test_the_kernel_mounts_many_groups(tmp_path):
    entries = [directory(b"d%02d" % index) for index in range(80)]
    entries += [
        regular_file(b"d%02d/%03d" % (top, index), b"") for top in range(80) for index in range(450)
    ]
    (tmp_path / "image").write_bytes(write(entries))
    found = mounted(tmp_path / "m", mount_ext4(tmp_path / "image", tmp_path / "m"))
    assert len(found) == 1 + len(entries)


def test_a_tree_of_the_host_survives_the_way_through_a_layer(host_tree, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(host_tree, tree, symlinks=True, ignore=shutil.ignore_patterns("pipe"))
    with (tmp_path / "image").open("wb") as out:
        write_layer(tree_entries(tree), out)
    assert_clean(tmp_path / "image")
    found = mounted(tmp_path / "m", mount_ext4(tmp_path / "image", tmp_path / "m"))
    for path in tree.rglob("*"):
        seen = found[os.fsencode(path.relative_to(tree))]
        assert seen["mode"] == path.lstat().st_mode
        assert seen["mtime"] == path.lstat().st_mtime_ns
        if "content" in seen:
            assert bytes.fromhex(seen["content"]) == Path(path).read_bytes()
