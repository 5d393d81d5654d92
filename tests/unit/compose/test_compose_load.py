import os
from pathlib import Path

import pytest

from balenawasm.compose.document import ComposeError
from balenawasm.compose.load import FILE_NAMES, find_files, load_project, normalise_name
from balenawasm.compose.model import Port, Project

ONE = "services: {web: {image: a}}\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "demo"
    directory.mkdir()
    return directory


def load(directory: Path, text: str = ONE, **environment: str) -> Project:
    (directory / "compose.yaml").write_text(text)
    return load_project(directory, environment=environment)


def test_the_first_file_found_is_used_and_the_others_are_named(directory: Path) -> None:
    for index, name in reversed(list(enumerate(FILE_NAMES))):
        (directory / name).write_text(f"services: {{s{index}: {{image: a}}}}")
        project = load_project(directory, environment={})
        assert project.file == directory / name
        assert list(project.services) == [f"s{index}"]
        others = FILE_NAMES[index + 1 :]
        expected = (f"{name} is used, not {', '.join(others)}",) if others else ()
        assert project.warnings == expected
    assert find_files(directory) == tuple(directory / name for name in FILE_NAMES)


def test_no_file(directory: Path) -> None:
    assert find_files(directory) == ()
    with pytest.raises(ComposeError, match="there is no compose file in"):
        load_project(directory, environment={})
    with pytest.raises(ComposeError, match="there is no compose file in"):
        load_project(directory / "nowhere", environment={})


def test_named_file(directory: Path) -> None:
    (directory / "other.yml").write_text("services: {other: {image: a, env_file: e}}")
    (directory / "e").write_text("A=1")
    project = load_project(directory, files=[Path("other.yml")], environment={})
    assert project.services["other"].environment == {"A": "1"}
    outside = directory.parent / "outside.yml"
    outside.write_text("services: []")
    with pytest.raises(ComposeError, match=r"outside\.yml:1: services: expected a mapping"):
        load_project(directory, files=[outside], environment={})
    with pytest.raises(ComposeError, match=r"cannot read gone\.yml"):
        load_project(directory, files=[Path("gone.yml")], environment={})
    with pytest.raises(ComposeError, match="not supported yet"):
        load_project(directory, files=[outside, outside], environment={})


def test_override_files_are_named(directory: Path) -> None:
    (directory / "compose.override.yaml").write_text(ONE)
    assert load(directory).warnings == (
        "compose.override.yaml is not read: override files are not supported yet",
    )


def test_the_directory_may_be_relative(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)
    (directory / "compose.yaml").write_text(ONE)
    project = load_project(Path(), environment={})
    assert (project.name, project.directory) == ("demo", directory)


def test_where_the_name_comes_from(directory: Path) -> None:
    named = ONE + "name: from-${WHERE:-file}\n"
    assert load(directory).name == "demo"
    assert load(directory, named).name == "from-file"
    assert load(directory, named, WHERE="here").name == "from-here"
    assert load(directory, named, COMPOSE_PROJECT_NAME="shell").name == "shell"
    (directory / ".env").write_text("COMPOSE_PROJECT_NAME=dotenv\n")
    assert load(directory, named).name == "dotenv"
    given = load_project(directory, environment={"COMPOSE_PROJECT_NAME": "x"}, project_name="y")
    assert given.name == "y"
    with pytest.raises(ComposeError, match="'Y' cannot be the name of a project"):
        load_project(directory, environment={}, project_name="Y")
    with pytest.raises(ComposeError, match=r"'\.\.' cannot be the name"):
        load_project(directory, environment={}, project_name="..")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Demo", "demo"), ("my.app 2", "myapp2"), ("_-x_-", "x_-"), ("é", ""), ("__", "")],
)
def test_normalise_name(text: str, expected: str) -> None:
    assert normalise_name(text) == expected


