"""What every instruction that makes a layer does: take it from the build cache, or make it and
remember it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from balenawasm.build.cache import step_key
from balenawasm.build.filetree import SourceError
from balenawasm.disk.ext4.errors import ImageTooLargeError, InvalidEntryError, SourceReadError
from balenawasm.layer.image_writer import write_layer
from balenawasm.oci.mediatypes import LAYER_MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from balenawasm.build.workbench import Workbench
    from balenawasm.disk.entry import Entry
    from balenawasm.oci.descriptor import Descriptor
    from balenawasm.oci.document import Json


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did; `layer` is None when it changed no files."""

    layer: Descriptor | None = None
    cached: bool = False


def layer_step(
    bench: Workbench,
    layers: Sequence[Descriptor],
    members: Mapping[str, Json],
    make: Callable[[], list[Entry] | None],
    check: Callable[[], None] = lambda: None,
) -> StepResult:
    """Take a step's layer from the cache or make it.

    `members` is all that it depends on beside the `layers` below; `make` returns the layer's
    entries, None for no change; `check` raises to have what was made forgotten.
    """
    key = step_key(tuple(layer.digest for layer in layers), members)
    known = bench.cache.get(key) if bench.use_cache else None
    if known is not None:
        return StepResult(known.layer, cached=True)
    if bench.commands_follow:
        # What stands on a new layer is not in the cache either.
        bench.runner.prepare()
    entries = make()
    layer = None if entries is None else _write(bench, entries)
    check()
    bench.cache.put(key, layer)
    return StepResult(layer)


def _write(bench: Workbench, entries: list[Entry]) -> Descriptor:
    try:
        with bench.store.blobs.ingest() as blob:
            write_layer(entries, blob)
    except (SourceReadError, InvalidEntryError, ImageTooLargeError) as error:
        raise SourceError(error.message, hint=error.hint) from error
    return blob.descriptor(LAYER_MEDIA_TYPE)
