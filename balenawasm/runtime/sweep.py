"""Sweeping: files of `run`s (and rehearsals) that are gone; the name has the process number."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from balenawasm.runtime.scratch import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from balenawasm.runtime.home import Home

RUN_PREFIX = "run-"
"""Containers of `run` are called run-<host pid>-<random>."""


def sweep_runs(home: Home) -> None:
    """Remove what `run`s that were killed left."""
    for directory in (home.containers, home.run / "containers", home.run / "networks"):
        for path in directory.glob(RUN_PREFIX + "*-*"):
            pid = path.name.split("-")[1]
            if not pid.isdigit() or not _alive(int(pid)):
                remove_if_possible(path)


def remove_if_possible(path: Path) -> None:
    """Remove a tree; what cannot be removed stays for the next time."""
    with contextlib.suppress(OSError):
        remove_tree(path)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
