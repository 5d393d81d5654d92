"""`balenawasm run`: one program in a new container, in the foreground.

This verb's imports are part of every start: what only a build needs is imported when one happens.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from balenawasm.cli.parameters import PORT, SIZE, VOLUME, variable
from balenawasm.cli.state import open_home, open_store
from balenawasm.errors import BalenaWasmError, UsageError
from balenawasm.oci.reference import parse_reference
from balenawasm.runtime.bundle import Layer, Mount, MountKind
from balenawasm.runtime.foreground import RunSpec, run_foreground
from balenawasm.store.errors import ImageNotFoundError

if TYPE_CHECKING:
    from balenawasm.runtime.home import Home
    from balenawasm.runtime.ports import PublishedPort
    from balenawasm.store.images import Image


class NoCommandError(BalenaWasmError):
    """Neither the image nor the command line says what to run."""


@click.command(
    name="run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.option(
    "-e", "--env", "variables", multiple=True, metavar="K=V",
    help="Set a variable; K alone takes this environment's value.",
)  # fmt: skip
@click.option(
    "-v", "--volume", "volumes", multiple=True, type=VOLUME,
    help="Mount a directory, file or named volume; DIR:/ is a wasm file's root.",
)  # fmt: skip
@click.option(
    "-p", "--publish", "ports", multiple=True, type=PORT, help="Publish a port of the container."
)
@click.option("-w", "--workdir", metavar="DIR", help="The working directory.")
@click.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="Give the program this terminal.")
@click.option("--memory", type=SIZE, help="The most memory a process may have: 64m, 1g.")
@click.option("--entrypoint", metavar="CMD", help="Run CMD instead of the image's entry point.")
@click.argument("image", metavar="IMAGE|FILE.wasm")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARG…]")
def run_command(
    image: str,
    arguments: tuple[str, ...],
    variables: tuple[str, ...],
    volumes: tuple[tuple[str, str, bool], ...],
    ports: tuple[PublishedPort, ...],
    workdir: str | None,
    memory: int | None,
    entrypoint: str | None,
    *,
    interactive: bool,
    tty: bool,
) -> int:
    """Run a program in a new container, then remove that; the exit status is the program's.

    IMAGE is built first if it is one of ours (balenaos/…) and missing. FILE.wasm is any WASI
    preview 1 module.

    \b
    Examples:
      balenawasm run balenaos/python python -c "print(6 * 7)"
      balenawasm run -p 8080:80 -v ./site:/srv:ro -w /srv balenaos/python python -m http.server 80
      balenawasm run -v .:/ -e LANG=C tool.wasm --verbose input.txt
    """
    if tty and not sys.stdin.isatty():
        raise UsageError("-t needs a terminal as standard input", hint="leave -t out")
    home = open_home()
    mounts = tuple(_mount(home, *volume) for volume in volumes)
    common = {
        "mounts": mounts,
        "ports": ports,
        "stdin": interactive or tty,
        "tty": tty,
        "memory": memory,
    }
    given = tuple(os.fsencode(variable(text)) for text in variables)
    program = _program(image)
    words = (entrypoint, *arguments) if entrypoint else arguments
    if program is not None:
        if entrypoint:
            raise UsageError("--entrypoint goes with an image, not with a wasm file")
        spec = RunSpec(
            program=program,
            argv=(os.fsencode(program.name), *map(os.fsencode, arguments)),
            env=given,
            cwd=os.fsencode(workdir or "/"),
            **common,  # type: ignore[arg-type]
        )
    else:
        found = find_image(home, image)
        config = found.config
        command = words if entrypoint else (*config.entrypoint, *(arguments or config.cmd))
        if not command:
            raise NoCommandError(
                f"image {image} does not say what to run", hint=f"balenawasm run {image} CMD …"
            )
        spec = RunSpec(
            layers=layers_of(found),
            argv=tuple(map(os.fsencode, command)),
            env=(*map(os.fsencode, config.env), *given),
            cwd=os.fsencode(workdir or config.working_dir or "/"),
            **common,  # type: ignore[arg-type]
        )
    return run_foreground(home, spec, progress=_show, notice=_show)


def _show(line: str) -> None:
    click.echo(f"balenawasm: {line}", err=True)


def _program(text: str) -> Path | None:
    """The wasm file that IMAGE names, or None when it is an image's name."""
    path = Path(text)
    is_path = text.startswith(("/", "./", "../")) or path.suffix in (".wasm", ".wat")
    if is_path and not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise UsageError(f"the program {text} {what}")
    return path if is_path else None


def find_image(home: Home, name: str) -> Image:
    """An image from the store; a base image of ours is built when it is missing."""
    reference = parse_reference(name)
    try:
        return open_store(home).images.get(reference)
    except ImageNotFoundError:
        from balenawasm.cli.images import base_image

        return base_image(home, name)


def layers_of(image: Image) -> tuple[Layer, ...]:
    """An image's layers as a bundle names them, lowest first."""
    return tuple(
        Layer(path=str(path), digest=descriptor.digest)
        for path, descriptor in zip(image.layer_paths, image.manifest.layers, strict=True)
    )


def _mount(home: Home, source: str, target: str, read_only: bool) -> Mount:
    """A bind when the source is a path, else a named volume, made when it is missing."""
    where = os.fsencode(target)
    if source.startswith(("/", "./", "../", "~")) or source in (".", ".."):
        path = Path(source).expanduser().absolute()
        if not path.exists():
            raise UsageError(f"cannot mount {source}: it does not exist")
        return Mount(kind=MountKind.BIND, source=str(path), target=where, read_only=read_only)
    path = home.volume(source)
    path.mkdir(mode=0o700, exist_ok=True)
    return Mount(kind=MountKind.VOLUME, source=str(path), target=where, read_only=read_only)
