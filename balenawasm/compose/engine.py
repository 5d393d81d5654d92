"""Whose service it is: a context with a Balenafile is ours, one with only a Dockerfile Docker's.

A service may name its file with `build.balenafile`, or with `build.dockerfile` when that file's
name has "Balenafile" in it. A service with only an image is ours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from balenawasm.compose.document import ComposeError, Item, present

BALENAFILE = "Balenafile"
DOCKERFILE = "Dockerfile"

_REMOTE = re.compile(r"(?:[a-z][a-z0-9+.-]*://|git@|github\.com/)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class OwnBuild:
    """A build of ours; both paths are absolute."""

    context: Path
    balenafile: Path


@dataclass(frozen=True, slots=True)
class DockerBuild:
    """A build that is left to Docker; `reason` is for the user."""

    reason: str


def find_build(item: Item, directory: Path) -> OwnBuild | DockerBuild:
    """Find the context and the Balenafile of a service's `build`, a path or a mapping.

    Raises ComposeError when the context is no directory, or has neither a Balenafile nor a
    Dockerfile.
    """
    fields: Mapping[str, Item] = item.value if isinstance(item.value, Mapping) else {}
    context_item = item if isinstance(item.value, str) else present(fields, "context")
    if context_item is None and not fields:
        raise item.wrong_kind("a directory or a mapping with a context")
    text = "." if context_item is None else context_item.text()
    if _REMOTE.match(text):
        return DockerBuild(f"its build context is not on this machine: {text}")
    place = context_item or item
    context = Path(os.path.realpath(directory / text))
    if not os.path.isdir(context):  # noqa: PTH112
        raise place.error(
            f"the build context {text} is not a directory",
            hint="the path counts from the project's directory",
        )
    if (own := present(fields, "balenafile")) is not None:
        return OwnBuild(context, _named(own, context))
    dockerfile = present(fields, "dockerfile")
    if dockerfile is not None and BALENAFILE.lower() in Path(dockerfile.text()).name.lower():
        return OwnBuild(context, _named(dockerfile, context))
    if _is_file(context / BALENAFILE):
        return OwnBuild(context, context / BALENAFILE)
    if "dockerfile_inline" in fields:
        return DockerBuild("it has an inline Dockerfile and no Balenafile")
    docker_name = DOCKERFILE if dockerfile is None else dockerfile.text()
    if _is_file(context / docker_name):
        return DockerBuild(f"{text} has a {docker_name} but no Balenafile")
    raise _neither(place, text, docker_name)


def _is_file(path: Path) -> bool:
    # Path.is_file raises for a name that is too long or a directory that may not be searched.
    return os.path.isfile(path)  # noqa: PTH113


def _named(item: Item, context: Path) -> Path:
    path = context / item.text()
    if not _is_file(path):
        raise item.error(
            f"there is no file {item.text()}", hint="the path counts from the build context"
        )
    return path


def _neither(item: Item, context: str, docker_name: str) -> ComposeError:
    names = " or ".join(dict.fromkeys((BALENAFILE, docker_name)))
    return item.error(
        f"the build context {context} has no {names}",
        hint=f"write a {BALENAFILE}: FROM, COPY and CMD are enough for a first one",
    )
