"""Layer images as files: write one, open one for reading, check one.

A layer is an ext4 image that holds the difference to the layers below; docs/formats/layer.md is its
description. Nothing here knows where layers are kept or what they are called: the store does.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Final, Self

from balenawasm.disk.ext4.check import Contents, check_image
from balenawasm.disk.ext4.errors import CorruptImageError
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.disk.ext4.writer import write_image
from balenawasm.errors import BalenaWasmError
from balenawasm.layer.tree import with_parents

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from balenawasm.digest import Writable
    from balenawasm.disk.entry import Entry

LABEL: Final = b"balenawasm-layer"


class LayerError(BalenaWasmError):
    """A layer's file cannot be opened, or is not a sound layer image."""


class LayerImage:
    """An open layer: `image` reads it through `mmap`, which stays valid until `close`.

    A context manager. Whoever keeps slices of the mmap need not close: the mapping ends with the
    last of them.
    """

    def __init__(self, path: Path, mapping: mmap.mmap, image: Ext4Image) -> None:
        self.path = path
        self.mmap = mapping
        self.image = image

    def close(self) -> None:
        """Unmap the file; BufferError when memoryviews of it are still held."""
        self.mmap.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def write_layer(entries: Iterable[Entry], out: Writable) -> None:
    """Write a layer of these entries, in any order; missing parents get the plainest attributes.

    Raises what `disk.ext4.writer.write_image` raises.
    """
    write_image(with_parents(entries), out, label=LABEL)


def open_layer(path: Path) -> LayerImage:
    """Map a layer's file for reading; LayerError when it is missing, empty or no ext4 image."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LayerError(f"cannot open the layer {path}: {error.strerror}") from error
    try:
        mapping = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: the file is empty
        raise LayerError(f"cannot map the layer {path}: {error}") from error
    finally:
        os.close(fd)
    try:
        return LayerImage(path, mapping, Ext4Image(mapping))
    except CorruptImageError as error:
        mapping.close()
        raise LayerError(f"{path}: {error.message}", hint=error.hint) from error


def check_layer(path: Path) -> Contents:
    """Read all of a layer but files' content; LayerError names the first fault and its place."""
    with open_layer(path) as layer:
        try:
            return check_image(layer.image)
        except CorruptImageError as error:
            raise LayerError(f"{path}: {error.message}", hint=error.hint) from error
