"""Sweeping: containers that were being made or removed when the supervisor died. Blocks; at start
only. Nothing of a project whose files could not be read is touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from balenawasm.runtime.bundle import read_bundle
from balenawasm.runtime.jsonform import FormError
from balenawasm.runtime.sweep import RUN_PREFIX, remove_if_possible

if TYPE_CHECKING:
    from collections.abc import Collection

    from balenawasm.runtime.home import Home


def sweep_containers(home: Home, known: Collection[str], unread: Collection[str]) -> None:
    """Remove containers that are not `known`, but for those of `unread` projects."""
    for path in home.containers.iterdir():
        if path.name in known or path.name.startswith(RUN_PREFIX):
            continue
        try:
            project = read_bundle(path / "bundle.json").project
        except (OSError, FormError):
            project = ""  # it was being made, or removed
        if project is not None and project not in unread:
            remove_if_possible(path)
            remove_if_possible(home.run / "containers" / path.name)
