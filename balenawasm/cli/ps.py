"""`balenawasm ps`: what runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from balenawasm.cli.output import age_text, print_json, print_table
from balenawasm.cli.project import find_supervisor, project_option
from balenawasm.cli.state import open_home
from balenawasm.cli.usage import usage_cells, usage_json, usage_of
from balenawasm.runtime import jsonform
from balenawasm.supervisor.status import PortStatus, ServiceState, ServiceStatus

if TYPE_CHECKING:
    from balenawasm.runtime.home import Home
    from balenawasm.supervisor.status import ProjectStatus

_COLUMNS = (
    *("PROJECT", "SERVICE", "IMAGE", "COMMAND", "STATUS"),
    *("CPU", "MEMORY", "PROCESSES", "PORTS"),
)
_WIDEST_COMMAND = 40


@click.command(name="ps")
@project_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ps_command(project_name: str | None, *, as_json: bool) -> None:
    """List the containers of all projects, or of one.

    \b
    Examples:
      balenawasm ps
      balenawasm ps --json | jq -r '.[].services[].name'
    """
    home = open_home()
    client = find_supervisor(home)
    projects = [
        project
        for project in (client.projects() if client else ())
        if project_name in (None, project.name)
    ]
    if as_json:
        print_json([_project_json(home, project) for project in projects])
        return
    rows = [
        (
            project.name,
            service.name,
            service.image,
            command_text(service),
            status_text(service),
            *usage_cells(usage_of(home, service)),
            ", ".join(map(port_text, service.ports)),
        )
        for project in projects
        for service in project.services
    ]
    print_table(_COLUMNS, rows)


def _project_json(home: Home, project: ProjectStatus) -> object:
    """A project's status with what each service uses."""
    form = jsonform.to_json(project)
    assert isinstance(form, dict)  # noqa: S101 - a record
    for entry, service in zip(form["services"], project.services, strict=True):
        usage = usage_of(home, service)
        entry["usage"] = None if usage is None else usage_json(usage)
    return form


def command_text(service: ServiceStatus) -> str:
    """A service's command in one short line, with nothing in it that steers a terminal."""
    text = " ".join(word.decode("utf-8", "backslashreplace") for word in service.command)
    # Newlines would break the table, and escape sequences the terminal.
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return text if len(text) <= _WIDEST_COMMAND else text[: _WIDEST_COMMAND - 1] + "…"


def status_text(service: ServiceStatus) -> str:
    """A service's state in a few words: since when, or how it ended."""
    if service.state is ServiceState.RUNNING and service.started_at is not None:
        return f"running, {age_text(service.started_at)}"
    if service.state in (ServiceState.EXITED, ServiceState.RESTARTING, ServiceState.STOPPED):
        code = f" ({service.exit_code})" if service.exit_code is not None else ""
        return f"{service.state}{code}"
    return f"{service.state}: {service.error}" if service.error else str(service.state)


def port_text(port: PortStatus) -> str:
    """A published port as docker shows it."""
    address = port.host_ip or "0.0.0.0"  # noqa: S104 - as docker shows it
    return f"{address}:{port.host_port}->{port.container_port}/{port.protocol}"
