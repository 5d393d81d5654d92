"""Files in tests/data/compose: what good ones mean, how bad ones are answered (`.expected`)."""

import dataclasses
import enum
from pathlib import Path

import pytest

from balenawasm.compose.document import ComposeError
from balenawasm.compose.load import load_project
from balenawasm.compose.model import Project

DATA = Path(__file__).parents[2] / "data" / "compose"
GOOD = sorted((DATA / "good").glob("*.yml"))
BAD = sorted((DATA / "bad").glob("*.yml"))

FILES = {
    ".env": "FROM_DOTENV=dotenv\nFROM_SHELL=hidden\n",
    "vars.env": "V=vars\nA=hidden\nNOWHERE=hidden\nW=${V}-$FROM_SHELL\n",
    "more.env": "V=more\n",
    "broken.env": "A=1\n'\n",
    "ours/Balenafile": "",
    "ours/Other.Balenafile": "",
    "both/Balenafile": "",
    "both/Dockerfile": "",
    "dockers/Dockerfile": "",
    "dockers/Dockerfile.prod": "",
    "named/web.Balenafile": "",
    "named/Dockerfile": "",
    "empty/README": "",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "Demo.1"
    for name, text in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def load(directory: Path, path: Path) -> Project:
    (directory / "balena-compose.yml").write_bytes(path.read_bytes())
    return load_project(directory, environment={"FROM_SHELL": "shell", "HOME": "/home/me"})


def is_default(field: "dataclasses.Field[object]", value: object) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return value == field.default_factory()
    return value == field.default


def show(value: object, indent: str = "") -> str:
    """Write a model value as text: one line for a leaf; defaults are left out."""
    if dataclasses.is_dataclass(value):
        fields = {
            it.name: getattr(value, it.name)
            for it in dataclasses.fields(value)
            if not is_default(it, getattr(value, it.name))
        }
        return type(value).__name__ + show(fields, indent)
    if isinstance(value, dict) and value:
        return "".join(f"\n{indent}{key}: {show(it, indent + '  ')}" for key, it in value.items())
    if isinstance(value, tuple) and value and not isinstance(value[0], int):
        return "".join(f"\n{indent}- {show(it, indent + '  ')}" for it in value)
    if isinstance(value, enum.Enum):
        return value.name
    return str(value) if isinstance(value, Path) else repr(value)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_file(directory: Path, path: Path) -> None:
    shown = show(load(directory, path)).replace(str(directory), "DIRECTORY") + "\n"
    shown = shown.replace(": \n", ":\n")
    assert shown == path.with_suffix(".expected").read_text()


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_file(directory: Path, path: Path) -> None:
    with pytest.raises(ComposeError) as caught:
        load(directory, path)
    answer = f"{caught.value.message}\nhint: {caught.value.hint}\n"
    assert answer == path.with_suffix(".expected").read_text()
