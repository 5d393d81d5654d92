"""The network's `hosts` file: service names → virtual addresses, read again whenever it changes.

Format: hosts(5). The supervisor replaces the file by rename, so a reader sees a whole one; a line
that makes no sense is skipped.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from balenawasm.vfs.endpoint import numeric

if TYPE_CHECKING:
    from pathlib import Path


class HostsFile:
    """Names inside the network. Without a path, or while the file is missing, there are none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._version: tuple[int, int, int] | None = None
        self._addresses: dict[str, list[str]] = {}
        self._names: dict[str, list[str]] = {}

    def addresses(self, name: str) -> list[str]:
        """The addresses of `name` (lower case), in the file's order; empty when there are none."""
        self._refresh()
        return self._addresses.get(name, [])

    def names(self, address: str) -> list[str]:
        """The names of an address, in the file's order."""
        self._refresh()
        return self._names.get(address, [])

    def _refresh(self) -> None:
        if self._path is None:
            return
        with self._lock:
            try:
                status = self._path.stat()
                version = (status.st_mtime_ns, status.st_ino, status.st_size)
                if version == self._version:
                    return
                text = self._path.read_text("utf-8", "replace")
            except OSError:
                self._version, self._addresses, self._names = None, {}, {}
                return
            self._addresses, self._names = _parse(text)
            self._version = version


def _parse(text: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    addresses: dict[str, list[str]] = {}
    names: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        address = numeric(words[0]) if words else None
        if address is None:
            continue
        for name in words[1:]:
            addresses.setdefault(name.lower(), []).append(address)
            names.setdefault(address, []).append(name)
    return addresses, names
