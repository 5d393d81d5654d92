"""Attributes that a file system in memory keeps for a node and that guests may set; its size."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

from balenawasm.vfs.node import Capacity, Node

if TYPE_CHECKING:
    import threading

_BLOCK: Final = 4096


class Store(Protocol):
    """The file system: `lock` guards its nodes' attributes; `used` of `limit` bytes are taken."""

    lock: threading.RLock
    limit: int
    used: int


class KeptAttributes(Node):
    """A node with permissions, owner and times of its own."""

    def __init__(self, store: Store, mode: int) -> None:
        self._kept_in = store
        self.mode = mode & 0o7777
        self.uid = 0
        self.gid = 0
        self.atim = self.mtim = self.ctim = time.time_ns()

    def set_times(self, atim: int | None, mtim: int | None) -> None:
        """See Node.set_times."""
        with self._kept_in.lock:
            self.atim = self.atim if atim is None else atim
            self.mtim = self.mtim if mtim is None else mtim
            self.ctim = time.time_ns()

    def set_mode(self, mode: int) -> None:
        """See Node.set_mode."""
        with self._kept_in.lock:
            self.mode = mode & 0o7777
            self.ctim = time.time_ns()

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """See Node.set_owner."""
        with self._kept_in.lock:
            self.uid = self.uid if uid is None else uid
            self.gid = self.gid if gid is None else gid
            self.ctim = time.time_ns()

    def capacity(self) -> Capacity:
        """See Node.capacity."""
        blocks = self._kept_in.limit // _BLOCK
        free = max(0, self._kept_in.limit - self._kept_in.used) // _BLOCK
        return Capacity(_BLOCK, blocks, free, free)
