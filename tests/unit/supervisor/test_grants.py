"""Grants of the compose file: texts, and mappings with files for TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from balenawasm.errors import BalenaWasmError
from balenawasm.runtime.bundle import TlsGrant
from balenawasm.supervisor.grants import Grants, read_grants

if TYPE_CHECKING:
    from pathlib import Path

TO = "tcp://example.org:443"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("ca.pem", "own.pem", "own.key"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("value", [TO, (TO,), {"to": TO}, ({"to": TO},), ({"to": TO, "ca": None},)])
def test_plain(directory: Path, value: object) -> None:
    assert read_grants("web", value, directory) == Grants((TO,))


def test_files_and_verification(directory: Path) -> None:
    read = read_grants(
        "web",
        (
            {"to": TO, "ca": "./ca.pem", "certificate": {"cert": "own.pem", "key": "own.key"}},
            "udp://1.2.3.4:5",
            {"to": "all", "verify": False, "certificate": str(directory / "own.pem")},
        ),
        directory,
    )
    assert read.allow == (TO, "udp://1.2.3.4:5", "all")
    ca, own, key = (str(directory / name) for name in ("ca.pem", "own.pem", "own.key"))
    assert read.tls == (
        TlsGrant(TO, ca, own, key),
        TlsGrant("all", certificate=own, verify=False),
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "service web: x-balenawasm.allow is a list of grants"),
        ((3,), "is a list of grants"),
        (("no",), "no grant"),
        (({"to": "no"},), "no grant"),
        (({"ca": "ca.pem"},), r"allow\[0\]: `to` is missing"),
        ((TO, {"to": TO, "ca": "no.pem"}), r"allow\[1\].ca: there is no file no.pem"),
        (({"to": TO, "ca": 7},), r"allow\[0\].ca: a file's path, not 7"),
        (({"to": TO, "verify": "no"},), "true or false"),
        (({"to": TO, "verfy": False},), "no key 'verfy'"),
        (({"to": TO, "certificate": {"key": "own.key"}},), "`cert` is missing"),
        (({"to": TO, "certificate": {"crt": "own.pem"}},), "certificate: no key 'crt'"),
        (({"to": "udp://a:1", "verify": False},), "TLS is for tcp://"),
    ],
)
def test_errors(directory: Path, value: object, message: str) -> None:
    with pytest.raises(BalenaWasmError, match=message):
        read_grants("web", value, directory)
