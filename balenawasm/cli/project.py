"""Which project a verb is about: named with -p, else the directory's, else the only one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from balenawasm.compose.load import find_files, load_project
from balenawasm.errors import BalenaWasmError, UsageError
from balenawasm.supervisor.client import connect, ensure_running

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.compose.model import Project
    from balenawasm.runtime.home import Home
    from balenawasm.supervisor.client import SupervisorClient
    from balenawasm.supervisor.status import ProjectStatus


class NoProjectError(UsageError):
    """It is not clear, or not true, that there is a project to act upon."""


class NoServiceError(BalenaWasmError):
    """A project has no service of that name."""


def project_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `-p NAME`."""
    return click.option(
        "-p",
        "--project",
        "project_name",
        metavar="NAME",
        help="The project; else that of the current directory, else the only one that runs.",
    )(command)


def read_project(directory: Path, name: str | None = None) -> Project:
    """Load the compose file of a directory and show its warnings."""
    project = load_project(directory, environment=os.environ, project_name=name)
    for warning in project.warnings:
        click.echo(f"{click.style('warning:', fg='yellow')} {warning}", err=True)
    for service, reason in project.docker_services.items():
        click.echo(f"{click.style('skipped:', fg='yellow')} {service}: {reason}", err=True)
    return project


def find_supervisor(home: Home) -> SupervisorClient | None:
    """The supervisor; one that ended without taking its projects down is started again.

    So a reboot or a killed supervisor leaves nothing that `ps` hides and `down` cannot remove. None
    when nothing runs and there is no project.
    """
    client = connect(home)
    if client is None and any(home.projects.iterdir()):
        return ensure_running(home)
    return client


def select_project(
    client: SupervisorClient | None,
    name: str | None,
    *,
    directory: Path | None = None,
    service: str | None = None,
) -> ProjectStatus:
    """Find the project a verb means; raises NoProjectError, which says how to name one.

    `service` breaks a tie between several running projects when only one of them has it.
    """
    running = {project.name: project for project in client.projects()} if client else {}
    if name is None and directory is not None:
        name = load_project(directory, environment=os.environ).name
    if name is not None:
        return _named(running, name)
    if find_files(Path()):
        here = load_project(Path(), environment=os.environ).name
        if here in running:
            return running[here]
    candidates = [
        project
        for project in running.values()
        if service is None or any(it.name == service for it in project.services)
    ]
    if len(candidates) == 1:
        return candidates[0]
    if not running:
        raise NoProjectError("no project runs", hint="start one: balenawasm up -d DIR")
    if not candidates:
        raise NoServiceError(f"no project that runs has a service {service!r}")
    names = ", ".join(sorted(project.name for project in candidates))
    raise NoProjectError(f"several projects run: {names}", hint="name one with -p NAME")


def _named(running: dict[str, ProjectStatus], name: str) -> ProjectStatus:
    if name not in running:
        others = f"; there is {', '.join(sorted(running))}" if running else ""
        raise NoProjectError(
            f"project {name!r} does not run{others}", hint="`balenawasm ps` lists what runs"
        )
    return running[name]


def check_services(project: ProjectStatus, services: tuple[str, ...]) -> None:
    """Raise NoServiceError unless the project has all these services."""
    known = [service.name for service in project.services]
    for service in services:
        if service not in known:
            raise NoServiceError(
                f"project {project.name!r} has no service {service!r}",
                hint=f"it has {', '.join(known)}",
            )
