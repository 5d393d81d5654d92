"""The layers of an overlay, seen from above: what a layer's node means for those below it.

Whiteouts and opaque directories are in the form of Linux's overlayfs (`layer.whiteout`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.layer.whiteout import OPAQUE_VALUE, OPAQUE_XATTR, WHITEOUT_RDEV
from balenawasm.vfs.mounts import NOBODY
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from balenawasm.vfs.node import Node


def child_of(lower: Node, name: bytes) -> Node | None:
    """The entry of a layer's directory, or None."""
    try:
        return lower.lookup(NOBODY, name)
    except GuestError as error:
        if error.errno is Errno.ENOENT:
            return None
        raise


def is_whiteout_node(node: Node) -> bool:
    """Tell whether a layer's node says that the name is gone."""
    return node.filetype is Filetype.CHARACTER_DEVICE and node.stat().rdev == WHITEOUT_RDEV


def showing(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Return the directories at the top of `nodes`, up to the first opaque one or the first that is
    no directory.
    """
    found: list[Node] = []
    for node in nodes:
        if node.filetype is not Filetype.DIRECTORY:
            break
        found.append(node)
        if node.xattr(OPAQUE_XATTR) == OPAQUE_VALUE:
            break
    return tuple(found)


def shown_by(lowers: Iterable[Node], name: bytes) -> Node | None:
    """What the layers' directories, top first, show under a name; None also for a whiteout."""
    for lower in lowers:
        node = child_of(lower, name)
        if node is not None:
            return None if is_whiteout_node(node) else node
    return None
