from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balenawasm.runtime import jsonform
from balenawasm.runtime.bundle import (
    Bundle,
    BundleError,
    Layer,
    Limits,
    Mount,
    MountKind,
    Network,
    Published,
    read_bundle,
    write_bundle,
)
from balenawasm.runtime.home import Home

if TYPE_CHECKING:
    from pathlib import Path

FULL = Bundle(
    id="c1",
    project="p",
    service="web",
    layers=(Layer(path="/x/a", digest="sha256:" + "0" * 64),),
    argv=(b"python", b"server.py", b"\xff\x00"[:1]),
    env=(b"A=\xc3\xa4", b"B="),
    cwd=b"/app",
    mounts=(
        Mount(kind=MountKind.VOLUME, source="/v", target=b"/data"),
        Mount(kind=MountKind.TMPFS, target=b"/dev/shm", read_only=False),
    ),
    network=Network(
        address="10.0.0.2",
        directory="/n",
        hosts_file="/n/hosts",
        published=(Published(container_port=80, listener=0),),
        allow=("*:53",),
    ),
    hostname="web",
    limits=Limits(memory=1 << 20),
    log="/l",
)


def test_round_trip_through_the_file(tmp_path: Path) -> None:
    home = Home(tmp_path).create()
    paths = home.container("c1")
    write_bundle(paths, FULL)
    assert read_bundle(paths.bundle) == FULL
    assert paths.bundle.stat().st_mode & 0o777 == 0o600


@given(st.lists(st.binary().filter(lambda b: b"\0" not in b), min_size=1))
def test_any_arguments_survive(argv: list[bytes]) -> None:
    bundle = Bundle(id="x", argv=tuple(argv))
    assert jsonform.decode(Bundle, jsonform.encode(bundle)).check() == bundle


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"argv": []}, "argv"),
        ({"argv": "ls"}, "argv: expected array"),
        ({"argv": [1]}, r"argv\[0\]: expected string"),
        ({"cwd": "app"}, "cwd"),
        ({"cwd": "/a\0"}, "NUL"),
        ({"version": 2}, "version"),
        ({"stdin": 1}, "stdin: expected bool"),
        ({"surprise": 1}, "surprise: unknown key"),
        ({"limits": {"processes": True}}, "limits.processes"),
        ({"mounts": [{"kind": "nfs", "target": "/"}]}, r"mounts\[0\].kind"),
        ({"mounts": [{"kind": "bind", "target": "/"}]}, r"mounts\[0\].source"),
        ({"bare_environment": 1}, "bare_environment: expected bool"),
        ({"mounts": [{"kind": "tmpfs", "target": "y"}]}, "target"),
        ({"mounts": [{"kind": "tmpfs", "target": "/"}], "layers": [{}]}, "missing digest, path"),
        ({"hostname": None}, "hostname"),
    ],
)
def test_wrong_documents_are_refused_with_the_place(change: dict[str, object], place: str) -> None:
    document = {"id": "x", "argv": ["a"], **change}
    with pytest.raises(jsonform.FormError, match=place):
        jsonform.from_json(Bundle, document).check()


def test_a_root_mount_excludes_layers() -> None:
    root = Mount(kind=MountKind.BIND, source="/", target=b"/")
    with pytest.raises(BundleError, match="root already"):
        FULL._replace(mounts=(root,)).check()


def test_no_json_and_deep_json_are_refused() -> None:
    for data in (b"{", b"[" * 100_000, b"\xff"):
        with pytest.raises(jsonform.FormError):
            jsonform.decode(Bundle, data, "somewhere")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(jsonform.FormError, match="missing argv, id"):
        jsonform.decode(Bundle, b"{}")
