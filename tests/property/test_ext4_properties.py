"""Any tree that may be written is read back the same, and any damage is noticed or harmless."""

from __future__ import annotations

import random
import shutil
import stat
import subprocess
import sys
from dataclasses import replace

import pytest
from ext4_examples import content, open_written, read_everything, rich_entries, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balenawasm.disk.entry import Entry
from balenawasm.disk.ext4.check import check_image
from balenawasm.disk.ext4.errors import CorruptImageError
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.layer.tree import with_parents

NAMES = st.binary(min_size=1, max_size=255).filter(
    lambda name: not set(name) & {0, ord("/")} and name not in (b".", b"..")
)
SHORT_NAMES = st.sampled_from([b"a", b"b", b"c", b"dd", b"\xff", b"a b"])
PATHS = st.lists(st.one_of(SHORT_NAMES, SHORT_NAMES, NAMES), min_size=1, max_size=5).map(b"/".join)
XATTRS = st.dictionaries(
    st.sampled_from([b"user.a", b"user.b", b"trusted.overlay.opaque", b"security.capability"]),
    st.binary(max_size=120),
    max_size=3,
)


@st.composite
def entries(draw):
    """An entry of any kind."""
    kind = draw(
        st.sampled_from(
            [stat.S_IFREG, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO]
        )
    )
    entry = Entry(
        path=draw(PATHS),
        mode=kind | draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, 2**32 - 2)),
        gid=draw(st.integers(0, 2**32 - 2)),
        mtime_ns=draw(st.integers(-(2**31) * 10**9, (2**34 - 2**31) * 10**9 - 1)),
        xattrs=draw(XATTRS),
    )
    if kind == stat.S_IFREG:
        return replace(entry, source=draw(st.one_of(st.binary(max_size=50), BLOCKS)))
    if kind == stat.S_IFLNK:
        targets = st.binary(min_size=1, max_size=100).filter(lambda target: 0 not in target)
        return replace(entry, target=draw(targets))
    if kind == stat.S_IFCHR:
        return replace(entry, rdev=draw(st.tuples(st.integers(0, 4095), st.integers(0, 2**20 - 1))))
    return entry


BLOCKS = st.integers(0, 3 * 4096).map(lambda size: b"\xa5" * size)


def consistent(chosen):
    """Of entries with the same path the first; none below a file."""
    by_path = {}
    for entry in sorted(chosen, key=lambda entry: entry.path.count(b"/")):
        parts = entry.path.split(b"/")
        above = [b"/".join(parts[:length]) for length in range(1, len(parts))]
        files = [path for path in above if path in by_path and not by_path[path].is_directory]
        if not files and len(entry.path) < 4096:
            by_path.setdefault(entry.path, entry)
    return list(by_path.values())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(entries(), max_size=25).map(consistent), st.randoms(use_true_random=False))
def test_any_tree_is_read_back(chosen, order):
    data = write(with_parents(chosen))
    order.shuffle(chosen)
    assert write(with_parents(chosen)) == data
    image = Ext4Image(data)
    found = read_everything(image)
    for entry in chosen:
        inode, xattrs = found[entry.path]
        assert (inode.mode, inode.uid, inode.gid) == (entry.mode, entry.uid, entry.gid)
        assert (inode.mtime_ns, inode.target) == (entry.mtime_ns, entry.target)
        assert inode.rdev == entry.rdev
        assert xattrs == entry.xattrs
        if stat.S_ISREG(entry.mode):
            assert content(image, inode.ino) == entry.source
    check_image(image)


# Damage. Bits are flipped where the image is not empty, mostly in its metadata.

MKE2FS_FORMS = [
    ["-t", "ext4", "-O", "^has_journal"],
    ["-t", "ext4", "-O", "^has_journal,^64bit,^metadata_csum", "-b", "1024"],
    ["-t", "ext2", "-b", "1024", "-I", "128"],
]


