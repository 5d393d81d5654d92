"""Which open directories hold a listing (`Description.listing`), and how many entries that makes.

A guest can have a thousand directories open and list each, however large it is; all these listings
lie in the memory of our process. So there is a limit to their entries: beyond it the listings taken
longest ago are dropped, and their directories are read anew when the guest goes on with them. Then
a position counts in the new listing: what changed meanwhile may be skipped or come twice.

Lock order: the lock here is innermost.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from balenawasm.vfs.description import Description

ENTRIES_MAX: Final = 1 << 20
"""Entries of all listings together, about 100 bytes each; the last one taken always stays."""


class Listings:
    """The listings that are kept, those taken longest ago first."""

    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        self._entries_max = entries_max
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[weakref.ref[Description], int]] = OrderedDict()
        self._total = 0

    def keep(self, description: Description, entries: int) -> None:
        """Count a description's new listing; drop others if they are too many together."""
        with self._lock:
            self._forget(id(description))
            self._kept[id(description)] = weakref.ref(description), entries
            self._total += entries
            while self._total > self._entries_max and len(self._kept) > 1:
                oldest = self._forget(next(iter(self._kept)))
                if oldest is not None:
                    oldest.drop_listing()

    def forget(self, description: Description) -> None:
        """The description is closed."""
        with self._lock:
            self._forget(id(description))

    def _forget(self, key: int) -> Description | None:
        reference, entries = self._kept.pop(key, (None, 0))
        self._total -= entries
        return reference() if reference is not None else None


listings: Final = Listings()
"""All of this process."""
