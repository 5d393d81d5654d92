from __future__ import annotations

import pytest

from balenawasm.errors import BalenaWasmError
from balenawasm.runtime import jsonform
from balenawasm.runtime.bundle import MountKind
from balenawasm.runtime.ports import PublishedPort
from balenawasm.supervisor.target_state import (
    Dependency,
    Label,
    ProjectTarget,
    RestartPolicy,
    ServiceTarget,
    TargetMount,
    TargetVolume,
)

LAYER = "sha256:" + "a" * 64
WEB = ServiceTarget(
    name="web",
    image="web:latest",
    image_digest=LAYER,
    layers=(LAYER,),
    argv=(b"python", b"\xff"),
    env=(b"A=1",),
    cwd=b"/app",
    ports=(PublishedPort(container_port=80, host_port=8080),),
    mounts=(TargetMount(kind=MountKind.VOLUME, source="p_v", target=b"/v", read_only=True),),
    restart=RestartPolicy.ALWAYS,
    depends_on=(Dependency(service="api"),),
    labels=(Label(name="a", value="b"),),
)
API = WEB._replace(name="api", ports=(), depends_on=())
PROJECT = ProjectTarget(name="p", services=(WEB, API), volumes=(TargetVolume(name="p_v"),))


def test_round_trip() -> None:
    assert jsonform.decode(ProjectTarget, jsonform.encode(PROJECT)).check() == PROJECT


def test_identity_follows_every_part() -> None:
    assert WEB.identity == WEB._replace().identity
    assert WEB.identity != WEB._replace(env=(b"A=2",)).identity
    assert WEB.identity != WEB._replace(stop_grace=1.0).identity


def with_web(**changes: object) -> ProjectTarget:
    return PROJECT._replace(services=(WEB._replace(**changes), API))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("project", "text"),
    [
        (PROJECT._replace(name="../x"), "not a usable project name"),
        (PROJECT._replace(version=2), "version 2"),
        (PROJECT._replace(services=(WEB, WEB, API)), "same name"),
        (PROJECT._replace(services=(WEB,)), "depends on unknown 'api'"),
        (PROJECT._replace(volumes=()), "volume 'p_v' is not the project's"),
        (PROJECT._replace(volumes=(TargetVolume(name="a/b"),)), "not a usable volume"),
        (with_web(name="a b"), "not a service name"),
        (with_web(argv=()), "no command"),
        (with_web(cwd=b"app"), "not absolute"),
        (with_web(stop_signal=0), "no signal 0"),
        (with_web(layers=("md5:1",)), "not a sha256 digest"),
        (with_web(mounts=(TargetMount(kind=MountKind.TMPFS, target=b"t"),)), "not absolute"),
        (
            PROJECT._replace(services=(WEB, API._replace(ports=WEB.ports))),
            "web and api both publish port 8080",
        ),
        (
            PROJECT._replace(services=(WEB, API._replace(depends_on=(Dependency(service="web"),)))),
            "circle: api, web",
        ),
    ],
)
def test_contradictions_are_refused(project: ProjectTarget, text: str) -> None:
    with pytest.raises(BalenaWasmError, match=text):
        project.check()
