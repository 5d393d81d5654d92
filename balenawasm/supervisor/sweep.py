"""Sweeping: what a power cut or a kill left behind and no record knows of. Blocks; at start only.

Two kinds: files of a `run` (or a rehearsal) whose process is gone, which has its number in the
name, and containers that were being made or removed when the supervisor died. Nothing of a project
whose files could not be read is touched.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from balenawasm.runtime.bundle import read_bundle
from balenawasm.runtime.jsonform import FormError
from balenawasm.runtime.scratch import remove_tree

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from balenawasm.runtime.home import Home

_RUN = "run-"


def sweep_runs(home: Home) -> None:
    """Remove what `run`s that were killed left."""
    for directory in (home.containers, home.run / "containers", home.run / "networks"):
        for path in directory.glob(_RUN + "*-*"):
            pid = path.name.split("-")[1]
            if not pid.isdigit() or not _alive(int(pid)):
                _remove(path)


def sweep_containers(home: Home, known: Collection[str], unread: Collection[str]) -> None:
    """Remove containers that are not `known`, but for those of `unread` projects."""
    for path in home.containers.iterdir():
        if path.name in known or path.name.startswith(_RUN):
            continue
        try:
            project = read_bundle(path / "bundle.json").project
        except (OSError, FormError):
            project = ""  # it was being made, or removed
        if project is not None and project not in unread:
            _remove(path)
            _remove(home.run / "containers" / path.name)


def _remove(path: Path) -> None:
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
