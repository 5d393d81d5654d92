"""Descriptors, manifests, configurations, the index: canonical bytes, refusals with a place."""

from __future__ import annotations

import json

import pytest

from balenawasm.digest import sha256
from balenawasm.oci.config import Healthcheck, History, ImageConfig
from balenawasm.oci.descriptor import Descriptor
from balenawasm.oci.document import MAXIMUM_SIZE, InvalidDocumentError, parse_object
from balenawasm.oci.layoutdir import Index, UnknownLayoutError, check_layout, layout_json, ref_name
from balenawasm.oci.manifest import Manifest
from balenawasm.oci.mediatypes import EXT4_LAYER, IMAGE_CONFIG, IMAGE_MANIFEST

CONFIG = Descriptor(IMAGE_CONFIG, sha256(b"config"), 6)
LAYER = Descriptor(EXT4_LAYER, sha256(b"layer"), 5)


def test_a_manifest_survives_the_round_trip_byte_for_byte():
    manifest = Manifest(CONFIG, (LAYER, LAYER), {"a": "ü"})
    data = manifest.to_json()
    assert Manifest.from_json(data) == manifest
    assert Manifest.from_json(data).to_json() == data
    assert b" " not in data
    assert "ü".encode() in data


def test_canonical_bytes_do_not_depend_on_the_order_of_members():
    one = Manifest(CONFIG, (), {"a": "1", "b": "2"}).to_json()
    other = Manifest(CONFIG, (), {"b": "2", "a": "1"}).to_json()
    assert one == other


def test_the_config_has_the_members_of_the_specification():
    config = ImageConfig(
        env=("A=1", "B=x=y"),
        entrypoint=("/init",),
        cmd=("python", "-m", "x"),
        working_dir="/app",
        exposed_ports=("3000/tcp",),
        volumes=("/data",),
        labels={"k": "v"},
        diff_ids=(LAYER.digest,),
        history=(History("COPY . ."), History("CMD x", empty_layer=True)),
    )
    members = json.loads(config.to_json())
    assert members == {
        "architecture": "wasm",
        "os": "wasip1",
        "config": {
            "Env": ["A=1", "B=x=y"],
            "Entrypoint": ["/init"],
            "Cmd": ["python", "-m", "x"],
            "WorkingDir": "/app",
            "ExposedPorts": {"3000/tcp": {}},
            "Volumes": {"/data": {}},
            "Labels": {"k": "v"},
        },
        "rootfs": {"type": "layers", "diff_ids": [LAYER.digest]},
        "history": [
            {"created_by": "COPY . ."},
            {"created_by": "CMD x", "empty_layer": True},
        ],
    }
    assert ImageConfig.from_json(config.to_json()) == config
    assert config.environment == {"A": "1", "B": "x=y"}


def test_docker_s_members_for_shells_and_health_checks():
    check = Healthcheck(("CMD-SHELL", "wget -q x"), interval=5_000_000_000, retries=3)
    config = ImageConfig(shell=("/bin/bash", "-c"), healthcheck=check)
    assert json.loads(config.to_json())["config"] == {
        "Shell": ["/bin/bash", "-c"],
        "Healthcheck": {
            "Test": ["CMD-SHELL", "wget -q x"],
            "Interval": 5_000_000_000,
            "Retries": 3,
        },
    }
    assert ImageConfig.from_json(config.to_json()) == config
    data = b'{"architecture":"a","os":"o","config":{"Healthcheck":{"Interval":-1}}}'
    with pytest.raises(InvalidDocumentError, match="Healthcheck: Interval"):
        ImageConfig.from_json(data)


def test_nothing_is_written_for_what_is_not_set():
    assert json.loads(ImageConfig().to_json()) == {
        "architecture": "wasm",
        "os": "wasip1",
        "rootfs": {"type": "layers", "diff_ids": []},
    }


