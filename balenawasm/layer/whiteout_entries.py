"""The entries that hide names in a layer image; their form is `layer.whiteout`'s.

Apart from it because every start of a container imports that, and only writers need entries.
"""

from __future__ import annotations

import stat
from dataclasses import replace

from balenawasm.disk.entry import Entry
from balenawasm.layer.whiteout import OPAQUE_VALUE, OPAQUE_XATTR, WHITEOUT_RDEV


def whiteout_entry(path: bytes) -> Entry:
    """Return the entry that removes `path`; it has no attributes, so that it is always the same."""
    return Entry(path=path, mode=stat.S_IFCHR, rdev=WHITEOUT_RDEV)


def opaque_entry(directory: Entry) -> Entry:
    """Return the same directory, made opaque."""
    return replace(directory, xattrs={**directory.xattrs, OPAQUE_XATTR: OPAQUE_VALUE})
