from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from balenawasm.compose.load import load_project
from balenawasm.errors import BalenaWasmError
from balenawasm.oci.config import ImageConfig
from balenawasm.oci.reference import parse_reference
from balenawasm.runtime.bundle import Limits, LogLimits, MountKind
from balenawasm.runtime.ports import PublishedPort
from balenawasm.store.store import Store
from balenawasm.supervisor.compose_target import signal_number, target_of
from balenawasm.supervisor.target_state import (
    Condition,
    Dependency,
    Label,
    ProjectTarget,
    RestartPolicy,
    TargetMount,
    TargetVolume,
)

if TYPE_CHECKING:
    from pathlib import Path

    from balenawasm.store.images import Image

CONFIG = ImageConfig(
    env=("PATH=/bin", "A=image"),
    entrypoint=("python",),
    cmd=("server.py",),
    working_dir="/app",
    volumes=("/cache", "/data"),
    labels={"l": "image"},
    stop_signal="SIGINT",
)


def image(tmp_path: Path, config: ImageConfig = CONFIG) -> Image:
    store = Store(tmp_path / "store").open()
    return store.images.put(parse_reference("web"), config, [])


def target(tmp_path: Path, text: str, config: ImageConfig = CONFIG) -> ProjectTarget:
    directory = tmp_path / "shop"
    directory.mkdir()
    (directory / "compose.yaml").write_text(text)
    project = load_project(directory, files=None, environment={}, project_name=None)
    return target_of(project, {name: image(tmp_path, config) for name in project.services})


def test_the_images_defaults(tmp_path: Path) -> None:
    (web,) = target(tmp_path, "services: {web: {image: web}}").services
    assert web.argv == (b"python", b"server.py")
    assert web.env == (b"PATH=/bin", b"A=image")
    assert web.cwd == b"/app"
    assert web.stop_signal == 2
    assert web.labels == (Label(name="l", value="image"),)
    assert web.restart is RestartPolicy.NO
    assert [mount.target for mount in web.mounts] == [b"/cache", b"/data"]


def test_what_the_service_says_goes_over_it(tmp_path: Path) -> None:
    found = target(
        tmp_path,
        """
services:
  web:
    image: web
    command: ["other.py"]
    environment: {A: service, B: "2"}
    working_dir: /elsewhere
    ports: ["127.0.0.1:8080:80"]
    volumes: ["data:/data:ro", "./src:/src", "/tmp/x"]
    restart: on-failure:3
    depends_on: [api]
    labels: {l: service}
    x-balenawasm: {allow: ["tcp://example.org:443"]}
  api:
    image: web
    entrypoint: ["api"]
volumes: {data: {}}
""",
    )
    web, api = (found.service(name) for name in ("web", "api"))
    assert web is not None
    assert api is not None
    assert web.argv == (b"python", b"other.py")
    assert api.argv == (b"api",)
    assert web.env == (b"PATH=/bin", b"A=service", b"B=2")
    assert web.cwd == b"/elsewhere"
    assert web.ports == (PublishedPort(container_port=80, host_port=8080, host_ip="127.0.0.1"),)
    assert web.mounts[0] == TargetMount(
        kind=MountKind.VOLUME, source="shop_data", target=b"/data", read_only=True
    )
    assert web.mounts[1] == TargetMount(
        kind=MountKind.BIND, source=str(tmp_path / "shop" / "src"), target=b"/src"
    )
    assert [m.target for m in web.mounts[2:]] == [b"/tmp/x", b"/cache"]
    assert all(m.source.startswith("shop_web-") for m in web.mounts[2:])
    assert (web.restart, web.restart_retries) == (RestartPolicy.ON_FAILURE, 3)
    assert web.depends_on == (Dependency(service="api"),)
    assert web.allow == ("tcp://example.org:443",)
    assert web.labels == (Label(name="l", value="service"),)
    assert TargetVolume(name="shop_data") in found.volumes
    assert len(found.volumes) == 1 + 2 + 2