def test_a_directory_name_without_letters(tmp_path: Path) -> None:
    directory = tmp_path / "…"
    directory.mkdir()
    with pytest.raises(ComposeError, match="makes no project name"):
        load(directory)


def test_environment_wins_over_dotenv(directory: Path) -> None:
    (directory / ".env").write_text("A=dotenv\nB=dotenv\n")
    text = 'services: {web: {image: "$A-$B-${C-}-$D"}}'
    project = load(directory, text, A="shell")
    assert project.services["web"].image == "shell-dotenv--"
    assert project.warnings == ("compose.yaml:1: the variable D is not set; it counts as empty",)


def test_no_variable_of_this_process_is_read(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALENAWASM_TEST", "leaked")
    text = "services: {web: {image: a, environment: [BALENAWASM_TEST]}}"
    assert load(directory, text).services["web"].environment == {}


def test_mistakes_in_dotenv(directory: Path) -> None:
    (directory / ".env").write_text("A=1\n'x\n")
    with pytest.raises(ComposeError, match=r"^\.env:2: not a variable"):
        load(directory)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_dotenv_that_cannot_be_read(directory: Path) -> None:
    (directory / ".env").touch(mode=0)
    with pytest.raises(ComposeError, match=r"cannot read \.env: Permission denied"):
        load(directory)


def test_paths_that_cannot_be_looked_at(directory: Path) -> None:
    text = f"services: {{web: {{build: {'x' * 5000}}}}}"
    with pytest.raises(ComposeError, match="is not a directory"):
        load(directory, text)
    (directory / "loop").symlink_to("loop")
    with pytest.raises(ComposeError, match="the build context loop is not a directory"):
        load(directory, "services: {web: {build: loop}}")
    with pytest.raises(ComposeError, match="there is no compose file"):
        load_project(directory / ("x" * 5000), environment={})


def test_a_long_chain_of_services_starts_in_order(directory: Path) -> None:
    lines = ["services:"]
    count = 1500
    lines += [f"  s{i}: {{image: a, depends_on: [s{i + 1}]}}" for i in range(count)]
    lines += [f"  s{count}: {{image: a}}"]
    order = load(directory, "\n".join(lines)).start_order
    assert order == tuple(f"s{i}" for i in range(count, -1, -1))


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        ("80:1", "80:1", True),
        ("127.0.0.1:80:1", "80:1", True),
        ("127.0.0.1:80:1", "0.0.0.0:80:1", True),
        ("127.0.0.1:80:1", "127.0.0.2:80:1", False),
        ("127.0.0.1:80:1", "[::1]:80:1", False),
        ("80:1/udp", "80:1", False),
        ("80-90:80-90", "85:1", True),
        ("1", "1", False),
    ],
)
def test_host_ports_of_two_services(
    directory: Path, first: str, second: str, conflict: bool
) -> None:
    text = (
        f"services: {{a: {{image: a, ports: ['{first}']}}, b: {{image: a, ports: ['{second}']}}}}"
    )
    if conflict:
        with pytest.raises(ComposeError, match="is published by a already"):
            load(directory, text)
    else:
        assert len(load(directory, text).services) == 2


def test_ports_are_written_as_compose_does() -> None:
    assert str(Port(None, 80, 81)) == "80:81/tcp"
    assert str(Port("::1", None, 81, "udp")) == "[::1]:81/udp"
    assert str(Port("127.0.0.1", 80, 81)) == "127.0.0.1:80:81/tcp"


def test_values_that_interpolation_makes(directory: Path) -> None:
    text = """\
services:
  web:
    image: a
    ports: [{target: "$PORT", published: "$PORT"}]
    volumes: [{type: bind, source: "$DIR", target: /x, read_only: "$RO"}]
"""
    service = load(directory, text, PORT="80", DIR="/d", RO="Yes").services["web"]
    assert service.ports == (Port(None, 80, 80),)
    assert (service.volumes[0].source, service.volumes[0].read_only) == ("/d", True)
