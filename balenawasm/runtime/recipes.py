"""The recipes of base images as files: where they are, and whether one was looked at as it is now.

Building decides by content whether a recipe's image is out of date. A start cannot afford that, so
it compares names, sizes and times with what they were when building decided last.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.atomicfile import write_atomic

if TYPE_CHECKING:
    from balenawasm.digest import Digest

NAMESPACE = "balenaos/"
"""The names of base images start so."""
ARTIFACT_SOURCES = ("busybox-wasm", "compiler", "libc")
"""What recipes copy from (`COPY --from=artifact:`) is made from these, and the toolchain's code."""


def default_recipes() -> Path | None:
    """Return the recipes' folder: inside the installed package, or at the checkout's top."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "recipes", package.parent / "images"):
        if folder.is_dir():
            return folder
    return None


def artifact_sources(recipes: Path) -> list[Path]:
    """Return the folders of our own sources of artifacts, beside the recipes; those that exist."""
    return [folder for name in ARTIFACT_SOURCES if (folder := recipes.parent / name).is_dir()]


class CheckedImage:
    """Remembers in one file that building found `image` to be what the recipes say."""

    def __init__(self, build_cache: Path, repository: str, recipes: Path) -> None:
        self._file = build_cache / f"checked-{repository.replace('/', '-')}"
        self._recipes = recipes

    def holds(self, image: Digest) -> bool:
        """Tell whether nothing has changed since :meth:`remember`."""
        try:
            return self._file.read_bytes() == self._state(image)
        except OSError:
            return False

    def remember(self, image: Digest) -> None:
        """Building has just found or made `image`."""
        write_atomic(self._file, self._state(image), durable=False)

    def _state(self, image: Digest) -> bytes:
        lines = [image.encode()]
        folders = [os.fsencode(it) for it in (self._recipes, *artifact_sources(self._recipes))]
        for folder in folders:
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if entry.name == b"__pycache__":
                        continue
                    status = entry.stat(follow_symlinks=False)
                    lines.append(b"%s %d %d" % (entry.path, status.st_size, status.st_mtime_ns))
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        return b"\n".join(lines)
