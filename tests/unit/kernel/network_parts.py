"""Stacks of containers over one network, for the tests of sockets."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, TypeVar

import pytest
from kernel_parts import new_process

from balenawasm.kernel.network import NetworkStack
from balenawasm.vfs.endpoint import ANY, Endpoint
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.path import Namespace
from balenawasm.vfs.socket import INET, SocketDescription
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import NONBLOCK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from balenawasm.kernel.socket import TcpSocket
    from balenawasm.kernel.socket_udp import UdpSocket
    from balenawasm.vfs.node import Caller
    from balenawasm.vfs.socket import Address, Received

WEB, API = "10.7.0.2", "10.7.0.3"
CALLER = new_process()


Kept = TypeVar("Kept", bound=SocketDescription)


class Net:
    """Stacks over one network directory, and the sockets made with them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.hosts = base / "hosts"
        self.hosts.write_text(f"{WEB} web\n{API} api\n")
        self.logged: list[str] = []
        self._stacks: list[NetworkStack] = []
        self._sockets: list[SocketDescription] = []

    def stack(self, address: str | None = WEB, **options) -> NetworkStack:
        made = NetworkStack(
            loopback_directory=self.base / f"loopback-{len(self._stacks)}",
            address=address,
            network_directory=self.base / "net" if address else None,
            hosts=self.hosts,
            log=self.logged.append,
            **options,
        )
        made.namespace = Namespace(Tmpfs(1 << 20).root)
        self._stacks.append(made)
        return made

    def socket(self, stack: NetworkStack, flags: int = 0) -> TcpSocket:
        return self.keep(stack.new_socket(flags))

    def udp(self, stack: NetworkStack, at: Endpoint | None = None, family: str = INET) -> UdpSocket:
        made = self.keep(stack.new_udp(family=family))
        if at is not None:
            made.bind(at)
        return made

    def keep(self, made: Kept) -> Kept:
        made.retain()
        self._sockets.append(made)
        return made

    def listener(self, stack: NetworkStack, host: str = ANY, port: int = 80) -> TcpSocket:
        made = self.socket(stack, NONBLOCK)
        made.bind(Endpoint(host, port))
        made.listen(5)
        return made

    def connect(self, stack: NetworkStack, host: str, port: int = 80) -> TcpSocket:
        made = self.socket(stack)
        made.connect(CALLER, Endpoint(host, port))
        return made

    def accept(self, listener: TcpSocket) -> TcpSocket:
        CALLER.wait([(listener.host_fd, select.POLLIN)], 10_000_000_000)
        return self.keep(listener.accept(CALLER, 0))

    def close(self) -> None:
        for made in self._sockets:
            made.release()
        for stack in self._stacks:
            stack.close()


def refusal(call: Callable[[], object]) -> Errno:
    with pytest.raises(GuestError) as error:
        call()
    return error.value.errno


def receive(
    end: SocketDescription, size: int = 100, flags: int = 0, caller: Caller = CALLER
) -> tuple[bytes, Received]:
    """One message: its data and what came with it."""
    buffer = bytearray(size)
    received = end.receive(caller, [memoryview(buffer)], flags)
    return bytes(buffer[: received.size]), received


def send(end: SocketDescription, data: bytes, address: Address | None = None, **more) -> int:
    return end.send_to(CALLER, [memoryview(data)], address, **more)
