"""Errors of the store, and the translation of the host's errors into them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from balenawasm.errors import BalenaWasmError

if TYPE_CHECKING:
    from pathlib import Path


class StoreError(BalenaWasmError):
    """The store cannot be read or written."""


class StoreFullError(StoreError):
    """The file system of the store has no space, inodes or quota left; nothing was changed."""


class MissingBlobError(StoreError):
    """A blob that a document refers to is not in the store."""


class CorruptBlobError(StoreError):
    """A blob's content is not what its digest says."""


class DamagedImageError(StoreError):
    """An image's manifest or configuration is missing, corrupt or malformed."""


class ImageNotFoundError(StoreError):
    """No image of that name or digest is in the store."""


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def from_oserror(error: OSError, path: Path, doing: str) -> StoreError:
    """Return the StoreError for a host error met while `doing` ("write", "read") at `path`."""
    if error.errno in _FULL:
        return StoreFullError(
            f"no space left to {doing} {path}",
            hint=f"free space on the file system of {path}, for instance with "
            "`balenawasm image rm NAME`; nothing was changed",
        )
    return StoreError(f"cannot {doing} {path}: {error.strerror or error}")
