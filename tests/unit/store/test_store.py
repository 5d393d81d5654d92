"""The store on a real directory: blobs, names, verification, collection, versions."""

from __future__ import annotations

import json
import threading

import pytest

from balenawasm.atomicfile import file_lock
from balenawasm.digest import hex_of, sha256
from balenawasm.oci.config import ImageConfig
from balenawasm.oci.layoutdir import UnknownLayoutError
from balenawasm.oci.mediatypes import EXT4_LAYER, REF_NAME
from balenawasm.oci.reference import parse_reference
from balenawasm.store.errors import (
    CorruptBlobError,
    DamagedImageError,
    ImageNotFoundError,
    MissingBlobError,
    StoreError,
)
from balenawasm.store.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store").open()


def put(store, name, *layers, **config):
    descriptors = [store.blobs.add(data, EXT4_LAYER) for data in layers]
    reference = None if name is None else parse_reference(name)
    return store.images.put(reference, ImageConfig(**config), descriptors)


def blob_names(store):
    return {path.name for path in (store.root / "blobs/sha256").iterdir()}


class TestLayout:
    def test_open_makes_an_image_layout_and_again_finds_it(self, tmp_path):
        store = Store(tmp_path / "a" / "store").open()
        assert json.loads((store.root / "oci-layout").read_bytes()) == {
            "imageLayoutVersion": "1.0.0"
        }
        assert store.images.list() == []
        put(store, "x", b"layer")
        assert [str(i.reference) for i in Store(store.root).open().images.list()] == ["x:latest"]

    def test_another_version_is_refused_and_left_alone(self, store):
        (store.root / "oci-layout").write_text('{"imageLayoutVersion":"9"}')
        with pytest.raises(UnknownLayoutError, match="'9'"):
            Store(store.root).open()

    def test_a_half_made_store_is_completed(self, store):
        (store.root / "oci-layout").unlink()
        put(store, "x", b"layer")
        assert len(Store(store.root).open().images.list()) == 1

    def test_a_file_in_its_place_is_a_clear_error(self, tmp_path):
        (tmp_path / "store").write_text("")
        with pytest.raises(StoreError, match="cannot open the store in"):
            Store(tmp_path / "store").open()


class TestBlobs:
    def test_a_blob_is_found_under_its_digest(self, store):
        with store.blobs.ingest() as blob:
            blob.write(b"ab")
            blob.write(memoryview(b"cd"))
        assert blob.digest == sha256(b"abcd")
        assert blob.descriptor(EXT4_LAYER).size == 4
        assert store.blobs.read(blob.digest) == b"abcd"
        assert store.blobs.path(blob.digest).stat().st_mode & 0o222 == 0
        assert blob_names(store) == {hex_of(blob.digest)}

    def test_an_exception_leaves_nothing(self, store):
        def interrupted():
            with store.blobs.ingest() as blob:
                blob.write(b"x" * 1_000_000)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert blob_names(store) == set()

    def test_a_document_that_is_there_is_not_written_again(self, store):
        first = store.blobs.add(b"same", EXT4_LAYER)
        inode = store.blobs.path(first.digest).stat().st_ino
        assert store.blobs.add(b"same", EXT4_LAYER) == first
        assert store.blobs.path(first.digest).stat().st_ino == inode

    def test_writing_a_damaged_blob_again_mends_it(self, store):
        digest = store.blobs.add(b"content", EXT4_LAYER).digest
        path = store.blobs.path(digest)
        for damaged in (b"con", b"cOntent"):
            path.chmod(0o644)
            path.write_bytes(damaged)
            with path.open("rb") as reader, store.blobs.ingest() as blob:
                blob.write(b"content")
            assert reader.closed
            store.blobs.verify(digest)

    def test_a_changed_byte_is_found(self, store):
        digest = store.blobs.add(b"content", EXT4_LAYER).digest
        path = store.blobs.path(digest)
        path.chmod(0o644)
        path.write_bytes(b"cOntent")
        with pytest.raises(CorruptBlobError, match=str(path)):
            store.blobs.verify(digest)
        with pytest.raises(CorruptBlobError):
            store.blobs.read(digest)

    def test_a_missing_blob_is_named(self, store):
        digest = sha256(b"never")
        for operation in (store.blobs.read, store.blobs.verify, store.blobs.size):
            with pytest.raises(MissingBlobError, match=digest):
                operation(digest)
        assert not store.blobs.has(digest)

    def test_a_document_is_read_up_to_a_limit(self, store):
        digest = store.blobs.add(b"12345", EXT4_LAYER).digest
        assert store.blobs.read(digest, limit=5) == b"12345"
        with pytest.raises(StoreError, match="larger than 4 bytes"):
            store.blobs.read(digest, limit=4)


