"""The `balenawasm` command: finds the verb, turns errors into a message, a hint and an exit status.

A verb's module is imported only when it is called, so that `run` does not pay for what `up` needs.
Exit status: 0 success; 1 failure; 2 wrong usage; 130 interrupted; 70 a fault of ours; `run` and
`exec` give the guest's own.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback

import click

from balenawasm.errors import BalenaWasmError

VERBS: dict[str, str] = {
    "build": "Build an image from a Balenafile.",
    "run": "Run a program in a new container, or a wasm file.",
    "up": "Build what is missing and start a project's services.",
    "down": "Stop a project's services and remove its containers.",
    "ps": "List containers.",
    "logs": "Show what services wrote.",
    "exec": "Run a program in a running service.",
    "stop": "Stop services; `start` brings them back.",
    "start": "Start stopped services.",
    "restart": "Stop and start services.",
    "image": "List, inspect, remove and verify images.",
}
"""Verb → one line of help, in the order of `--help`; the verb's module has the same name."""

_MODULE_OF = {"exec": "execute", "stop": "lifecycle", "start": "lifecycle", "restart": "lifecycle"}
INTERNAL_ERROR = 70
"""EX_SOFTWARE of sysexits.h."""


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


def report(message: str, hint: str | None = None) -> None:
    """Print an error the way all of them look."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan')} {hint}", err=True)


def _os_error(error: OSError) -> None:
    where = f": {os.fsdecode(error.filename)}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        report(
            f"no space left on the device{where}",
            "free some space: `balenawasm image ls` shows images, `balenawasm image rm` removes",
        )
    else:
        report(f"{error.strerror or error}{where}")


def run_verb(arguments: list[str]) -> int:
    """Run one command line; returns the exit status and has printed whatever went wrong."""
    try:
        status = cli.main(args=arguments, prog_name="balenawasm", standalone_mode=False)
    except BalenaWasmError as error:
        report(error.message, error.hint)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as error:
        _os_error(error)
        return 1
    except Exception as error:
        if os.environ.get("BALENAWASM_DEBUG"):
            traceback.print_exc()
        report(
            f"internal error: {type(error).__name__}: {error}",
            "this is a fault in balenawasm; BALENAWASM_DEBUG=1 shows where",
        )
        return INTERNAL_ERROR
    return status if isinstance(status, int) else 0


def main() -> None:
    """Entry point of the command."""
    sys.exit(run_verb(sys.argv[1:]))
