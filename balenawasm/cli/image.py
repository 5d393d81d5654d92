"""`balenawasm image`: list, inspect, remove and verify what the store holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from balenawasm.cli.output import print_json, print_table, size_text
from balenawasm.cli.state import open_home, open_store
from balenawasm.errors import BalenaWasmError
from balenawasm.layer.image_writer import check_layer
from balenawasm.oci.reference import Reference, parse_reference

if TYPE_CHECKING:
    from balenawasm.store.images import Image
    from balenawasm.store.store import Store


class DamagedImagesError(BalenaWasmError):
    """At least one image did not pass `image verify`."""


@click.group(name="image")
def image_command() -> None:
    """List, inspect, remove and verify images."""


def _tag(reference: Reference | None) -> tuple[str, str]:
    if reference is None:
        return "<none>", "<none>"
    return reference.name, reference.tag or "<none>"


@image_command.command(name="ls")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_images(*, as_json: bool) -> None:
    """List images.

    \b
    Examples:
      balenawasm image ls
      balenawasm image ls --json | jq '.[].digest'
    """
    images = open_store(open_home()).images.list()
    if as_json:
        print_json(
            [
                {
                    "name": str(image.reference) if image.reference else None,
                    "digest": image.digest,
                    "layers": len(image.manifest.layers),
                    "size": image.size,
                }
                for image in images
            ]
        )
        return
    rows = [
        (
            *_tag(image.reference),
            image.digest[7:19],
            str(len(image.layer_paths)),
            size_text(image.size),
        )
        for image in images
    ]
    print_table(("REPOSITORY", "TAG", "IMAGE ID", "LAYERS", "SIZE"), rows)


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

    Containers that run keep working: what they use is freed when they end.

    \b
    Example:
      balenawasm image rm acme/web:1.0
    """
    store = open_store(open_home())
    for name in names:
        reference = parse_reference(name)
        store.images.remove(reference)
        click.echo(f"removed {reference}")
    freed = store.collect_garbage()
    click.echo(f"freed {size_text(freed.size)}")


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
    references = [parse_reference(name) for name in names]
    images = [store.images.get(it) for it in references] if names else store.images.list()
    report = [
        {"name": str(image.reference or image.digest), "error": _fault(store, image)}
        for image in images
    ]
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


def _fault(store: Store, image: Image) -> str | None:
    try:
        store.images.verify(image)
        for path in image.layer_paths:
            check_layer(path)
    except BalenaWasmError as error:
        return error.message
    return None
