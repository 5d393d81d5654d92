"""Renaming in an overlay: rename(2) over a tree of which part is in layers that cannot change.

The whiteout for the old name is made before the host's rename and that for the new name is removed
after it: at every moment in between, the tree is what it was before or what it is to be. The
overlay's lock is held.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from balenawasm.vfs.filesystems import upper as upper_files
from balenawasm.vfs.filesystems.copy_up import MAX_BYTES, MAX_ENTRIES
from balenawasm.vfs.filesystems.overlay_file import OverlayFile, note_lost_name
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from balenawasm.vfs.filesystems.overlay import OverlayDirectory


def rename(old: OverlayDirectory, name: bytes, new: OverlayDirectory, new_name: bytes) -> None:
    """Move what `name` shows in `old` to `new_name` in `new`."""
    node = old.find(name)
    if node is None:
        raise GuestError(Errno.ENOENT)
    new.check_new_name(new_name)
    replaced = new.find(new_name)
    if replaced is node:
        return
    _check_replaceable(old, node, new, replaced)
    old.make_upper()
    new.make_upper()
    if isinstance(node, OverlayFile):
        node.copy_up()
    else:
        _copy_up_tree(node)
    displaced = None if isinstance(replaced, OverlayFile) else replaced
    if displaced is not None and displaced.has_markers():
        # The host does not replace a directory with something in it: here it is gone a moment
        # early.
        new.hide_below(new_name)
        new.remove_folder(new_name)
    if isinstance(replaced, OverlayFile) and new_name in new.upper_names().names:
        note_lost_name(new, new_name)
    _move(old, name, new, new_name)
    if isinstance(replaced, OverlayFile):
        replaced.names.remove((new, new_name))
    elif displaced is not None:
        displaced.note_removed()
    del old.children[name]
    new.children[new_name] = node
    if isinstance(node, OverlayFile):
        node.names.remove((old, name))
        node.names.append((new, new_name))
    else:
        node.parent, node.name = new, new_name


def _move(old: OverlayDirectory, name: bytes, new: OverlayDirectory, new_name: bytes) -> None:
    """Rename on the host, hiding the old name's layers and unhiding the new one."""
    hidden = old.hide_below(name)
    try:
        old.folder().rename(name, new.folder(), new_name)
    except BaseException:
        if hidden:
            old.unhide_below(name)
        raise
    old.forget_upper(name)
    new.note_upper(new_name)


def _check_replaceable(
    old: OverlayDirectory,
    node: OverlayDirectory | OverlayFile,
    new: OverlayDirectory,
    replaced: OverlayDirectory | OverlayFile | None,
) -> None:
    """Raise what Linux answers, in Linux's order, when `node` may not replace it."""
    if not isinstance(node, OverlayFile) and new.is_or_is_below(node):
        raise GuestError(Errno.EINVAL)
    if replaced is None or isinstance(replaced, OverlayFile):
        if replaced is not None and not isinstance(node, OverlayFile):
            raise GuestError(Errno.ENOTDIR)
        return
    if old.is_or_is_below(replaced):
        raise GuestError(Errno.ENOTEMPTY)
    if isinstance(node, OverlayFile):
        raise GuestError(Errno.EISDIR)
    if not replaced.empty():
        raise GuestError(Errno.ENOTEMPTY)


def _copy_up_tree(top: OverlayDirectory) -> None:
    """Copy all below `top` up and cut it off from the layers; EXDEV, with nothing done, when
    it is too much.
    """
    directories, files = _measure(top)
    for directory in directories:
        directory.make_upper()
    for file in files:
        file.copy_up(durable=False)
    if top.fs.durable and files:
        os.sync()  # once for all copies, before anything of the layers is hidden
    upper_files.put_opaque(top.folder())
    for directory in directories:
        directory.cut_off()


def _measure(top: OverlayDirectory) -> tuple[list[OverlayDirectory], list[OverlayFile]]:
    """List the directories, outer ones first, and the files that are in layers still."""
    directories = [top]
    files: list[OverlayFile] = []
    size = 0
    for directory in directories:  # grows while it is walked
        for node in directory.nodes():
            if not isinstance(node, OverlayFile):
                directories.append(node)
            elif not node.in_upper:
                if node.filetype not in (Filetype.REGULAR_FILE, Filetype.SYMBOLIC_LINK):
                    raise GuestError(Errno.EXDEV)
                files.append(node)
                size += node.stat().size
        if len(directories) + len(files) > MAX_ENTRIES or size > MAX_BYTES:
            raise GuestError(Errno.EXDEV)
    return directories, files
