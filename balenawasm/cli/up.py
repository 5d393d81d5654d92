"""`balenawasm up`: a compose project from source to running services."""

from __future__ import annotations

import threading
from pathlib import Path

import click

from balenawasm.cli.images import project_images
from balenawasm.cli.logs import print_lines
from balenawasm.cli.progress import BuildDisplay, StepDisplay, show_line
from balenawasm.cli.project import read_project
from balenawasm.cli.ps import port_text
from balenawasm.cli.state import open_home
from balenawasm.errors import BalenaWasmError
from balenawasm.runtime.logs import now_text
from balenawasm.supervisor.client import SupervisorClient, SupervisorError, ensure_running
from balenawasm.supervisor.compose_target import target_of
from balenawasm.supervisor.status import ProjectStatus, ServiceState

_POLL_SECONDS = 0.5
_ENDED = (ServiceState.EXITED, ServiceState.STOPPED, ServiceState.FAILED)


class NoServicesError(BalenaWasmError):
    """A compose file has no service that balenawasm could run."""


@click.command(name="up")
@click.argument("directory", default=".", metavar="[DIR]", type=click.Path(path_type=Path))
@click.option("-d", "--detach", is_flag=True, help="Return when the services run.")
@click.option("--build", is_flag=True, help="Build images even if they are there.")
@click.option("-p", "--project", "project_name", metavar="NAME", help="Another project name.")
def up_command(directory: Path, project_name: str | None, *, detach: bool, build: bool) -> None:
    """Build what is missing and start the services of the compose file in DIR (default: here).

    Without -d the logs are shown until Ctrl-C, which stops the services.

    \b
    Examples:
      balenawasm up -d
      balenawasm up --build compose-examples/two-services
    """
    project = read_project(directory, project_name)
    if not project.services:
        raise NoServicesError(
            f"{project.file} has no service that balenawasm runs",
            hint="a service is ours when its build context has a Balenafile",
        )
    home = open_home()
    with BuildDisplay() as display:
        images = project_images(home, project, build=build, display=display)
    target = target_of(project, images)
    since = now_text()
    client = ensure_running(home)
    with StepDisplay() as steps:
        status = client.apply(target, steps)
    for service in status.services:
        show_line(service.name, " ".join((service.state, *map(port_text, service.ports))))
    if not detach:
        _attend(client, status, since)


def _attend(client: SupervisorClient, status: ProjectStatus, since: str) -> None:
    """Show logs until all services have ended or Ctrl-C, which stops them."""
    names = [service.name for service in status.services]
    shown = threading.Thread(
        target=_show_logs, args=(client, status.name, names, since), daemon=True
    )
    shown.start()
    try:
        while not _all_ended(client, status.name):
            shown.join(_POLL_SECONDS)
    except KeyboardInterrupt:
        click.echo("\nstopping; press Ctrl-C again to leave the services running", err=True)
        for name in reversed(names):
            client.stop(status.name, name)


def _show_logs(client: SupervisorClient, project: str, names: list[str], since: str) -> None:
    try:
        print_lines(client.logs(project, follow=True, since=since), names)
    except SupervisorError as error:
        click.echo(f"no more logs: {error.message}", err=True)


def _all_ended(client: SupervisorClient, project: str) -> bool:
    known = [it for it in client.projects() if it.name == project]
    return not known or all(service.state in _ENDED for service in known[0].services)
