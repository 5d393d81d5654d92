"""An outside for guests: a network namespace whose only interface has an address that is not the
host's loopback (to which no container gets).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS = "192.0.2.1"
_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def outside_network() -> Iterator[str]:
    """Move this thread, and whatever it starts, into such a namespace; the address to serve at.

    Skips the test where that is not allowed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(_CLONE_NEWNET):
            pytest.skip(f"no network namespace: {os.strerror(ctypes.get_errno())}")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            subprocess.run(["ip", "address", "add", f"{ADDRESS}/24", "dev", "lo"], check=True)
            yield ADDRESS
        finally:
            if libc.setns(before, _CLONE_NEWNET):
                os._exit(99)  # nothing that follows would be where it thinks
    finally:
        os.close(before)
