"""`balenawasm inspect`: all about a service, as JSON."""

from __future__ import annotations

import click

from balenawasm.cli.output import print_json
from balenawasm.cli.project import check_services, find_supervisor, project_option, select_project
from balenawasm.cli.state import open_home
from balenawasm.cli.usage import usage_json, usage_of
from balenawasm.runtime import jsonform


@click.command(name="inspect")
@project_option
@click.argument("services", nargs=-1, required=True, metavar="SERVICE…")
def inspect_command(services: tuple[str, ...], project_name: str | None) -> None:
    """Show services as JSON: state, processes, what they use and what they may use.

    \b
    Examples:
      balenawasm inspect web
      balenawasm inspect web | jq '.[0].usage.memory, .[0].usage.limits.memory'
    """
    home = open_home()
    project = select_project(find_supervisor(home), project_name, service=services[0])
    check_services(project, services)
    found = []
    for name in services:
        service = next(one for one in project.services if one.name == name)
        form = jsonform.to_json(service)
        assert isinstance(form, dict)  # noqa: S101 - a record
        usage = usage_of(home, service)
        form["project"] = project.name
        form["usage"] = None if usage is None else usage_json(usage)
        form["processes"] = [] if usage is None else [jsonform.to_json(p) for p in usage.processes]
        found.append(form)
    print_json(found)
