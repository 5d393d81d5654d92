"""Where this user's state lives: the one place that reads the environment for it."""

from __future__ import annotations

import os
from pathlib import Path

from balenawasm.runtime.home import Home
from balenawasm.store.store import Store


def open_home() -> Home:
    """The state directory: $BALENAWASM_HOME, else the system's for root and a private one."""
    named = os.environ.get("BALENAWASM_HOME")
    if named:
        root = Path(named)
    elif os.geteuid() == 0:
        root = Path("/var/lib/balenawasm")
    else:
        data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        root = Path(data) / "balenawasm"
    return Home(root).create()


def open_store(home: Home) -> Store:
    """The images of a state directory."""
    return Store(home.store).open()
