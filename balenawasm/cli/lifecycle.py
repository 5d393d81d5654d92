"""`balenawasm stop`, `start` and `restart`: one service, or all of a project's."""

from __future__ import annotations

from collections.abc import Callable

import click

from balenawasm.cli.progress import show_line
from balenawasm.cli.project import check_services, find_supervisor, project_option, select_project
from balenawasm.cli.state import open_home
from balenawasm.supervisor.client import SupervisorClient
from balenawasm.supervisor.status import ProjectStatus

_Action = Callable[[SupervisorClient, str, str], ProjectStatus]


def _act(action: _Action, done: str, services: tuple[str, ...], project_name: str | None) -> None:
    client = find_supervisor(open_home())
    project = select_project(client, project_name, service=services[0] if services else None)
    assert client is not None  # noqa: S101 - without a supervisor no project was found
    check_services(project, services)
    for service in services or tuple(it.name for it in project.services):
        action(client, project.name, service)
        show_line(service, done)


@click.command(name="stop")
@click.argument("services", nargs=-1, metavar="[SERVICE…]")
@project_option
def stop_command(services: tuple[str, ...], project_name: str | None) -> None:
    """Stop services (all of the project without SERVICE) until they are started again.

    \b
    Example:
      balenawasm stop web
    """
    _act(SupervisorClient.stop, "stopped", services, project_name)


@click.command(name="start")
@click.argument("services", nargs=-1, metavar="[SERVICE…]")
@project_option
def start_command(services: tuple[str, ...], project_name: str | None) -> None:
    """Start services that were stopped or have ended.

    \b
    Example:
      balenawasm start web
    """
    _act(SupervisorClient.start, "started", services, project_name)


@click.command(name="restart")
@click.argument("services", nargs=-1, metavar="[SERVICE…]")
@project_option
def restart_command(services: tuple[str, ...], project_name: str | None) -> None:
    """Stop and start services; published ports stay open meanwhile.

    \b
    Example:
      balenawasm restart web
    """
    _act(SupervisorClient.restart, "restarted", services, project_name)
