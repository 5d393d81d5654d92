"""Sweeping what killed processes left in the caches: `.tmp-` files and directories."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from balenawasm.atomicfile import TEMPORARY_PREFIX

if TYPE_CHECKING:
    from pathlib import Path


def sweep(folder: Path) -> None:
    """Remove unfinished files and directories; the caller holds the folder's lock exclusively."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