def test_volumes_keep_how_they_are_filled(tmp_path: Path) -> None:
    text = """
services: {web: {image: web, volumes: ["data:/data:nocopy", {type: volume, target: /own}]}}
volumes: {data: }
"""
    mounts = {mount.target: mount for mount in target(tmp_path, text).services[0].mounts}
    assert mounts[b"/data"].nocopy
    assert not mounts[b"/own"].nocopy


def test_the_options_of_mounts_arrive(tmp_path: Path) -> None:
    text = """
services:
  web:
    image: web
    tmpfs: "/run:size=1m"
    volumes: [{type: bind, source: ./b, target: /b, bind: {create_host_path: false}}]
"""
    mounts = {mount.target: mount for mount in target(tmp_path, text).services[0].mounts}
    assert mounts[b"/run"].size == 1 << 20
    assert not mounts[b"/b"].create_host_path


def test_how_a_service_is_called_and_stopped(tmp_path: Path) -> None:
    text = """
services:
  web: {image: web, hostname: box, stop_signal: SIGUSR1, stop_grace_period: 1m30.5s}
  other: {image: web}
"""
    found = {service.name: service for service in target(tmp_path, text).services}
    web, other = found["web"], found["other"]
    assert (web.hostname, web.stop_signal, web.stop_grace) == ("box", 10, 90.5)
    assert (other.hostname, other.stop_signal, other.stop_grace) == ("", 2, 10.0)


def test_a_service_counts_as_healthy_when_it_has_started(tmp_path: Path) -> None:
    text = (
        "services: {web: {image: web, depends_on: {api: {condition: service_healthy}}},"
        " api: {image: web}}"
    )
    web = next(service for service in target(tmp_path, text).services if service.name == "web")
    assert [(it.service, it.condition) for it in web.depends_on] == [("api", Condition.STARTED)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services: {web: {image: web, entrypoint: []}}", "what to run"),
        ("services: {web: {image: web, x-balenawasm: {allow: 3}}}", "list of grants"),
        ("services: {web: {image: web, x-balenawasm: {allow: [no]}}}", "no grant"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BalenaWasmError, match=message):
        target(tmp_path, text)


@pytest.mark.parametrize(
    ("name", "number"),
    [("", 15), ("SIGINT", 2), ("term", 15), ("9", 9), ("SIGRTMIN+3", 37)],
)
def test_signal_names(name: str, number: int) -> None:
    assert signal_number(name) == number


def test_an_unknown_signal_is_refused() -> None:
    with pytest.raises(BalenaWasmError, match="no signal"):
        signal_number("SIGNOTHING")


def test_limits_and_pipes(tmp_path: Path) -> None:
    found = target(
        tmp_path,
        """
services:
  sensor:
    image: web
  filter:
    image: web
    mem_limit: 64m
    cpus: 0.5
    cpu_shares: 512
    ulimits: {nofile: 64}
    logging: {options: {max-file: 2}}
    x-balenawasm: {stdin: "service:sensor", storage: 1m, cpu_time: 1m, log_rate: 5}
""",
    )
    sensor, filtering = found.services
    assert (sensor.stdin_from, sensor.stdout_to) == ("", "filter")
    assert (filtering.stdin_from, filtering.stdout_to) == ("sensor", "")
    assert sensor.limits == Limits()
    assert sensor.log_limits == LogLimits()
    assert filtering.limits == Limits(
        memory=64 << 20, open_files=64, cpus=0.5, cpu_weight=50, cpu_time=60.0, storage=1 << 20
    )
    assert filtering.log_limits == LogLimits(files=2, lines_per_second=5)


def test_a_pipe_needs_both_services(tmp_path: Path) -> None:
    """`up` may leave services out."""
    directory = tmp_path / "shop"
    directory.mkdir()
    text = 'services: {a: {image: web}, b: {image: web, x-balenawasm: {stdin: "service:a"}}}'
    (directory / "compose.yaml").write_text(text)
    project = load_project(directory, files=None, environment={}, project_name=None)
    for name in ("a", "b"):
        (alone,) = target_of(project, {name: image(tmp_path)}).services
        assert (alone.stdin_from, alone.stdout_to) == ("", "")
