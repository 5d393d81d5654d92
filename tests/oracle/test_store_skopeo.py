"""skopeo reads our store as the OCI image layout it claims to be."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from balenawasm.oci.config import ImageConfig
from balenawasm.oci.mediatypes import EXT4_LAYER
from balenawasm.oci.reference import parse_reference
from balenawasm.store.store import Store

pytestmark = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")


def skopeo(*arguments):
    command = ["skopeo", "--insecure-policy", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store").open()
    layers = [store.blobs.add(data, EXT4_LAYER) for data in (b"one", b"two")]
    store.images.put(
        parse_reference("balenaos/hello"), ImageConfig(cmd=("hello",), env=("A=1",)), layers
    )
    return store


def test_skopeo_reads_manifest_and_config(store):
    image = store.images.get(parse_reference("balenaos/hello"))
    name = f"oci:{store.root}:balenaos/hello:latest"
    assert skopeo("inspect", "--raw", name) == image.manifest.to_json()
    config = json.loads(skopeo("inspect", "--config", name))
    assert config["config"]["Cmd"] == ["hello"]
    assert config["architecture"] == "wasm"


def test_a_copy_by_skopeo_is_a_store_with_the_same_digests(store, tmp_path):
    skopeo(
        "copy",
        f"oci:{store.root}:balenaos/hello:latest",
        f"oci:{tmp_path}/copy:balenaos/hello:latest",
    )
    copy = Store(tmp_path / "copy").open()
    image = copy.images.get(parse_reference("balenaos/hello"))
    assert image.digest == store.images.get(parse_reference("balenaos/hello")).digest
    copy.images.verify(image)
