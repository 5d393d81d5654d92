"""`balenawasm logs`: what services wrote to standard output and error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from balenawasm.cli.output import terminal_text
from balenawasm.cli.project import check_services, find_supervisor, project_option, select_project
from balenawasm.cli.state import open_home
from balenawasm.runtime import jsonform
from balenawasm.runtime.logs import SYSTEM_STREAM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from balenawasm.supervisor.status import LogLine

_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_red")


@click.command(name="logs")
@click.argument("services", nargs=-1, metavar="[SERVICE…]")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option(
    "-n", "--tail", type=click.IntRange(min=0), help="Only the last lines of each service."
)
@click.option("--since", metavar="TIME", help="Only from this time on (RFC 3339, UTC).")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was written.")
@click.option("--no-prefix", is_flag=True, help="Do not show which service wrote a line.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@project_option
def logs_command(
    services: tuple[str, ...],
    tail: int | None,
    since: str | None,
    project_name: str | None,
    *,
    follow: bool,
    timestamps: bool,
    no_prefix: bool,
    as_json: bool,
) -> None:
    """Show the logs of a project's services.

    \b
    Examples:
      balenawasm logs
      balenawasm logs -f -t --tail 20 web
    """
    client = find_supervisor(open_home())
    project = select_project(client, project_name, service=services[0] if services else None)
    assert client is not None  # noqa: S101 - without a supervisor no project was found
    check_services(project, services)
    lines = client.logs(project.name, services=services, follow=follow, since=since, tail=tail)
    if as_json:
        for line in lines:
            click.echo(jsonform.dump(jsonform.to_json(line)).decode())
        return
    names = [service.name for service in project.services]
    print_lines(lines, names, timestamps=timestamps, prefix=not no_prefix)


def print_lines(
    lines: Iterable[LogLine], services: list[str], *, timestamps: bool = False, prefix: bool = True
) -> None:
    """Print log lines under coloured service names, all to standard output, as compose does.

    Lines of balenawasm itself have `!` in the place of `|`, so that a service cannot write what
    looks like one. At a terminal nothing that a service writes moves the cursor.
    """
    width = max(map(len, services), default=0)
    colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(sorted(services))}
    for line in lines:
        head = ""
        if prefix:
            mark = "!" if line.stream == SYSTEM_STREAM else "|"
            head = click.style(f"{line.service:<{width}} {mark} ", fg=colours.get(line.service))
        if timestamps:
            head += f"{line.time} "
        click.echo(head + (terminal_text(line.line) if sys.stdout.isatty() else line.line))
