"""A directory with a compose file → a checked project.

Spec: compose specification, "Compose file", "Version and name top-level elements",
"Interpolation". The steps: find the file, read `.env`, parse, interpolate, read services and
volumes, then check what refers to what. All file access is here, in :mod:`yamltree`,
:mod:`environment` and :mod:`engine`; nothing is written, no variable of this process is read.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.compose.document import ComposeError, Item, present
from balenawasm.compose.dotenv import read_dotenv
from balenawasm.compose.interpolate import InterpolationError, Lookup, interpolate
from balenawasm.compose.model import NamedVolume, Project
from balenawasm.compose.mounts import read_volumes
from balenawasm.compose.normalise import Draft, ServiceReader, read_extension
from balenawasm.compose.references import check_references
from balenawasm.compose.warnings import CHANGED_PROJECT, Warnings
from balenawasm.compose.yamltree import read_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILE_NAMES = (
    "balena-compose.yml",
    "balena-compose.yaml",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
)
"""Looked for in this order; the first one found is used."""

_PROJECT_NAME_VARIABLE = "COMPOSE_PROJECT_NAME"
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")
_NOT_IN_NAME = re.compile(r"[^a-z0-9_-]")
_TOP_LEVEL_KEYS = frozenset({"name", "services", "version", "volumes"})


def load_project(
    directory: Path,
    *,
    files: Sequence[Path] | None = None,
    environment: Mapping[str, str],
    project_name: str | None = None,
) -> Project:
    """Load the project in `directory`.

    `files` names the compose file instead of looking for it (one, for now); relative paths in it
    count from `directory` all the same. `environment` is the user's; it wins over `.env`. The
    name is `project_name`, else COMPOSE_PROJECT_NAME, else the file's `name`, else the
    directory's name. Raises ComposeError.
    """
    directory = Path(os.path.abspath(directory))  # noqa: PTH100 - resolve() would follow symlinks
    warnings = Warnings()
    file = _find_file(directory, files, warnings)
    known = _environment(directory, environment)
    if project_name is not None:
        known[_PROJECT_NAME_VARIABLE] = project_name
    root = _interpolate(read_document(file, _shown(file, directory)), known.get, warnings)
    fields = root.mapping()
    warnings.unknown_keys(fields, _TOP_LEVEL_KEYS, changed=CHANGED_PROJECT)
    name = _name(fields, known, directory)
    services = present(fields, "services")
    if services is None or not services.mapping():
        raise ComposeError("there are no services", where=root.where, hint="add `services:`")
    reader = ServiceReader(directory, known.get, warnings)
    drafts: dict[str, Draft] = {
        key: reader.read(key, item) for key, item in services.mapping().items()
    }
    volumes_item = present(fields, "volumes")
    volumes: dict[str, NamedVolume] = {}
    if volumes_item is not None:
        volumes = read_volumes(volumes_item, name, warnings)
    checked, start_order = check_references(drafts, volumes, warnings)
    return Project(
        name=name,
        directory=directory,
        file=file,
        services=checked,
        start_order=start_order,
        volumes=volumes,
        docker_services={
            key: draft.docker_reason for key, draft in drafts.items() if draft.service is None
        },
        warnings=warnings.all(),
        x_balenawasm=read_extension(fields),
    )


def find_files(directory: Path) -> tuple[Path, ...]:
    """Return the compose files in a directory, the one that is used first."""
    return tuple(directory / name for name in FILE_NAMES if _is_file(directory / name))


def _is_file(path: Path) -> bool:
    # Path.is_file raises for a directory that may not be searched.
    return os.path.isfile(path)  # noqa: PTH113


def normalise_name(text: str) -> str:
    """Return `text` as a project's name: small letters, digits, `-` and `_`; may come out empty."""
    return _NOT_IN_NAME.sub("", text.lower()).lstrip("_-")


def _find_file(directory: Path, files: Sequence[Path] | None, warnings: Warnings) -> Path:
    if files:
        if len(files) > 1:
            raise ComposeError(
                "several compose files for one project are not supported yet",
                hint="write them into one file",
            )
        return directory / files[0]
    found = find_files(directory)
    if not found:
        raise ComposeError(
            f"there is no compose file in {directory}",
            hint=f"write a {FILE_NAMES[0]}, or name the project's directory",
        )
    if len(found) > 1:
        others = ", ".join(file.name for file in found[1:])
        warnings.add(f"{found[0].name} is used, not {others}")
    for name in FILE_NAMES:
        stem, suffix = name.rsplit(".", 1)
        override = f"{stem}.override.{suffix}"
        if _is_file(directory / override):
            warnings.add(f"{override} is not read: override files are not supported yet")
    return found[0]


def _environment(directory: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for interpolation: `.env`, overridden by the user's environment."""
    try:
        defaults = read_dotenv(directory / ".env", ".env", environment.get)
    except (FileNotFoundError, IsADirectoryError):
        defaults = {}
    except OSError as error:
        raise ComposeError(f"cannot read .env: {error.strerror}") from error
    return {**defaults, **environment}


def _interpolate(root: Item, lookup: Lookup, warnings: Warnings) -> Item:
    def change(item: Item, text: str) -> str:
        try:
            return interpolate(
                text,
                lookup,
                lambda name: warnings.add(
                    f"{item.where}: the variable {name} is not set; it counts as empty"
                ),
            )
        except InterpolationError as error:
            raise item.error(error.message, hint=error.hint) from error

    return root.map_texts(change)


def _name(fields: Mapping[str, Item], known: Mapping[str, str], directory: Path) -> str:
    given = known.get(_PROJECT_NAME_VARIABLE)
    if given:
        if not _PROJECT_NAME.match(given):
            raise ComposeError(_bad_name(given), hint=_NAME_HINT)
        return given
    item = present(fields, "name")
    if item is not None:
        name = item.text()
        if not _PROJECT_NAME.match(name):
            raise item.error(_bad_name(name), hint=_NAME_HINT)
        return name
    name = normalise_name(directory.resolve().name)
    if not name:
        raise ComposeError(
            f"the directory's name {directory.name!r} makes no project name",
            hint="add `name:` to the compose file",
        )
    return name


_NAME_HINT = "a name has small letters, digits, '-' and '_', and starts with a letter or digit"


def _bad_name(name: str) -> str:
    return f"{name!r} cannot be the name of a project"


def _shown(file: Path, directory: Path) -> str:
    return str(file.relative_to(directory)) if file.is_relative_to(directory) else str(file)
