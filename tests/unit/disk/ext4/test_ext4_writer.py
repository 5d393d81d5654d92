from __future__ import annotations

import io
import mmap
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from ext4_examples import (
    HUGE,
    WHEN,
    SparseSink,
    content,
    file,
    huge_entry,
    open_written,
    read_everything,
    rich_entries,
    write,
)

from balenawasm.disk.entry import Entry, directory, regular_file, symbolic_link
from balenawasm.disk.ext4.allocation import allocate
from balenawasm.disk.ext4.errors import (
    ImageTooLargeError,
    InvalidEntryError,
    SourceChangedError,
    SourceReadError,
)
from balenawasm.disk.ext4.file_tree import build_tree
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.disk.ext4.writer import write_image


def test_everything_is_read_back():
    entries = rich_entries()
    image = open_written(entries)
    found = read_everything(image)
    assert set(found) == {entry.path for entry in entries}
    for entry in entries:
        inode, xattrs = found[entry.path]
        if entry.hardlink is not None:
            assert inode == found[entry.hardlink][0]
            continue
        assert inode.mode == entry.mode
        assert (inode.uid, inode.gid) == (entry.uid, entry.gid)
        assert inode.mtime_ns == inode.atime_ns == inode.ctime_ns == entry.mtime_ns
        assert inode.target == entry.target
        assert inode.rdev == entry.rdev
        assert xattrs == entry.xattrs
        if stat.S_ISREG(entry.mode):
            assert content(image, inode.ino) == entry.source


def test_every_file_lies_in_one_run():
    found = read_everything(open_written(rich_entries()))
    assert max(len(inode.runs) for inode, _ in found.values()) == 1


def test_link_counts():
    found = read_everything(open_written(rich_entries()))
    assert found[b"a/b/c"][0].nlink == 3
    assert found[b"a"][0].nlink == 3
    assert found[b""][0].nlink == 2 + 3


def test_the_order_of_entries_does_not_matter():
    entries = rich_entries()
    assert write(entries) == write(list(reversed(entries)))


def test_equal_entries_give_equal_bytes_wherever_content_comes_from(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"content")
    in_memory = [file(b"f", b"content")]
    on_host = [
        Entry(
            path=b"f",
            mode=stat.S_IFREG | 0o644,
            mtime_ns=WHEN,
            size=7,
            source=tmp_path / "elsewhere",
        )
    ]
    first, second = write(in_memory), write(on_host)
    # The UUID may use content that is in memory; nothing else may differ.
    assert first[:1128] + first[1144:] == second[:1128] + second[1144:]


def test_uuid_comes_from_content():
    first = open_written([file(b"f", b"1")])
    assert first.uuid == open_written([file(b"f", b"1")]).uuid
    others = [
        open_written([file(b"f", b"2")]).uuid,
        open_written([file(b"g", b"1")]).uuid,
        open_written([file(b"f", b"1")], label=b"x").uuid,
        open_written([file(b"f", b"1", xattrs={b"user.a": b"b"})]).uuid,
        open_written([]).uuid,
    ]
    assert len({first.uuid, *others}) == 6
    assert first.uuid[6] >> 4 == 8
    assert first.uuid[8] >> 6 == 2


def test_label():
    assert open_written([], label=b"sixteen bytes !!").label == b"sixteen bytes !!"
    with pytest.raises(ValueError, match="16 bytes"):
        write([], label=b"seventeen bytes !")


def test_an_image_of_nothing_has_a_root():
    image = open_written([])
    assert list(image.walk()) == []
    assert image.inode(image.root_ino).mode == stat.S_IFDIR | 0o755


def test_output_is_sequential_and_in_whole_blocks():
    class Sink:
        size = 0
        largest = 0

        def write(self, data, /):
            self.size += len(data)
            self.largest = max(self.largest, len(data))
            return len(data)

    sink = Sink()
    write_image(rich_entries(), sink)
    assert sink.size % 4096 == 0
    assert sink.largest < 1 << 20


def test_many_empty_files_do_not_pad_the_image():
    entries = [directory(b"d%03d" % index) for index in range(70)]
    entries += [
        Entry(path=b"d%03d/%d" % (index, number), mode=stat.S_IFREG | 0o644)
        for index in range(70)
        for number in range(500)
    ]
    geometry = allocate(build_tree(entries)).geometry
    assert geometry.groups == 2
    assert geometry.blocks_count - geometry.used_blocks <= 16


