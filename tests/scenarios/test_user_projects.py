"""Ordinary compose projects, as Docker's users write them, end to end through the command."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Cli, processes_of, wait_for_no_process

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def project(cli: Cli) -> Iterator[Cli]:
    """An empty directory for a project called `ours`; taken down afterwards."""
    directory = cli.directory / "ours"
    directory.mkdir()
    inside = cli.in_directory(directory)
    yield inside
    inside("down", "-v", "-p", "ours", status=None)
    assert wait_for_no_process(cli.home) == {}


def states(cli: Cli) -> dict[str, str]:
    (status,) = json.loads(cli("ps", "--json").stdout)
    return {service["name"]: service["state"] for service in status["services"]}


def wait_for_logs(cli: Cli, *services: str) -> dict[str, str]:
    """Wait until each service has ended; returns what each wrote."""
    deadline = time.monotonic() + 30
    while any(states(cli)[name] != "exited" for name in services):
        assert time.monotonic() < deadline, states(cli)
        time.sleep(0.05)
    return {name: cli("logs", "--no-prefix", name).stdout for name in services}


def test_volumes_tmpfs_and_working_directories(project: Cli) -> None:
    source = project.directory / "data"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_text("image's")
    (project.directory / "Balenafile").write_text(
        "FROM balenaos/python\nCOPY data /var/lib/data\nVOLUME /var/lib/data\n"
        'CMD ["python", "-c", "import os; print(open(\'/var/lib/data/sub/file\').read());'
        " open('/var/lib/data/sub/file', 'a').write('+'); print(os.getcwd(), os.listdir('/t'))\"]\n"
    )
    (project.directory / "compose.yml").write_text(
        """
services:
  own: {build: ., image: test/filled, tmpfs: /t, working_dir: /not/there/yet}
  named: {image: test/filled, tmpfs: [/t], volumes: ["v:/var/lib/data"]}
  nocopy:
    image: test/filled
    volumes: ["w:/var/lib/data:nocopy"]
    command: python -c "import os; print(os.listdir('/var/lib/data'))"
volumes: {v: , w: }
"""
    )
    project("up", "-d", "--build")
    written = wait_for_logs(project, "own", "named", "nocopy")
    assert written["own"] == "image's\n/not/there/yet []\n"
    assert written["named"] == "image's\n/ []\n"
    assert written["nocopy"] == "[]\n"
    # What is in a volume stays: another start sees the change.
    project("restart", "named")
    assert wait_for_logs(project, "named")["named"].splitlines()[2] == "image's+"
    late = project("exec", "nocopy", "python", "-c", "pass", status=None)
    assert "service 'nocopy' does not run, it is exited" in late.stderr


def test_an_image_is_built_once_and_before_those_who_only_name_it(project: Cli) -> None:
    (project.directory / "Balenafile").write_text(
        'FROM balenaos/python\nCMD ["python", "-c", "print(1)"]\n'
    )
    (project.directory / "compose.yml").write_text(
        """
services:
  first: {image: test/shared}
  second: {image: test/shared, build: ., depends_on: [first]}
  third: {image: test/shared, build: ., depends_on: [first]}
"""
    )
    built = project("up", "-d", "--build").stderr
    assert built.count("test/shared:latest 1/2") == 1
    assert set(wait_for_logs(project, "first", "second", "third").values()) == {"1\n"}


def test_a_killed_supervisor_is_started_again_by_the_next_verb(project: Cli) -> None:
    (project.directory / "compose.yml").write_text(
        """
services:
  always: &sleeper
    image: balenaos/python
    command: [python, -c, "import time; time.sleep(1000)"]
    restart: always
  once:
    <<: *sleeper
    restart: no
"""
    )
    project("up", "-d")
    assert states(project) == {"always": "running", "once": "running"}
    daemons = [pid for pid, text in processes_of(project.home).items() if ".daemon" in text]
    os.kill(daemons[0], signal.SIGKILL)
    assert wait_for_no_process(project.home) == {}
    found = states(project)
    assert found["always"] in ("waiting", "starting", "running")
    assert found["once"] == "exited"
    project("down", "-v")
    assert wait_for_no_process(project.home) == {}
    assert json.loads(project("ps", "--json").stdout) == []
    assert wait_for_no_process(project.home, 0.1) == {}


def test_a_program_that_is_not_there_is_said_once(cli: Cli) -> None:
    done = cli("run", "balenaos/python", "nosuch", status=127)
    assert done.stderr.count("cannot start 'nosuch'") == 1
