"""How a layer says that a name of the layers below is gone: the one home of these conventions.

There are two forms. Inside a layer image it is the kernel's (its Documentation/filesystems/
overlayfs.rst): a character device 0:0 in place of the name, and the extended attribute
`trusted.overlay.opaque` = `y` on a directory that hides everything below. In a writable upper
directory on the host, where making devices and trusted attributes needs root, it is that of AUFS
and of OCI layer tars (image-spec, layer.md): an empty file `.wh.NAME`, and `.wh..wh..opq` inside an
opaque directory. `layer.changes` turns the second into the first.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

WHITEOUT_PREFIX: Final = b".wh."
OPAQUE_MARKER: Final = b".wh..wh..opq"
RESERVED_PREFIX: Final = b".wh..wh."
"""Names that start so are AUFS's own; they hide nothing."""

WHITEOUT_RDEV: Final = (0, 0)
OPAQUE_XATTR: Final = b"trusted.overlay.opaque"
OPAQUE_VALUE: Final = b"y"


def is_whiteout(mode: int, rdev: tuple[int, int]) -> bool:
    """Tell whether an inode of a layer, given its `st_mode` and device number, is a whiteout."""
    return stat.S_ISCHR(mode) and rdev == WHITEOUT_RDEV


def is_opaque(xattrs: Mapping[bytes, bytes]) -> bool:
    """Tell whether a directory with these attributes hides the directories below it."""
    return xattrs.get(OPAQUE_XATTR) == OPAQUE_VALUE


def marker_name(name: bytes) -> bytes:
    """Return the name of the marker file that removes `name` in an upper directory."""
    return WHITEOUT_PREFIX + name


def hidden_name(marker: bytes) -> bytes | None:
    """Return the name that a file called `marker` removes, or None when it is no marker."""
    if not marker.startswith(WHITEOUT_PREFIX) or marker.startswith(RESERVED_PREFIX):
        return None
    return marker[len(WHITEOUT_PREFIX) :] or None


def is_reserved_name(name: bytes) -> bool:
    """Tell whether an upper directory cannot hold such a file: it would be taken for a marker."""
    return name.startswith(WHITEOUT_PREFIX)
