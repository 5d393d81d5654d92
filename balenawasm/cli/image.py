"""`balenawasm image`: list, inspect, remove and verify what the store holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from balenawasm.cli.output import print_json, print_table, size_text
from balenawasm.cli.state import open_home, open_store
from balenawasm.digest import parse_digest
from balenawasm.errors import BalenaWasmError
from balenawasm.layer.image_writer import check_layer
from balenawasm.oci.reference import parse_reference
from balenawasm.store.errors import DamagedImageError, ImageNotFoundError
from balenawasm.supervisor.record import ProjectFiles

if TYPE_CHECKING:
    from balenawasm.digest import Digest
    from balenawasm.oci.reference import Reference
    from balenawasm.runtime.home import Home
    from balenawasm.store.images import Image
    from balenawasm.store.store import Store


class DamagedImagesError(BalenaWasmError):
    """At least one image did not pass `image verify`."""


@click.group(name="image")
def image_command() -> None:
    """List, inspect, remove and verify images."""


@image_command.command(name="ls")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_images(*, as_json: bool) -> None:
    """List images.

    \b
    Examples:
      balenawasm image ls
      balenawasm image ls --json | jq '.[].digest'
    """
    store = open_store(open_home())
    listed = [(it, *_load(store, it)) for it in store.images.references()]
    if as_json:
        print_json([_entry(*it) for it in listed])
        return
    rows = [_row(reference, image) for reference, image, _ in listed]
    print_table(("REPOSITORY", "TAG", "IMAGE ID", "LAYERS", "SIZE"), rows)


def _load(store: Store, reference: Reference) -> tuple[Image | None, str | None]:
    """An image, or what is wrong with it."""
    try:
        return store.images.get(reference), None
    except DamagedImageError as error:
        return None, error.message


def _entry(reference: Reference, image: Image | None, error: str | None) -> dict[str, object]:
    name = None if reference.digest else str(reference)
    if image is None:
        return {"name": name, "digest": reference.digest, "error": error}
    return {
        "name": name,
        "digest": image.digest,
        "layers": len(image.manifest.layers),
        "size": image.size,
    }


def _row(reference: Reference, image: Image | None) -> tuple[str, ...]:
    nameless = reference.digest is not None
    repository = "<none>" if nameless else reference.name
    tag = reference.tag or "<none>"
    if image is None:
        return repository, tag, reference.digest[7:19] if reference.digest else "damaged", "-", "-"
    layers = str(len(image.layer_paths))
    return repository, tag, image.digest[7:19], layers, size_text(image.size)


@image_command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
def inspect(names: tuple[str, ...]) -> None:
    """Print everything known of images, as JSON.

    \b
    Example:
      balenawasm image inspect balenaos/python
    """
    images = open_store(open_home()).images
    print_json([_description(images.get(parse_reference(name))) for name in names])


def _description(image: Image) -> dict[str, object]:
    layers = zip(image.manifest.layers, image.layer_paths, strict=True)
    return {
        "name": str(image.reference) if image.reference else None,
        "digest": image.digest,
        "size": image.size,
        "config": json.loads(image.config.to_json()),
        "layers": [
            {
                "digest": layer.digest,
                "mediaType": layer.media_type,
                "size": layer.size,
                "path": str(path),
            }
            for layer, path in layers
        ],
    }


@image_command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
def rm(names: tuple[str, ...]) -> None:
    """Remove images and free what nothing else uses.

    What projects use, running or not, is kept until `balenawasm down`.

    \b
    Example:
      balenawasm image rm acme/web:1.0
    """
    home = open_home()
    store = open_store(home)
    used = _used_by_projects(home)
    for name in names:
        reference = parse_reference(name)
        store.images.remove(reference)
        click.echo(f"removed {reference}")
    freed = store.collect_garbage(keep=used)
    click.echo(f"freed {size_text(freed.size)}")


def _used_by_projects(home: Home) -> set[Digest]:
    """The manifests of images that projects' services are made from, running or not."""
    used: set[Digest] = set()
    for directory in home.projects.iterdir():
        target, _ = ProjectFiles(home, directory.name).load()
        if target is not None:
            used |= {parse_digest(service.image_digest) for service in target.services}
    return used


@image_command.command()
@click.argument("names", nargs=-1, metavar="[NAME…]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(names: tuple[str, ...], *, as_json: bool) -> None:
    """Read every blob of images (all of them without NAME) and check digests and layers' structure.

    \b
    Examples:
      balenawasm image verify
      balenawasm image verify balenaos/python
    """
    store = open_store(open_home())
    references = [parse_reference(name) for name in names] or store.images.references()
    report = [{"name": str(it), "error": _fault(store, it)} for it in references]
    if as_json:
        print_json(report)
    else:
        for line in report:
            click.echo(f"{line['name']}: {line['error'] or 'ok'}")
    damaged = [line["name"] for line in report if line["error"]]
    if damaged:
        raise DamagedImagesError(
            f"{len(damaged)} of {len(report)} images are damaged: {', '.join(map(str, damaged))}",
            hint="remove them with `balenawasm image rm` and build them again with --no-cache",
        )


def _fault(store: Store, reference: Reference) -> str | None:
    try:
        image = store.images.get(reference)
        store.images.verify(image)
        for path in image.layer_paths:
            check_layer(path)
    except ImageNotFoundError:
        raise
    except BalenaWasmError as error:
        return error.message
    return None
