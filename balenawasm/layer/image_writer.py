"""Layer images as files: write one, check one.

Apart from `layer.image_layer`, because every start of a container imports that.

docs/formats/layer.md describes the format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from balenawasm.disk.ext4.check import Contents, check_image
from balenawasm.disk.ext4.errors import CorruptImageError
from balenawasm.disk.ext4.writer import write_image
from balenawasm.layer.image_layer import LayerError, open_layer
from balenawasm.layer.tree import with_parents

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from balenawasm.digest import Writable
    from balenawasm.disk.entry import Entry

LABEL: Final = b"balenawasm-layer"


def write_layer(entries: Iterable[Entry], out: Writable) -> None:
    """Write a layer of these entries, in any order; missing parents get the plainest attributes.

    Raises what `disk.ext4.writer.write_image` raises.
    """
    write_image(with_parents(entries), out, label=LABEL)


def check_layer(path: Path) -> Contents:
    """Read all of a layer but files' content; LayerError names the first fault and its place."""
    with open_layer(path) as layer:
        try:
            return check_image(layer.image)
        except CorruptImageError as error:
            raise LayerError(f"{path}: {error.message}", hint=error.hint) from error