def test_a_file_with_more_extents_than_an_inode_holds(tmp_path):
    sink = SparseSink(tmp_path / "image")
    write_image([huge_entry(tmp_path), file(b"small", b"after")], sink)
    sink.close()
    with (tmp_path / "image").open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    image = Ext4Image(mapped)
    names = image.directory(image.root_ino)
    (run,) = image.inode(names[b"huge"][0]).runs
    assert run.length == HUGE
    assert mapped[run.offset + HUGE - 3 : run.offset + HUGE] == b"end"
    assert content(image, names[b"small"][0]) == b"after"
    mapped.close()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (file(b"/absolute"), "relative"),
        (file(b"a//b"), "relative"),
        (file(b"a/../b"), "relative"),
        (file(b"."), "relative"),
        (file(b"trailing/"), "relative"),
        (file(b"n" * 256), "255"),
        (file(b"/".join([b"n" * 200] * 21)), "4095"),
        (file(b"zero\0byte"), "zero byte"),
        (file(b"no/parent"), "no entry for its directory /no"),
        (file(b"", mtime_ns=0), "root must be a directory"),
        (file(b"owner", uid=-1), "uid"),
        (file(b"owner", gid=2**32 - 1), "gid"),
        (file(b"when", mtime_ns=-(2**31) * 10**9 - 1), "1901"),
        (file(b"when", mtime_ns=2**64), "2446"),
        (symbolic_link(b"l", b""), "target"),
        (symbolic_link(b"l", b"x" * 4096), "target"),
        (symbolic_link(b"l", b"x\0y"), "target"),
        (Entry(path=b"m", mode=0o644), "not the mode"),
        (Entry(path=b"m", mode=1 << 20 | stat.S_IFREG), "not the mode"),
        (Entry(path=b"m", mode=stat.S_IFREG, size=1), "without a source"),
        (Entry(path=b"m", mode=stat.S_IFREG, size=-1), "without a source"),
        (Entry(path=b"m", mode=stat.S_IFREG, target=b"t"), "only symbolic links"),
        (Entry(path=b"m", mode=stat.S_IFDIR, source=b"t"), "only regular files"),
        (Entry(path=b"m", mode=stat.S_IFCHR, rdev=(4096, 0)), "device number"),
        (Entry(path=b"m", mode=stat.S_IFCHR, rdev=(0, 1 << 20)), "device number"),
        (Entry(path=b"m", mode=0, hardlink=b"nowhere"), "no file can be linked to at /nowhere"),
        (Entry(path=b"m", mode=0, hardlink=b"d"), "no file can be linked"),
        (file(b"d"), "two entries"),
        (file(b"f/below a file"), "a file stands in place of"),
        (file(b"x", xattrs={b"odd": b""}), "cannot be stored"),
        (
            Entry(path=b"m", mode=stat.S_IFREG, size=170 * 2**30 + 1, source=Path("/nowhere")),
            "more than the",
        ),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_first_byte(entry, message):
    out = io.BytesIO()
    with pytest.raises(InvalidEntryError, match=message):
        write_image([directory(b"d"), file(b"f"), entry], out)
    assert out.getvalue() == b""


def test_too_large_altogether():
    entries = [
        Entry(path=b"%d" % index, mode=stat.S_IFREG, size=160 << 30, source=Path("/nowhere"))
        for index in range(103)
    ]
    with pytest.raises(ImageTooLargeError, match="at most"):
        write(entries)


def test_error_names_the_path_printably():
    with pytest.raises(InvalidEntryError, match=r"/a\\n\\xff") as caught:
        write([file(b"a\n\xff/b")])
    assert caught.value.message.isprintable()


def test_too_many_hard_links():
    links = [Entry(path=b"l%05d" % i, mode=0, hardlink=b"f") for i in range(65_000)]
    with pytest.raises(InvalidEntryError, match="65000"):
        build_tree([file(b"f"), *links])


def host_entry(path, size):
    return Entry(path=b"f", mode=stat.S_IFREG | 0o644, size=size, source=path)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 300_000, 1 << 18, 1 << 19])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_source_that_changes_its_size_is_noticed(tmp_path, size, change):
    path = tmp_path / "source"
    path.write_bytes(b"s" * (size + max(change, 0)))
    with pytest.raises(SourceChangedError, match="grew" if change > 0 else "shrank") as caught:
        write([host_entry(path, size - min(change, 0))])
    assert str(path) in caught.value.message


def test_a_source_that_is_no_file_any_more(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(SourceChangedError, match="no longer a regular file"):
        write([host_entry(pipe, 1)])
    link = tmp_path / "link"
    link.symlink_to("/etc/passwd")
    with pytest.raises(SourceReadError, match="cannot read"):
        write([host_entry(link, 1)])
    with pytest.raises(SourceReadError, match="No such file"):
        write([host_entry(tmp_path / "gone", 1)])


def test_errors_of_the_output_pass():
    class Full:
        def write(self, data, /):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_image([regular_file(b"f", b"x")], Full())


def test_a_directory_with_more_children_than_links_can_count():
    nodes = build_tree([directory(b"%d" % index) for index in range(65_010)])
    image_of_few = open_written([directory(b"d"), directory(b"d/e")])
    assert nodes[0].links == 65_012
    assert image_of_few.inode(image_of_few.directory(2)[b"d"][0]).nlink == 3


def test_bytes_set_the_size():
    assert file(b"f", b"123").size == 3
    assert replace(file(b"f", b"123"), source=b"4567").size == 4
