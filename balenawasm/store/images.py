"""Named images: what `index.json` lists, and how a name comes to mean a manifest.

Locks: changing the index takes `lock` shared (so that no collection runs meanwhile), then
`index.lock`. Readers take none: the index is replaced as a whole and blobs do not change.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from balenawasm.atomicfile import file_lock, write_atomic
from balenawasm.oci.config import ImageConfig
from balenawasm.oci.document import InvalidDocumentError
from balenawasm.oci.layoutdir import Index, ref_name
from balenawasm.oci.manifest import Manifest
from balenawasm.oci.mediatypes import IMAGE_CONFIG, IMAGE_INDEX, IMAGE_MANIFEST
from balenawasm.oci.reference import InvalidReferenceError, Reference, parse_reference
from balenawasm.record import NamedTuple
from balenawasm.store.errors import (
    CorruptBlobError,
    DamagedImageError,
    ImageNotFoundError,
    MissingBlobError,
    StoreError,
    from_oserror,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from balenawasm.digest import Digest
    from balenawasm.oci.descriptor import Descriptor
    from balenawasm.store.blobs import Blobs


_NAMELESS = "nameless"


class Image(NamedTuple):
    """An image in the store. `layer_paths` are the host files of its layers, lowest first."""

    reference: Reference | None
    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig
    layer_paths: tuple[Path, ...]

    @property
    def digest(self) -> Digest:
        """The digest of the manifest: it identifies the image."""
        return self.descriptor.digest

    @property
    def size(self) -> int:
        """The bytes of all layers together."""
        return sum(layer.size for layer in self.manifest.layers)


class Images:
    """The images of one store."""

    def __init__(self, blobs: Blobs, *, index: Path, index_lock: Path, lock: Path) -> None:
        self._blobs = blobs
        self._index_path = index
        self._index_lock = index_lock
        self._lock = lock

    def get(self, reference: Reference) -> Image:
        """Return the image; with a digest in the reference that decides and the name is ignored.

        Raises ImageNotFoundError, DamagedImageError.
        """
        found = self._find(self.index(), reference)
        if found is None:
            raise self._not_found(reference)
        return self._load(found, reference)

    def put(
        self, reference: Reference | None, config: ImageConfig, layers: Sequence[Descriptor]
    ) -> Image:
        """Write configuration and manifest, then make `reference` mean them; durable on return.

        `config.diff_ids` is set from the layers, which are stored uncompressed. Without a reference
        the image is listed nameless. Raises MissingBlobError when a layer is not in the store.
        """
        config = config._replace(diff_ids=tuple(layer.digest for layer in layers))
        with file_lock(self._lock, shared=True):
            self._check_present(layers)
            manifest = Manifest(self._blobs.add(config.to_json(), IMAGE_CONFIG), tuple(layers))
            descriptor = self._blobs.add(manifest.to_json(), IMAGE_MANIFEST)
            self._name(reference, descriptor)
        return self._image(reference, descriptor, manifest, config)

    def tag(self, image: Image, reference: Reference) -> Image:
        """Make another name mean an image of this store; durable on return."""
        with file_lock(self._lock, shared=True):
            self._check_present([image.descriptor])
            self._name(reference, image.descriptor)
        return image._replace(reference=reference)

    def references(self) -> list[Reference]:
        """Name every image, also a damaged one: what `get` takes, sorted by name.

        A nameless image is `nameless@DIGEST`.
        """
        return [
            _reference_of(entry) or Reference(None, _NAMELESS, None, entry.digest)
            for entry in self.index().manifests
            if entry.media_type != IMAGE_INDEX
        ]

    def list(self) -> list[Image]:
        """Return every image, sorted by name; an entry of another kind is left out.

        Raises DamagedImageError.
        """
        found: list[Image] = []
        for entry in self.index().manifests:
            if entry.media_type != IMAGE_INDEX:
                found.append(self._load(entry, _reference_of(entry)))
        return found

    def remove(self, reference: Reference) -> None:
        """Take a name (or, with a digest, one image's entries) out of the index.

        The blobs stay until `Store.collect_garbage`. Raises ImageNotFoundError.
        """
        with file_lock(self._lock, shared=True), file_lock(self._index_lock):
            index = self.index()
            found = self._find(index, reference)
            if found is None:
                raise self._not_found(reference)
            if reference.digest is None:
                self._replace_index(index.without(found))
                return
            kept = tuple(item for item in index.manifests if item.digest != reference.digest)
            self._replace_index(Index(kept))

    def verify(self, image: Image) -> None:
        """Read all of an image's blobs; raises MissingBlobError or CorruptBlobError."""
        manifest = image.manifest
        for descriptor in (image.descriptor, manifest.config, *manifest.layers):
            self._blobs.verify(descriptor.digest)
            if self._blobs.size(descriptor.digest) != descriptor.size:
                raise CorruptBlobError(
                    f"blob {descriptor.digest} has another size than its descriptor says"
                )
        if len(image.config.diff_ids) != len(manifest.layers):
            raise CorruptBlobError(
                f"manifest {image.digest} has {len(manifest.layers)} layers, "
                f"its configuration names {len(image.config.diff_ids)}"
            )

    def index(self) -> Index:
        """Return the index as it is now; raises StoreError or InvalidDocumentError."""
        try:
            data = self._index_path.read_bytes()
        except OSError as error:
            raise from_oserror(error, self._index_path, "read") from error
        return Index.from_json(data, str(self._index_path))

    def _name(self, reference: Reference | None, descriptor: Descriptor) -> None:
        name = None if reference is None else str(reference._replace(digest=None))
        self._change(lambda index: index.with_image(name, descriptor))

    def _change(self, change: Callable[[Index], Index]) -> None:
        with file_lock(self._index_lock):
            before = self.index()
            after = change(before)
            if after != before:
                self._replace_index(after)

    def _replace_index(self, index: Index) -> None:
        try:
            write_atomic(self._index_path, index.to_json())
        except OSError as error:
            raise from_oserror(error, self._index_path, "write") from error

    def _find(self, index: Index, reference: Reference) -> Descriptor | None:
        if reference.digest is None:
            return index.find(str(reference))
        matching = [item for item in index.manifests if item.digest == reference.digest]
        return next(iter(matching), None)

    def _load(self, entry: Descriptor, reference: Reference | None) -> Image:
        try:
            data = self._blobs.read(entry.digest)
            manifest = Manifest.from_json(data, f"manifest {entry.digest}")
            data = self._blobs.read(manifest.config.digest)
            config = ImageConfig.from_json(data, f"configuration {manifest.config.digest}")
        except (StoreError, InvalidDocumentError) as error:
            name = ref_name(entry) or f"{_NAMELESS}@{entry.digest}"
            raise DamagedImageError(
                f"the image {name} is damaged: {error.message}",
                hint=f"`balenawasm image rm {name}`, then build or load it again",
            ) from error
        return self._image(reference, entry, manifest, config)

    def _image(
        self,
        reference: Reference | None,
        descriptor: Descriptor,
        manifest: Manifest,
        config: ImageConfig,
    ) -> Image:
        return Image(
            reference=reference,
            descriptor=descriptor._replace(annotations={}),
            manifest=manifest,
            config=config,
            layer_paths=tuple(self._blobs.path(layer.digest) for layer in manifest.layers),
        )

    def _check_present(self, descriptors: Sequence[Descriptor]) -> None:
        for descriptor in descriptors:
            if not self._blobs.has(descriptor.digest):
                raise MissingBlobError(f"blob {descriptor.digest} is not in the store")

    def _not_found(self, reference: Reference) -> ImageNotFoundError:
        import difflib  # noqa: PLC0415 - 1.5 ms that only a wrong name is worth

        known = (_reference_of(item) for item in self.index().manifests)
        # Without tags: what is alike in ":latest" is no likeness.
        names = {it.name: str(it) for it in known if it is not None}
        near = difflib.get_close_matches(reference.name, names, n=3, cutoff=0.6)
        hint = (
            f"there is {', '.join(names[name] for name in near)}"
            if near
            else "`balenawasm image ls` lists the images"
        )
        return ImageNotFoundError(f"no image {str(reference)!r} in the store", hint=hint)


def _reference_of(entry: Descriptor) -> Reference | None:
    """Return an index entry's name; None for one without, or with one we would not have written."""
    name = ref_name(entry)
    with contextlib.suppress(InvalidReferenceError):
        return parse_reference(name) if name else None
    return None
