"""Layer images as files, opened for reading; `layer.image_writer` writes and checks them.

A layer is an ext4 image that holds the difference to the layers below; docs/formats/layer.md is its
description. Nothing here knows where layers are kept or what they are called: the store does.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Self

from balenawasm.disk.ext4.errors import CorruptImageError
from balenawasm.disk.ext4.reader import Ext4Image
from balenawasm.errors import BalenaWasmError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


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
