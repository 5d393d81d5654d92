"""Two containers of one network, and processes that are no more than their fds."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

import pytest

from balenawasm.kernel.network import NetworkStack
from balenawasm.vfs.filesystems.net import NetFs
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.node import OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from balenawasm.vfs.description import Description


class Guest:
    """A process of a container, reduced to its fds."""

    def __init__(self, namespace: Namespace, pid: int) -> None:
        self.pid = pid
        self._namespace = namespace
        self.fds: list[Description] = []

    def holds(self, description: Description) -> bool:
        return description in self.fds

    def wait(
        self, fds: Sequence[tuple[int, int]], timeout_ns: int | None = None
    ) -> list[tuple[int, int]]:
        poll = select.poll()
        for fd, mask in fds:
            poll.register(fd, mask)
        return poll.poll(10_000 if timeout_ns is None else timeout_ns / 1e6)

    def open(self, path: str, *, write: bool = True, fdflags: int = 0) -> Description:
        _, opened = self._namespace.open(
            self,
            self._namespace.root,
            path.encode(),
            oflags=0,
            flags=OpenFlags(read=True, write=write, fdflags=fdflags),
            follow=True,
            beneath=False,
        )
        opened.retain()
        self.fds.append(opened)
        return opened

    def close(self, description: Description) -> None:
        self.fds.remove(description)
        description.release()

    def text(self, path: str) -> str:
        opened = self.open(path, write=False)
        buffer = bytearray(4096)
        count = opened.read(self, [memoryview(buffer)])
        assert opened.read(self, [memoryview(bytearray(1))]) == 0
        self.close(opened)
        return buffer[:count].decode()

    def stat(self, path: str):
        root = self._namespace.root
        return self._namespace.stat(self, root, path.encode(), follow=False)

    def link(self, path: str) -> str:
        return self._namespace.read_link(self, self._namespace.root, path.encode()).decode()

    def command(self, description: Description, command: str) -> str:
        return self.link(f"/net/sock/{description.stat().ino}/{command}")


class Site:
    """Two containers, web and api, of one network."""

    def __init__(self, base: Path) -> None:
        hosts = base / "hosts"
        hosts.write_text("10.5.0.2 web\n10.5.0.3 api\n")
        self.stacks = {}
        self._namespaces = {}
        self._guests: list[Guest] = []
        for name, address in (("web", "10.5.0.2"), ("api", "10.5.0.3")):
            self.stacks[name] = NetworkStack(
                loopback_directory=base / name,
                hostname=name,
                address=address,
                network_directory=base / "net",
                hosts=hosts,
            )
            self._namespaces[name] = Namespace(Tmpfs(1 << 20).root)
            self.stacks[name].namespace = self._namespaces[name]
            self._namespaces[name].mount(b"/net", NetFs(self.stacks[name]).root)

    def guest(self, container: str = "web", pid: int = 1) -> Guest:
        self._guests.append(Guest(self._namespaces[container], pid))
        return self._guests[-1]

    def close(self) -> None:
        for guest in self._guests:
            for description in list(guest.fds):
                guest.close(description)
        for stack in self.stacks.values():
            stack.close()


def refusal(call: Callable[[], object]) -> Errno:
    with pytest.raises(GuestError) as error:
        call()
    return error.value.errno
