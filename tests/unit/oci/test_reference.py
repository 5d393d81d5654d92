"""References: the grammar of names, tags and digests."""

from __future__ import annotations

import pytest

from balenawasm.digest import sha256
from balenawasm.oci.reference import InvalidReferenceError, Reference, parse_reference

DIGEST = sha256(b"")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", Reference(None, "web", "latest")),
        ("BalenaOS/python", Reference(None, "balenaos/python", "latest")),
        ("balenaos/python:3.12", Reference(None, "balenaos/python", "3.12")),
        ("a/b:RC1", Reference(None, "a/b", "RC1")),
        ("localhost/a:1", Reference("localhost", "a", "1")),
        ("localhost:5000/a/b", Reference("localhost:5000", "a/b", "latest")),
        ("host.example:5000/a:1", Reference("host.example:5000", "a", "1")),
        ("[::1]:5000/a", Reference("[::1]:5000", "a", "latest")),
        (f"a@{DIGEST}", Reference(None, "a", None, DIGEST)),
        (f"a:1@{DIGEST}", Reference(None, "a", "1", DIGEST)),
        ("a__b/c-d.e", Reference(None, "a__b/c-d.e", "latest")),
    ],
)
def test_good_references(text, expected):
    reference = parse_reference(text)
    assert reference == expected
    assert parse_reference(str(reference)) == reference


def test_the_canonical_spelling_has_the_tag():
    assert str(parse_reference("BalenaOS/Python")) == "balenaos/python:latest"
    assert parse_reference("localhost:5000/x").name == "localhost:5000/x"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a:",
        ":a",
        "/a",
        "a/",
        "a//b",
        "a b",
        "a:b c",
        "-a",
        "a-",
        "a..b",
        "a@sha256:00",
        "a@",
        "a:" + "x" * 129,
        "a" * 256,
        "host.example:999999/a",
        "../a",
        "a\n",
        "ü",
    ],
)
def test_bad_references_are_refused(text):
    with pytest.raises(InvalidReferenceError) as caught:
        parse_reference(text)
    assert repr(text) in caught.value.message
