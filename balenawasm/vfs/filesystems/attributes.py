"""Attributes that a file system in memory keeps for a node and that guests may set."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from balenawasm.vfs.node import Node

if TYPE_CHECKING:
    import threading


class KeptAttributes(Node):
    """A node with permissions, owner and times of its own, which `lock` guards."""

    def __init__(self, lock: threading.RLock, mode: int) -> None:
        self._attributes_lock = lock
        self.mode = mode & 0o7777
        self.uid = 0
        self.gid = 0
        self.atim = self.mtim = self.ctim = time.time_ns()

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        """See Node.set_times."""
        with self._attributes_lock:
            self.atim = self.atim if atim is None else atim
            self.mtim = self.mtim if mtim is None else mtim
            self.ctim = time.time_ns()

    def set_mode(self, mode: int) -> None:
        """See Node.set_mode."""
        with self._attributes_lock:
            self.mode = mode & 0o7777
            self.ctim = time.time_ns()

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """See Node.set_owner."""
        with self._attributes_lock:
            self.uid = self.uid if uid is None else uid
            self.gid = self.gid if gid is None else gid
            self.ctim = time.time_ns()
