"""Device numbers (`st_dev`) for file systems without a device: anonymous ones, as Linux says."""

from __future__ import annotations

import itertools

# Far from what hosts give to disks (major << 8 | minor) and within 32 bits, for guests whose dev_t
# is that short.
_numbers = itertools.count(0x7000_0001)


def new_device() -> int:
    """Return a number that no other file system of this process has."""
    return next(_numbers)
