"""The one place where an exception out of a system call becomes an errno.

Three kinds exist: a GuestError carries its errno; a host error is translated; anything else is a
bug of ours, has no errno, and ends the guest that met it.
"""

from __future__ import annotations

from balenawasm.wasi.errno import Errno, GuestError, from_oserror


def errno_of(error: BaseException) -> Errno | None:
    """What the guest is told, or None when the exception is no answer to a guest."""
    if isinstance(error, GuestError):
        return error.errno
    if isinstance(error, OSError):
        return from_oserror(error)
    if isinstance(error, MemoryError):
        return Errno.ENOMEM
    return None
