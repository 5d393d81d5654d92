"""The store: an OCI image layout with locks and garbage collection (docs/formats/store.md).

Lock order: `lock`, then `index.lock`. Never call :meth:`Store.collect_garbage` inside
:meth:`Store.writing`: it waits for every shared holder, itself included.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from balenawasm.atomicfile import TEMPORARY_PREFIX, file_lock, fsync_directory, write_atomic
from balenawasm.errors import BalenaWasmError
from balenawasm.oci.layoutdir import (
    BLOBS_FOLDER,
    INDEX_FILE,
    LAYOUT_FILE,
    Index,
    check_layout,
    layout_json,
)
from balenawasm.oci.manifest import Manifest
from balenawasm.oci.mediatypes import IMAGE_INDEX
from balenawasm.record import NamedTuple
from balenawasm.store.blobs import Blobs
from balenawasm.store.errors import StoreError, from_oserror
from balenawasm.store.images import Images

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from balenawasm.digest import Digest

_MAXIMUM_INDEX_DEPTH = 4


class Collected(NamedTuple):
    """What a garbage collection deleted; `size` in bytes counts unfinished files too."""

    blobs: int
    size: int


class Store:
    """Images and their blobs in one directory. Cheap to make; :meth:`open` before use."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = root / "lock"
        self.blobs = Blobs(root / BLOBS_FOLDER, self._lock)
        self.images = Images(
            self.blobs, index=root / INDEX_FILE, index_lock=root / "index.lock", lock=self._lock
        )

    def open(self) -> Self:
        """Create the layout where there is none and check the version of one that is there.

        Raises StoreError, UnknownLayoutError or InvalidDocumentError.
        """
        layout = self.root / LAYOUT_FILE
        try:
            if not layout.exists():
                self._create(layout)
            data = layout.read_bytes()
        except OSError as error:
            raise from_oserror(error, self.root, "open the store in") from error
        check_layout(data, str(layout))
        return self

    def _create(self, layout: Path) -> None:
        (self.root / BLOBS_FOLDER).mkdir(parents=True, exist_ok=True)
        with file_lock(self._lock):
            index = self.root / INDEX_FILE
            if not index.exists():
                write_atomic(index, Index().to_json())
            # Last, because its presence says that the rest is there.
            if not layout.exists():
                write_atomic(layout, layout_json())
        for folder in (self.root.parent, self.root, self.root / "blobs"):
            fsync_directory(folder)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keep garbage collection away while blobs are written that nothing names yet."""
        with file_lock(self._lock, shared=True):
            yield

    def sweep_unfinished(self) -> int:
        """Delete what crashed writers left, unless somebody writes now; returns the bytes freed."""
        with contextlib.suppress(BlockingIOError), file_lock(self._lock, wait=False):
            return self._sweep()
        return 0

    def collect_garbage(self, keep: Collection[Digest] = ()) -> Collected:
        """Delete blobs that neither the index nor the manifests in `keep` lead to.

        Waits until nobody writes. A named manifest that cannot be read stops it before anything
        is deleted (StoreError); one in `keep` that is gone already is passed over.
        """
        with file_lock(self._lock):
            live = self._reachable(self.images.index(), 0)
            for digest in keep:
                if self.blobs.has(digest):
                    live |= self._of_manifest(digest)
            freed, count = self._sweep(), 0
            for digest in self.blobs.list():
                if digest not in live:
                    freed += self.blobs.remove(digest)
                    count += 1
            return Collected(count, freed)

    def _sweep(self) -> int:
        freed = 0
        for folder in (self.root, self.root / BLOBS_FOLDER):
            for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
                freed += path.stat().st_size
                path.unlink()
        return freed

    def _reachable(self, index: Index, depth: int) -> set[Digest]:
        if depth > _MAXIMUM_INDEX_DEPTH:
            raise StoreError("image indexes in the store are nested too deeply")
        live: set[Digest] = set()
        for entry in index.manifests:
            if entry.media_type == IMAGE_INDEX:
                nested = Index.from_json(self.blobs.read(entry.digest), f"index {entry.digest}")
                live |= {entry.digest} | self._reachable(nested, depth + 1)
            else:
                live |= self._of_manifest(entry.digest)
        return live

    def _of_manifest(self, digest: Digest) -> set[Digest]:
        try:
            manifest = Manifest.from_json(self.blobs.read(digest), f"manifest {digest}")
        except BalenaWasmError as error:
            raise StoreError(
                f"nothing was deleted, because an image's layers are unknown: {error.message}",
                hint=f"remove that image first: `balenawasm image rm NAME@{digest}`",
            ) from error
        return {digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}