class TestImages:
    def test_an_image_is_found_by_name_without_regard_to_case(self, store):
        image = put(store, "BalenaOS/Python", b"1", b"2", cmd=("python",))
        found = store.images.get(parse_reference("balenaos/python:latest"))
        assert found == image
        assert found.config.diff_ids == (sha256(b"1"), sha256(b"2"))
        assert [path.read_bytes() for path in found.layer_paths] == [b"1", b"2"]
        assert found.size == 2

    def test_an_image_is_found_by_digest(self, store):
        image = put(store, "x", b"1")
        put(store, "y", b"2")
        assert store.images.get(parse_reference(f"any@{image.digest}")).digest == image.digest

    def test_the_same_image_has_the_same_digest_in_any_store(self, store, tmp_path):
        other = Store(tmp_path / "other").open()
        config = {"labels": {"b": "1", "a": "2"}, "env": ("A=1",)}
        assert put(store, "x", b"1", **config) == put(other, "x", b"1", **config)._replace(
            layer_paths=(store.blobs.path(sha256(b"1")),)
        )

    def test_a_name_moves_to_the_new_image(self, store):
        put(store, "x", b"1")
        new = put(store, "x", b"2")
        assert [image.digest for image in store.images.list()] == [new.digest]

    def test_an_unknown_name_is_answered_with_near_ones(self, store):
        put(store, "balenaos/python", b"1")
        with pytest.raises(ImageNotFoundError, match="balenaos/pyton:latest") as caught:
            store.images.get(parse_reference("balenaos/pyton"))
        assert "balenaos/python:latest" in caught.value.hint

    def test_an_image_whose_layer_is_missing_is_not_named(self, store):
        layer = store.blobs.add(b"1", EXT4_LAYER)
        store.blobs.remove(layer.digest)
        with pytest.raises(MissingBlobError):
            store.images.put(parse_reference("x"), ImageConfig(), [layer])
        assert store.images.list() == []

    def test_images_without_a_name_are_listed(self, store):
        image = put(store, None, b"1")
        assert [(i.reference, i.digest) for i in store.images.list()] == [(None, image.digest)]
        store.images.tag(image, parse_reference("x"))
        assert [str(i.reference) for i in store.images.list()] == ["x:latest"]

    def test_remove_takes_one_name_or_the_image(self, store):
        image = put(store, "x", b"1")
        store.images.tag(image, parse_reference("y"))
        store.images.remove(parse_reference("x"))
        assert [str(i.reference) for i in store.images.list()] == ["y:latest"]
        store.images.tag(image, parse_reference("z"))
        store.images.remove(parse_reference(f"y@{image.digest}"))
        assert store.images.list() == []
        with pytest.raises(ImageNotFoundError):
            store.images.remove(parse_reference("x"))

    def test_a_damaged_manifest_is_told_with_the_way_out(self, store):
        image = put(store, "x", b"1")
        store.blobs.remove(image.digest)
        for operation in (store.images.list, lambda: store.images.get(parse_reference("x"))):
            with pytest.raises(DamagedImageError, match="x:latest is damaged") as caught:
                operation()
            assert "image rm x:latest" in caught.value.hint
        store.images.remove(parse_reference("x"))
        assert store.images.list() == []
        assert store.collect_garbage().blobs == 2

    def test_verify_reads_every_blob(self, store):
        image = put(store, "x", b"1", b"2")
        store.images.verify(image)
        path = image.layer_paths[1]
        path.chmod(0o644)
        path.write_bytes(b"3")
        with pytest.raises(CorruptBlobError):
            store.images.verify(image)

    def test_verify_compares_sizes_and_layer_counts(self, store):
        image = put(store, "x", b"1")
        wrong_size = image.manifest.layers[0]._replace(size=7)
        with pytest.raises(CorruptBlobError, match="another size"):
            store.images.verify(
                image._replace(manifest=image.manifest._replace(layers=(wrong_size,)))
            )
        with pytest.raises(CorruptBlobError, match="layers"):
            store.images.verify(image._replace(config=image.config._replace(diff_ids=())))

    def test_names_put_at_the_same_time_are_all_kept(self, store):
        threads = [
            threading.Thread(target=put, args=(Store(store.root), f"n{i}", b"%d" % i))
            for i in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.images.list()) == 16

    def test_the_index_names_images_as_the_specification_says(self, store):
        put(store, "a/b:1", b"1")
        index = json.loads((store.root / "index.json").read_bytes())
        assert index["manifests"][0]["annotations"] == {REF_NAME: "a/b:1"}


