"""All verbs as one click group. Each verb's module is imported only when it is called."""

from __future__ import annotations

import importlib

import click

VERBS: dict[str, str] = {
    "build": "Build an image from a Balenafile.",
    "run": "Run a program in a new container, or a wasm file.",
    "up": "Build what is missing and start a project's services.",
    "down": "Stop a project's services and remove its containers.",
    "ps": "List containers.",
    "inspect": "Show all about services as JSON.",
    "logs": "Show what services wrote.",
    "exec": "Run a program in a running service.",
    "stop": "Stop services; `start` brings them back.",
    "start": "Start stopped services.",
    "restart": "Stop and start services.",
    "image": "List, inspect, remove and verify images.",
}
"""Verb → one line of help, in the order of `--help`; the verb's module has the same name."""

_MODULE_OF = {"exec": "execute", "stop": "lifecycle", "start": "lifecycle", "restart": "lifecycle"}


class VerbGroup(click.Group):
    """A group whose commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order in which people meet them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb's module and return its command; None when there is no such verb."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"balenawasm.cli.{_MODULE_OF.get(cmd_name, cmd_name)}")
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)  # noqa: S101 - every verb is one
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="balenawasm", prog_name="balenawasm")
def cli() -> None:
    """Containers for edge boards without containers.

    Write a Balenafile (a Dockerfile's language) and a compose file; services run as WebAssembly.

    \b
    Examples:
      balenawasm up -d compose-examples/hello-python
      balenawasm run balenaos/python python -c 'print(6 * 7)'
      balenawasm run -v .:/ tool.wasm --help
    """


def call(arguments: list[str]) -> int:
    """Carry out one command line; returns the exit status.

    Wrong usage and an interrupt are told here; errors of the verbs pass through.
    """
    try:
        status = cli.main(args=arguments, prog_name="balenawasm", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    return status if isinstance(status, int) else 0
