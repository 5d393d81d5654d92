"""Content-addressed, write-once blobs: `blobs/sha256/<hex>` (docs/formats/store.md).

Invariants: a file under its digest's name is complete and durable; it is never opened for writing.
Locks: a writer holds the store's lock shared; see `balenawasm.store.store`.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from balenawasm.atomicfile import PendingFile, file_lock
from balenawasm.digest import Digest, HashingWriter, hex_of, parse_digest, sha256, sha256_file
from balenawasm.oci.descriptor import Descriptor
from balenawasm.oci.document import MAXIMUM_SIZE
from balenawasm.store.errors import CorruptBlobError, MissingBlobError, StoreError, from_oserror

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOB_MODE = 0o444


class BlobWriter:
    """A blob being written; `digest` and `size` are final once the `with` block has ended."""

    def __init__(self, pending: PendingFile, folder: Path) -> None:
        self._pending = pending
        self._folder = folder
        self._out = HashingWriter(pending.file)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append all of `data`; returns its length. StoreError, StoreFullError on a full disk."""
        try:
            return self._out.write(data)
        except OSError as error:
            raise from_oserror(error, self._folder, "write") from error

    @property
    def digest(self) -> Digest:
        """The digest of what was written so far."""
        return self._out.digest

    @property
    def size(self) -> int:
        """The number of bytes written so far."""
        return self._out.size

    def descriptor(self, media_type: str) -> Descriptor:
        """Return the descriptor of what was written."""
        return Descriptor(media_type, self.digest, self.size)

    def finish(self) -> None:
        """Make the blob durable under its digest; called by `Blobs.ingest` at the block's end."""
        try:
            # A blob that is there already is replaced by the same bytes, which mends a damaged one;
            # whoever has mapped the old file keeps it.
            self._pending.commit(self._folder / hex_of(self.digest))
        except OSError as error:
            raise from_oserror(error, self._folder, "write") from error


class Blobs:
    """The blobs of one store."""

    def __init__(self, folder: Path, lock: Path) -> None:
        self._folder = folder
        self._lock = lock

    @contextlib.contextmanager
    def ingest(self) -> Iterator[BlobWriter]:
        """Write a blob: the block writes, the end of the block makes it durable under its digest.

        An exception in the block leaves nothing behind. Raises StoreError. A caller that writes
        several blobs before naming them holds `Store.writing()` around all of it.
        """
        with file_lock(self._lock, shared=True):
            try:
                pending = PendingFile(self._folder, _BLOB_MODE)
            except OSError as error:
                raise from_oserror(error, self._folder, "write") from error
            try:
                writer = BlobWriter(pending, self._folder)
                yield writer
                writer.finish()
            finally:
                pending.discard()

    def add(self, data: bytes, media_type: str) -> Descriptor:
        """Write a small blob; returns its descriptor. Raises StoreError."""
        digest = sha256(data)
        if not _holds(self.path(digest), data):
            with self.ingest() as blob:
                blob.write(data)
        return Descriptor(media_type, digest, len(data))

    def path(self, digest: Digest) -> Path:
        """Return where the blob is or would be. The file is read-only; map it, never write it."""
        return self._folder / hex_of(digest)

    def has(self, digest: Digest) -> bool:
        """Return whether the blob is there; its content is not looked at."""
        return self.path(digest).is_file()

    def size(self, digest: Digest) -> int:
        """Return the blob's length in bytes; raises MissingBlobError."""
        try:
            return self.path(digest).stat().st_size
        except OSError as error:
            raise self._unreadable(digest, error) from error

    def read(self, digest: Digest, *, limit: int = MAXIMUM_SIZE) -> bytes:
        """Return a document's bytes, checked against its digest.

        Raises MissingBlobError, CorruptBlobError, or StoreError when it is longer than `limit`.
        """
        try:
            with self.path(digest).open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise self._unreadable(digest, error) from error
        if len(data) > limit:
            raise StoreError(
                f"blob {digest} is larger than {limit} bytes, too large for a document"
            )
        if sha256(data) != digest:
            raise self._corrupt(digest)
        return data

    def verify(self, digest: Digest) -> None:
        """Read all of a blob; raises MissingBlobError or CorruptBlobError."""
        try:
            actual = sha256_file(self.path(digest))
        except OSError as error:
            raise self._unreadable(digest, error) from error
        if actual != digest:
            raise self._corrupt(digest)

    def list(self) -> list[Digest]:
        """Return the digests of all blobs, in no particular order."""
        with os.scandir(self._folder) as entries:
            names = [entry.name for entry in entries]
        return [
            parse_digest(f"sha256:{name}") for name in names if len(name) == 64 and name.isalnum()
        ]

    def remove(self, digest: Digest) -> int:
        """Delete a blob under the exclusive lock; returns the bytes freed, 0 when it was gone."""
        path = self.path(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise from_oserror(error, path, "remove") from error
        return size

    def _unreadable(self, digest: Digest, error: OSError) -> StoreError:
        if isinstance(error, FileNotFoundError):
            return MissingBlobError(
                f"blob {digest} is missing from {self._folder}",
                hint="build or load the image again",
            )
        return from_oserror(error, self.path(digest), "read")

    def _corrupt(self, digest: Digest) -> CorruptBlobError:
        return CorruptBlobError(
            f"{self.path(digest)} is corrupt: its content does not have digest {digest}",
            hint="delete that file, then build or load the image again",
        )


def _holds(path: Path, data: bytes) -> bool:
    """Tell whether a small file is there with this content."""
    try:
        return path.read_bytes() == data
    except OSError:
        return False
