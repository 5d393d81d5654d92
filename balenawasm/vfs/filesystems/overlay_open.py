"""Open directories of an overlay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.vfs.directory import DirectoryDescription

if TYPE_CHECKING:
    from balenawasm.vfs.filesystems.overlay import OverlayDirectory


class OverlayDirectoryDescription(DirectoryDescription):
    """An open directory."""

    def __init__(self, directory: OverlayDirectory, flags: int) -> None:
        super().__init__(directory, flags)
        self._overlay = directory

    def sync(self, *, data_only: bool) -> None:
        """Make the entries durable; what is only in layers already is."""
        with self._overlay.fs.lock:
            if not self._overlay.in_upper or self._overlay.removed:
                return
            folder = self._overlay.folder()
        folder.sync()
