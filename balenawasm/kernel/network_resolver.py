"""Names outside the network: the system's getaddrinfo, in a helper thread, so that a kill
interrupts the waiting guest.

The thread cannot be interrupted; it ends when the system's resolver gives up. At most
`MOST_AT_ONCE` run, so a guest cannot pile them up.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import TYPE_CHECKING, Final

from balenawasm.vfs.socket import INET, INET6
from balenawasm.wasi.errno import Errno, GuestError, from_oserror

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.vfs.node import Caller

MOST_AT_ONCE: Final = 8


_FAMILIES: Final = {INET: socket.AF_INET, INET6: socket.AF_INET6}


def system_addresses(name: str, family: str = INET) -> list[str]:
    """The addresses of `name` as the host finds them; socket.gaierror."""
    wanted = _FAMILIES.get(family, socket.AF_UNSPEC)
    found = socket.getaddrinfo(name, None, wanted, socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _Lookup:
    """One running lookup. The eventfd belongs to both sides; whoever comes last closes it."""

    def __init__(self) -> None:
        self.done_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.answer: list[str] | Errno = Errno.EAGAIN
        self._lock = threading.Lock()
        self._sides = 2

    def leave(self) -> None:
        with self._lock:
            self._sides -= 1
            last = not self._sides
        if last:
            os.close(self.done_fd)


class OutsideResolver:
    """Looks names up for guests. `look_up` is replaceable for tests and for other resolvers."""

    def __init__(self, look_up: Callable[[str, str], list[str]] = system_addresses) -> None:
        self._look_up = look_up
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)

    def addresses(self, caller: Caller, name: str, family: str = INET) -> list[str]:
        """Wait for the addresses of `name`: ENOENT when there are none, EAGAIN when busy or
        unreachable.
        """
        if not self._free.acquire(blocking=False):
            raise GuestError(Errno.EAGAIN)
        try:
            lookup = _Lookup()
        except OSError as error:
            self._free.release()
            raise GuestError(from_oserror(error)) from None
        try:
            threading.Thread(
                target=self._run, args=(lookup, name, family), name="name lookup", daemon=True
            ).start()
        except RuntimeError:  # no more threads
            self._free.release()
            os.close(lookup.done_fd)
            raise GuestError(Errno.EAGAIN) from None
        try:
            while not caller.wait([(lookup.done_fd, select.POLLIN)]):
                pass
            answer = lookup.answer
        finally:
            lookup.leave()
        if isinstance(answer, Errno):
            raise GuestError(answer)
        return answer

    def _run(self, lookup: _Lookup, name: str, family: str) -> None:
        try:
            lookup.answer = self._look_up(name, family) or Errno.ENOENT
        except socket.gaierror as error:
            temporary = error.errno in (socket.EAI_AGAIN, socket.EAI_SYSTEM)
            lookup.answer = Errno.EAGAIN if temporary else Errno.ENOENT
        except (OSError, UnicodeError):
            lookup.answer = Errno.ENOENT
        finally:
            self._free.release()
            os.eventfd_write(lookup.done_fd, 1)
            lookup.leave()
