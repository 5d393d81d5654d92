"""An outside for guests: a network namespace whose only interface has an address that is not the
host's loopback (to which no container gets).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import time
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


def add_inet6(address: str) -> None:
    """Give such a namespace an IPv6 address, and wait until it can be used: the host checks an
    address for a moment, and until then it may be neither bound to nor sent from.
    """
    subprocess.run(["ip", "address", "add", f"{address}/64", "dev", "lo", "nodad"], check=True)
    deadline = time.monotonic() + 30
    while True:
        try:
            with socket.create_server((address, 0), family=socket.AF_INET6) as server:
                name = server.getsockname()[:2]
                socket.create_connection(name, 30).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
