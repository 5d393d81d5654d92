"""`balenawasm run` as click's command: its help, and the command lines that are not plain."""

from __future__ import annotations

from typing import Any

import click

from balenawasm.cli.run_container import run_container
from balenawasm.cli.run_options import OPTIONS, Option, RunOptions
from balenawasm.cli.value_type import Value


def _parameter(option: Option) -> click.Option:
    words = [*option.names, option.field]
    if option.metavar is None:
        return click.Option(words, is_flag=True, help=option.help)
    return click.Option(
        words,
        metavar=option.metavar,
        type=Value(option.metavar, option.convert),
        multiple=option.multiple,
        help=option.help,
    )


@click.command(
    name="run",
    params=[_parameter(option) for option in OPTIONS],
    context_settings={"allow_interspersed_args": False},
)
@click.argument("image", metavar="IMAGE|FILE.wasm")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARG…]")
def run_command(**values: Any) -> int:  # noqa: ANN401 - what RunOptions is made of
    """Run a program in a new container, then remove that; the exit status is the program's.

    IMAGE is built first if it is one of ours (balenaos/…) and missing. FILE.wasm is any WASI
    preview 1 module.

    \b
    Examples:
      balenawasm run balenaos/python python -c "print(6 * 7)"
      balenawasm run -p 8080:80 -v ./site:/srv:ro -w /srv balenaos/python python -m http.server 80
      balenawasm run -v .:/ -e LANG=C tool.wasm --verbose input.txt
    """
    return run_container(RunOptions(**values))