class TestGarbage:
    def test_only_what_nothing_leads_to_is_deleted(self, store):
        put(store, "x", b"shared", b"old")
        new = put(store, "x", b"shared", b"new")
        collected = store.collect_garbage()
        assert collected.blobs == 3  # layer, configuration, manifest
        assert not store.blobs.has(sha256(b"old"))
        store.images.verify(new)
        assert store.collect_garbage().blobs == 0

    def test_pinned_images_stay(self, store):
        old = put(store, "x", b"old")
        put(store, "x", b"new")
        assert store.collect_garbage(keep=[old.digest, sha256(b"gone")]).blobs == 0
        store.images.verify(old)

    def test_unfinished_files_are_swept(self, store):
        folder = store.root / "blobs/sha256"
        (folder / ".tmp-0123").write_bytes(b"x" * 10)
        assert store.collect_garbage().size == 10
        (folder / ".tmp-0123").write_bytes(b"x" * 10)
        assert store.sweep_unfinished() == 10

    def test_nothing_is_swept_while_somebody_writes(self, store):
        with store.blobs.ingest() as blob:
            blob.write(b"x")
            assert Store(store.root).sweep_unfinished() == 0
        store.blobs.verify(blob.digest)

    def test_collection_waits_for_writers(self, store):
        done = threading.Event()

        def collect():
            Store(store.root).collect_garbage()
            done.set()

        with store.writing():
            layer = store.blobs.add(b"layer", EXT4_LAYER)
            thread = threading.Thread(target=collect)
            thread.start()
            image = store.images.put(parse_reference("x"), ImageConfig(), [layer])
            assert not done.is_set()
        thread.join()
        store.images.verify(image)

    def test_readers_do_not_wait_for_a_collection(self, store):
        put(store, "x", b"1")
        with file_lock(store.root / "lock"):
            assert store.images.get(parse_reference("x"))

    def test_an_unreadable_manifest_stops_it_before_anything_is_deleted(self, store):
        image = put(store, "x", b"1")
        put(store, "y", b"2")
        store.images.remove(parse_reference("y"))
        store.blobs.remove(image.digest)
        with pytest.raises(StoreError, match="nothing was deleted"):
            store.collect_garbage()
        assert store.blobs.has(sha256(b"2"))
        assert store.blobs.has(sha256(b"1"))
