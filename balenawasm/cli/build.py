"""`balenawasm build`: an image from a Balenafile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from balenawasm.balenafile.instructions import NETWORK_MODES
from balenawasm.build.image_build import BuildRequest, Workshop, build_image
from balenawasm.build.workbench import RunSettings
from balenawasm.cli.progress import STYLES, BuildDisplay
from balenawasm.cli.state import open_home, open_store
from balenawasm.cli.value_type import Value
from balenawasm.cli.values import parse_count, parse_size
from balenawasm.errors import UsageError
from balenawasm.oci.reference import parse_reference
from balenawasm.runtime.bundle import DEFAULT_LIMITS, Limits
from balenawasm.toolchain.provider import Artifacts

if TYPE_CHECKING:
    from balenawasm.runtime.home import Home


def open_workshop(home: Home) -> Workshop:
    """Where this user's images are built."""
    environment = dict(os.environ)
    artifacts = Artifacts(home, environment)
    return Workshop.in_home(home, open_store(home), environment, artifacts)


def source_date_epoch() -> int | None:
    """$SOURCE_DATE_EPOCH, the convention of reproducible-builds.org, in seconds."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not text.isdecimal():
        raise UsageError(f"SOURCE_DATE_EPOCH is not a number of seconds: {text!r}")
    return int(text)


def build_arguments(pairs: tuple[str, ...]) -> dict[str, str]:
    """`K=V` → its value; `K` alone takes the value from this environment, as docker does."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name:
            raise UsageError(f"not a build argument: {pair!r}", hint="write --build-arg NAME=VALUE")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


@click.command(name="build")
@click.argument("directory", default=".", metavar="[DIR]", type=click.Path(path_type=Path))
@click.option(
    "-f", "--file", "balenafile", metavar="FILE", type=click.Path(path_type=Path),
    help="The Balenafile; else the one in DIR.",
)  # fmt: skip
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME[:TAG]", help="Name the image.")
@click.option(
    "--build-arg", "arguments", multiple=True, metavar="K=V", help="Set an ARG of the Balenafile."
)
@click.option("--target", metavar="STAGE", help="Stop at this stage.")
@click.option("--no-cache", is_flag=True, help="Make every layer anew.")
@click.option(
    "--network", type=click.Choice(NETWORK_MODES), default="default",
    help="What RUN may reach: default (nothing outside), host (all that this machine can), none.",
)  # fmt: skip
@click.option(
    "--allow", multiple=True, metavar="GRANT",
    help='Let RUN reach a host outside: tcp://HOST:PORT, udp://HOST:PORT, or "all".',
)  # fmt: skip
@click.option(
    "-m", "--memory", metavar="SIZE", type=Value("SIZE", parse_size),
    help="The most memory that the processes of a RUN may have together: 64m, 1g.",
)  # fmt: skip
@click.option(
    "--pids-limit", metavar="NUMBER", type=Value("NUMBER", parse_count),
    help="The most processes of a RUN.",
)  # fmt: skip
@click.option(
    "--progress", type=click.Choice(STYLES), default="auto", help="How to show what goes on."
)
def build_command(
    directory: Path,
    balenafile: Path | None,
    tags: tuple[str, ...],
    arguments: tuple[str, ...],
    target: str | None,
    network: str,
    allow: tuple[str, ...],
    memory: int | None,
    pids_limit: int | None,
    progress: str,
    *,
    no_cache: bool,
) -> None:
    """Build an image from the Balenafile in DIR (default: here); prints the image's digest.

    \b
    Examples:
      balenawasm build -t acme/web:1.0 ./web
      balenawasm build --target tests --build-arg VERSION=3 .
      SOURCE_DATE_EPOCH=0 balenawasm build --no-cache -t acme/web .
    """
    references = [parse_reference(tag) for tag in tags]
    home = open_home()
    workshop = open_workshop(home)
    request = BuildRequest(
        context=directory,
        balenafile=balenafile,
        reference=references[0] if references else None,
        build_args=build_arguments(arguments),
        target=target,
        no_cache=no_cache,
        source_date_epoch=source_date_epoch(),
        run_settings=RunSettings(
            network=network,
            allow=allow,
            limits=Limits(memory=memory, processes=pids_limit or DEFAULT_LIMITS.processes),
        ),
    )
    with BuildDisplay(progress) as display:
        image = build_image(request, workshop, display)
    for reference in references[1:]:
        workshop.store.images.tag(image, reference)
    if progress != "json":
        click.echo(image.digest)
