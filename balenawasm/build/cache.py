"""The build cache: from what goes into a layer to the layer.

One small file for each step, `<folder>/<hex of the step's key>`: `{"layer":<descriptor>}`, or
`{"layer":null}` for a step that changed nothing. The key is the digest of the layers below, the
instruction's plain values and the content of its sources; times are not in it. An entry whose blob
is gone is a miss, so the folder and the blobs may be deleted at any time when nothing builds.

Locks: `lock` shared while a build runs, exclusive to sweep unfinished files.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from balenawasm.atomicfile import file_lock, write_atomic
from balenawasm.build.leftovers import sweep
from balenawasm.digest import Digest, hex_of, sha256
from balenawasm.oci.descriptor import Descriptor
from balenawasm.oci.document import InvalidDocumentError, Json, canonical_json, parse_object
from balenawasm.store.errors import from_oserror

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from balenawasm.store.blobs import Blobs

_FORMAT = 1
"""Part of every key; change it when a layer's bytes would come out differently."""


@dataclass(frozen=True, slots=True)
class CachedStep:
    """What a step made: a layer, or None when it changed nothing."""

    layer: Descriptor | None


def step_key(below: tuple[Digest, ...], members: Mapping[str, Json]) -> Digest:
    """Return the key of a step on top of these layers; `members` is all that it depends on."""
    return sha256(canonical_json({"format": _FORMAT, "below": list(below), "step": members}))


class BuildCache:
    """The cache in one folder, for the layers of one store."""

    def __init__(self, folder: Path, blobs: Blobs) -> None:
        self._folder = folder
        self._blobs = blobs

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold the folder's lock while building, after sweeping what killed builds left.

        Raises StoreError when the folder cannot be made.
        """
        lock = self._folder / "lock"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(BlockingIOError), file_lock(lock, wait=False):
                sweep(self._folder)
        except OSError as error:
            raise from_oserror(error, self._folder, "use") from error
        with file_lock(lock, shared=True):
            yield

    def get(self, key: Digest) -> CachedStep | None:
        """Return what a step made before; None when it is not known or its layer is gone."""
        path = self._path(key)
        try:
            fields = parse_object(path.read_bytes(), str(path))
            if not fields.has("layer"):
                return CachedStep(None)
            layer = Descriptor.from_fields(fields.fields("layer"))
        except (OSError, InvalidDocumentError):
            return None
        return CachedStep(layer) if self._blobs.has(layer.digest) else None

    def put(self, key: Digest, layer: Descriptor | None) -> None:
        """Remember what a step made, durably. Raises StoreError."""
        members = None if layer is None else layer.to_members()
        try:
            write_atomic(self._path(key), canonical_json({"layer": members}))
        except OSError as error:
            raise from_oserror(error, self._folder, "write") from error

    def _path(self, key: Digest) -> Path:
        return self._folder / hex_of(key)
