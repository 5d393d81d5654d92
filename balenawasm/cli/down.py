"""`balenawasm down`: stop a project and remove its containers."""

from __future__ import annotations

from pathlib import Path

import click

from balenawasm.cli.progress import StepDisplay, show_line
from balenawasm.cli.project import find_supervisor, project_option, select_project
from balenawasm.cli.state import open_home


@click.command(name="down")
@click.argument("directory", required=False, metavar="[DIR]", type=click.Path(path_type=Path))
@click.option("-v", "--volumes", is_flag=True, help="Remove the named volumes, with their data.")
@project_option
def down_command(directory: Path | None, project_name: str | None, *, volumes: bool) -> None:
    """Stop a project's services and remove containers and network; volumes stay unless -v.

    \b
    Examples:
      balenawasm down
      balenawasm down -v compose-examples/two-services
    """
    client = find_supervisor(open_home())
    project = select_project(client, project_name, directory=directory)
    assert client is not None  # noqa: S101 - without a supervisor no project was found
    with StepDisplay() as display:
        client.remove(project.name, volumes=volumes, progress=display)
    show_line(project.name, "removed, with its volumes" if volumes else "removed")
