"""What a new volume gets from the image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from balenawasm.runtime import first_content
from balenawasm.runtime.bundle import Mount, MountKind
from balenawasm.runtime.exitrecord import StartError
from balenawasm.runtime.first_content import fill_tmpfs, fill_volume
from balenawasm.vfs.filesystems.hostdir import HostDirectory
from balenawasm.vfs.filesystems.overlay import Overlay, OverlayDirectory
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import Caller, DirEntry, Node, OpenFlags
from balenawasm.vfs.path import Namespace


class Image:
    """A directory in the place of an image, and an empty volume."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "image"
        self.volume = tmp_path / "volumes" / "p_v"
        self.volume.mkdir(parents=True)
        (self.root / "data" / "sub" / "empty").mkdir(parents=True)
        (self.root / "data" / "file").write_bytes(b"image's")
        (self.root / "data" / "file").chmod(0o755)
        (self.root / "data" / "sub" / "link").symlink_to("../file")

    def fill(self, target: bytes = b"/data", *, nocopy: bool = False) -> None:
        """Fill the volume as a container that mounts it at `target` does."""
        mount = Mount(kind=MountKind.VOLUME, target=target, source=str(self.volume), nocopy=nocopy)
        fill_volume(Namespace(HostDirectory(self.root).root), mount)

    def names(self) -> list[str]:
        """Everything in the volume."""
        return sorted(str(path.relative_to(self.volume)) for path in self.volume.rglob("*"))

    @property
    def mark(self) -> Path:
        """What says that the volume is being filled."""
        return self.volume.with_name(".filling-p_v")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path)


ALL = ["file", "sub", "sub/empty", "sub/link"]


def test_an_empty_volume_gets_the_image_s_files(image: Image) -> None:
    image.fill()
    assert image.names() == ALL
    assert (image.volume / "file").read_bytes() == b"image's"
    assert (image.volume / "file").stat().st_mode & 0o777 == 0o755
    assert os.readlink(image.volume / "sub" / "link") == "../file"
    assert not image.mark.exists()


def test_a_volume_with_data_stays_as_it_is(image: Image) -> None:
    (image.volume / "mine").write_bytes(b"")
    image.fill()
    assert image.names() == ["mine"]


def test_a_copy_that_was_cut_off_is_made_again(image: Image) -> None:
    image.fill()
    (image.volume / "sub" / "link").unlink()
    (image.volume / ".balenawasm-filling").write_bytes(b"half")
    image.mark.touch()
    image.fill()
    assert image.names() == ALL
    assert not image.mark.exists()


@pytest.mark.parametrize("target", [b"/nowhere", b"/data/file", b"/data/sub/empty"])
def test_without_a_directory_in_the_image_it_stays_empty(image: Image, target: bytes) -> None:
    image.fill(target)
    assert image.names() == []


def test_nocopy_leaves_it_empty(image: Image) -> None:
    image.fill(nocopy=True)
    assert image.names() == []


def test_a_deep_tree_needs_few_fds(image: Image) -> None:
    deep = image.root / "data" / Path(*["d"] * 60)
    deep.mkdir(parents=True)
    for number in range(60):
        (image.root / "data" / f"wide{number}").mkdir()
    image.fill()
    assert (image.volume / Path(*["d"] * 60)).is_dir()


def test_a_volume_that_is_gone_is_a_start_error(image: Image) -> None:
    image.volume.rmdir()
    with pytest.raises(StartError, match="p_v"):
        image.fill()


def test_more_than_there_is_room_for_is_refused_at_once(image: Image) -> None:
    with (image.root / "data" / "sub" / "sparse").open("wb") as file:
        file.truncate(1 << 43)  # all holes
    with pytest.raises(StartError, match="are free"):
        image.fill()
    assert image.mark.exists()


def test_too_many_entries_are_refused(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_content, "MAX_ENTRIES", 3)
    with pytest.raises(StartError, match="more than 3"):
        image.fill()


class Loop(OverlayDirectory):
    """The directory of a damaged image that is in itself: each time a new overlay node."""

    def entries(self, caller: Caller) -> list[DirEntry]:
        return [DirEntry(b"again", self.number, self.filetype)]

    def lookup(self, caller: Caller, name: bytes) -> Node:
        return Loop(self.fs, self, name, self.lowers, in_upper=False)


def test_a_directory_that_is_in_itself_is_refused(image: Image, tmp_path: Path) -> None:
    lower = HostDirectory(image.root).root
    loop = Loop(Overlay([lower], tmp_path / "upper"), None, b"", (lower,), in_upper=False)
    mount = Mount(kind=MountKind.VOLUME, target=b"/again", source=str(image.volume))
    with pytest.raises(StartError, match="in itself"):
        fill_volume(Namespace(loop), mount)
    assert image.names() == []


def test_a_tree_without_end_is_refused(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_content, "MAX_DEPTH", 1)
    (image.root / "data" / "sub" / "empty" / "more").mkdir()
    with pytest.raises(StartError, match="too deep"):
        image.fill()


def test_a_tmpfs_starts_as_a_copy_of_a_directory(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    large = os.urandom((1 << 20) + 7)
    (source / "sub" / "large").write_bytes(large)
    (source / "sub" / "large").chmod(0o755)
    (source / "link").symlink_to("sub/large")
    os.mkfifo(source / "fifo")
    os.utime(source / "sub" / "large", ns=(5, 6))
    root = Tmpfs(4 << 20).root
    fill_tmpfs(root, source)
    assert sorted(entry.name for entry in root.entries(NOBODY)) == [b"link", b"sub"]
    assert root.lookup(NOBODY, b"link").readlink(NOBODY) == b"sub/large"
    node = root.lookup(NOBODY, b"sub").lookup(NOBODY, b"large")
    stat = node.stat()
    assert (stat.size, stat.mtim, stat.mode & 0o777) == (len(large), 6, 0o755)
    buffer = bytearray(len(large))
    assert node.open(NOBODY, OpenFlags()).read(NOBODY, [memoryview(buffer)]) == len(large)
    assert buffer == large
    with pytest.raises(StartError, match="ENOSPC"):
        fill_tmpfs(Tmpfs(1 << 20).root, source)
    with pytest.raises(StartError, match="cannot copy"):
        fill_tmpfs(Tmpfs(1 << 20).root, source / "link")