def test_null_members_of_other_writers_are_empty():
    data = (
        b'{"architecture":"wasm","os":"wasip1","config":{"Env":null,"Volumes":null},"created":null}'
    )
    assert ImageConfig.from_json(data) == ImageConfig()


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "not a JSON document"),
        (b"[]", "not a JSON object"),
        (b"[" * 100_000, "not a JSON document"),
        (b'{"schemaVersion":1}', "schemaVersion"),
        (b'{"schemaVersion":true}', "schemaVersion"),
        (b'{"schemaVersion":2}', "config: digest: missing"),
        (b'{"schemaVersion":2,"config":7}', "config"),
        (b'{"schemaVersion":2,"mediaType":"x"}', "not an image manifest"),
        (b'{"schemaVersion":2,"layers":[5]}', "layers[0]"),
        (b'{"schemaVersion":2,"layers":{}}', "layers: not an array"),
        (
            b'{"schemaVersion":2,"config":{"mediaType":"m","size":1,"digest":"md5:00"}}',
            "config: digest",
        ),
        (
            b'{"schemaVersion":2,"config":{"mediaType":"m","size":-1,"digest":"sha256:'
            + b"0" * 64
            + b'"}}',
            "config: size",
        ),
        (b'{"schemaVersion":2,"mediaType":"\\ud800"}', "surrogate"),
        (b'{"schemaVersion":2,"mediaType":"a\\u0000"}', "NUL"),
    ],
)
def test_a_malformed_manifest_is_refused_with_the_place(data, part):
    with pytest.raises(InvalidDocumentError) as caught:
        Manifest.from_json(data, "manifest m")
    assert caught.value.message.startswith("manifest m: ")
    assert part in caught.value.message


def test_a_malformed_config_is_refused():
    with pytest.raises(InvalidDocumentError, match="Env: not an array"):
        ImageConfig.from_json(b'{"architecture":"wasm","os":"wasip1","config":{"Env":{}}}')
    with pytest.raises(InvalidDocumentError, match="rootfs: diff_ids"):
        ImageConfig.from_json(b'{"architecture":"a","os":"b","rootfs":{"diff_ids":["sha1:0"]}}')
    with pytest.raises(InvalidDocumentError, match="empty_layer"):
        ImageConfig.from_json(b'{"architecture":"a","os":"b","history":[{"empty_layer":1}]}')


def test_a_document_that_is_too_large_is_refused():
    with pytest.raises(InvalidDocumentError, match="larger"):
        parse_object(b" " * (MAXIMUM_SIZE + 1), "x")


def test_a_manifest_with_absurdly_many_layers_is_refused():
    data = Manifest(CONFIG, (LAYER,) * 1001).to_json()
    with pytest.raises(InvalidDocumentError, match="layers"):
        Manifest.from_json(data)


def test_another_layout_version_is_refused():
    check_layout(layout_json(), "here")
    with pytest.raises(UnknownLayoutError, match=r"here: unknown image layout version '2.0.0'"):
        check_layout(b'{"imageLayoutVersion":"2.0.0"}', "here")


class TestIndex:
    ONE = Descriptor(IMAGE_MANIFEST, sha256(b"1"), 1)
    TWO = Descriptor(IMAGE_MANIFEST, sha256(b"2"), 1)

    def test_a_name_means_one_image(self):
        index = Index().with_image("b:latest", self.ONE).with_image("a:latest", self.ONE)
        index = index.with_image("b:latest", self.TWO)
        assert [ref_name(item) for item in index.manifests] == ["a:latest", "b:latest"]
        found = index.find("b:latest")
        assert found is not None
        assert found.digest == self.TWO.digest
        assert Index.from_json(index.to_json()) == index

    def test_a_nameless_image_is_listed_once_and_only_until_it_gets_a_name(self):
        index = Index().with_image(None, self.ONE).with_image(None, self.ONE)
        assert len(index.manifests) == 1
        index = index.with_image("a:latest", self.ONE)
        assert [ref_name(item) for item in index.manifests] == ["a:latest"]
        assert index.with_image(None, self.ONE) == index

    def test_a_moved_name_leaves_other_names_of_the_image(self):
        index = Index().with_image("a:1", self.ONE).with_image("b:1", self.ONE)
        index = index.with_image("a:1", self.TWO)
        assert {ref_name(item): item.digest for item in index.manifests} == {
            "a:1": self.TWO.digest,
            "b:1": self.ONE.digest,
        }