def make_with_mke2fs(form, place):
    tree = place / "tree"
    (tree / "d" / "e").mkdir(parents=True)
    for index in range(120):
        (tree / "d" / f"a rather long name for a file {index:03}").write_bytes(b"x" * index)
    (tree / "large").write_bytes(b"L" * 300_000)
    with (tree / "holes").open("wb") as out:
        for position in range(0, 400_000, 40_000):
            out.seek(position)
            out.write(b"data")
    (tree / "link").symlink_to("d/e")
    (tree / "long").symlink_to("t" * 80)
    mke2fs = shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin:/bin")
    subprocess.run(
        [mke2fs, "-q", *form, "-d", str(tree), str(place / "image"), "2M"],
        check=True,
        capture_output=True,
    )
    return (place / "image").read_bytes()


@pytest.fixture(scope="session")
def victims(tmp_path_factory):
    """Images to be damaged, each with the offsets where damage is worth while."""
    images = [write(rich_entries())]
    images += [make_with_mke2fs(form, tmp_path_factory.mktemp("victim")) for form in MKE2FS_FORMS]
    return [(image, worthwhile(image)) for image in images]


def worthwhile(data):
    """The superblock, and everything that is not empty in descriptors, inodes and directories."""
    image = Ext4Image(data)
    content_of_files = set()
    for _, ino in image.walk():
        inode = image.inode(ino)
        if stat.S_ISREG(inode.mode):
            for offset, length in inode.runs:
                if offset is not None:
                    content_of_files.update(range(offset, offset + length))
    used = [at for at, byte in enumerate(data) if byte not in (0, 0xFF)]
    return list(range(1024, 1024 + 400)) + [at for at in used if at not in content_of_files]


def damage_and_read(data, places, numbers):
    damaged = bytearray(data)
    for _ in range(numbers.choice((1, 1, 2, 5, 20))):
        at = numbers.choice(places)
        # A neighbour too: counts and block numbers are wider than a byte.
        at = min(at + numbers.choice((0, 0, 0, 1, 2, 3)), len(data) - 1)
        if numbers.random() < 0.7:
            damaged[at] ^= 1 << numbers.randrange(8)
        else:
            damaged[at] = numbers.choice((0, 1, 0x7F, 0x80, 0xFF))
    buffer = bytes(damaged)
    outcomes = []
    for attempt in (read_everything, check_image):
        try:
            attempt(Ext4Image(buffer))
            outcomes.append(True)
        except CorruptImageError:
            outcomes.append(False)
    try:
        image = Ext4Image(buffer)
    except CorruptImageError:
        return False
    # Each inode by itself: one that is damaged must not hide the others.
    for ino in range(1, 40):
        for attempt in (image.inode, image.xattrs, image.directory):
            try:
                attempt(ino)
            except CorruptImageError:
                continue
    return all(outcomes)


def fuzz(victims, seed, rounds):
    numbers = random.Random(seed)
    sound = 0
    for _ in range(rounds):
        data, places = numbers.choice(victims)
        sound += damage_and_read(data, places, numbers)
    return sound


def test_damage_is_noticed_or_harmless(victims):
    rounds = 600
    sound = fuzz(victims, 20_240_501, rounds)
    assert 0 < sound < rounds, "the damage should be of both kinds"


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(10))
def test_much_damage_is_noticed_or_harmless(victims, seed):
    fuzz(victims, seed, 5000)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 3000))
def test_garbage_is_refused(garbage, at):
    data = bytearray(write([]))
    data[at : at + len(garbage)] = garbage
    for buffer in (garbage, bytes(data), bytes(data[: 1024 + at])):
        try:
            read_everything(Ext4Image(buffer))
        except CorruptImageError:
            continue


def test_deep_nesting_needs_no_recursion():
    depth = sys.getrecursionlimit() + 500
    path = b"/".join([b"d"] * depth)
    image = open_written(with_parents([Entry(path=path, mode=stat.S_IFIFO)]))
    assert check_image(image).inodes == depth + 1
